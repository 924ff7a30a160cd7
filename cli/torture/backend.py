"""The backends that tell what customers do: they ask again until they hear 200, and remember what was accepted."""

import asyncio
import logging
import queue
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import httpx
import segment.analytics as segment

Call = Mapping[str, Any]
"""A call of Segment's API with its ``type``; `messageId` makes it idempotent."""

_PATIENCE = 10.0
"""Wall seconds for an answer; then it is asked again."""

_PAUSE = 0.5
"""Wall seconds until it is asked again, where the API did not say."""

EXPECTED = frozenset({"200", "429", "503", "no answer"})
"""What a backend may hear in a storm; anything else is a finding."""


class Backend(Protocol):
    """Whoever tells the product of events."""

    async def tell(self, call: Call) -> None:
        """Tell of something; returns when it is accepted, or when whoever tells promises to see to it."""
        ...


class Accepted:
    """What all backends believe the product has taken.

    Attributes:
        calls: Everything that was told, by message id, in that order.
        at: Message id to when the 200 came (wall), or by when it must have come where a library does not tell.
        answers: How often the API answered what.
        refused: What it said where it refused for good.
    """

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.at: dict[str, datetime] = {}
        self.answers: Counter[str] = Counter()
        self.refused: list[str] = []


class OwnBackend:
    """A backend with an outbox of its own over the plain HTTP API: asks again until it is accepted.

    Sometimes it tells a thing twice, at once or after its 200, as backends do whose own answer was lost.
    """

    def __init__(self, url: str, write_key: str, accepted: Accepted, dice: random.Random) -> None:
        # No proxies from the environment: the API is on this machine.
        self._http = httpx.AsyncClient(base_url=url, auth=(write_key, ""), trust_env=False, timeout=_PATIENCE)
        self._accepted = accepted
        self._dice = dice
        self._behind: set[asyncio.Task[None]] = set()
        self.waiting = 0

    async def tell(self, call: Call) -> None:
        """See `Backend.tell`: returns when it is accepted."""
        self._accepted.calls.setdefault(call["messageId"], call)
        twice = self._dice.random()
        if twice < 0.05:
            await asyncio.gather(self._tell(call), self._tell(call))
            return
        await self._tell(call)
        if twice > 0.95:
            self._later(self._tell(call))

    async def tell_together(self, calls: Sequence[Call]) -> None:
        """Tell of several things in one batch, in order."""
        for call in calls:
            self._accepted.calls.setdefault(call["messageId"], call)
        if await self._ask("/v1/batch", {"batch": calls}):
            now = datetime.now(UTC)
            for call in calls:
                self._accepted.at.setdefault(call["messageId"], now)

    async def finish(self) -> None:
        """Wait until everything is accepted that was told behind the scenes, and hang up."""
        while self._behind:
            await asyncio.wait(self._behind)
        await self._http.aclose()

    def _later(self, telling: Any) -> None:
        task = asyncio.create_task(telling)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _tell(self, call: Call) -> None:
        if await self._ask(f"/v1/{call['type']}", call):
            self._accepted.at.setdefault(call["messageId"], datetime.now(UTC))

    async def _ask(self, path: str, body: Any) -> bool:
        """Ask until there is an answer that is one; False if it is a refusal."""
        self.waiting += 1
        try:
            while True:
                pause = _PAUSE
                try:
                    answer = await self._http.post(path, json=body)
                except httpx.TransportError:
                    self._accepted.answers["no answer"] += 1
                else:
                    self._accepted.answers[str(answer.status_code)] += 1
                    if answer.is_success:
                        return True
                    if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                        self._accepted.refused.append(f"{path}: {answer.status_code} {answer.text[:200]}")
                        return False
                    pause = float(answer.headers.get("Retry-After", _PAUSE))
                await asyncio.sleep(min(pause, 5))
        finally:
            self.waiting -= 1


class LibraryBackend:
    """A backend that leaves everything to Segment's own library, and tells itself what that gives up."""

    def __init__(self, url: str, write_key: str, accepted: Accepted, outbox: OwnBackend) -> None:
        # What it says of its retries is no news here.
        logging.getLogger("segment").setLevel(logging.CRITICAL)
        logging.getLogger("backoff").setLevel(logging.CRITICAL)
        self._accepted = accepted
        self._outbox = outbox
        self._given_up: queue.SimpleQueue[Sequence[Call]] = queue.SimpleQueue()
        self._told: set[str] = set()
        self.given_up = 0
        self._client = segment.Client(
            write_key,
            host=url,
            on_error=lambda _, calls: self._given_up.put(list(calls)),
            upload_interval=0.2,
            upload_size=20,
            timeout=_PATIENCE,
            max_retries=4,
        )

    async def tell(self, call: Call) -> None:
        """See `Backend.tell`: returns at once, the library sends when it can."""
        self._told.add(call["messageId"])
        self._accepted.calls.setdefault(call["messageId"], call)
        # Its own times: what it queues is told with the time at which it happened.
        common = {
            "user_id": call.get("userId"),
            "anonymous_id": call.get("anonymousId"),
            "context": call.get("context"),
            "timestamp": datetime.fromisoformat(call["timestamp"]),
            "message_id": call["messageId"],
        }
        if call["type"] == "identify":
            self._client.identify(traits=call["traits"], **common)
        else:
            self._client.track(event=call["event"], properties=call["properties"], **common)

    async def finish(self) -> None:
        """Wait until everything is accepted."""
        while True:
            await asyncio.to_thread(self._client.flush)
            if self._given_up.empty():
                break
            while not self._given_up.empty():
                calls = self._given_up.get()
                self.given_up += len(calls)
                await self._outbox.tell_together([_plain(call) for call in calls])
        now = datetime.now(UTC)
        for message in self._told:
            self._accepted.at.setdefault(message, now)
        await asyncio.to_thread(self._client.join)


def _plain(value: Any) -> Any:
    """Return a call of the library as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
