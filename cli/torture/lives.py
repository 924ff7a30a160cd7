"""How customers live through the storm: they begin things, come back, reach goals, answer what they get."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from cli.torture.backend import Accepted, Backend
from cli.torture.evidence import Dialogue, Farewell
from cli.torture.people import Person
from cli.torture.stage import Stage

FORM = 40
"""Fields of an application form."""

_LOOK_EVERY = 0.5
"""Wall seconds between two looks at what has reached anybody's phone."""

_GESTURES: Mapping[str, Sequence[str | None]] = {
    "email": ("open", "open", "click", "click", "unsubscribe", "unsubscribe", None, None, None, None),
    "push": ("open", "click", "dismiss", None, None),
    "sms": ("reply", "reply", "click", "stop", None, None, None, None, None, None),
}
"""What people do with a message, each as likely as the others."""


class StormIsOver(Exception):
    """Nobody does anything new."""


class Life:
    """One customer's part; all times are wall seconds, of which each is an hour of journey time."""

    def __init__(
        self, person: Person, backend: Backend, desk: "Desk", dice: random.Random, over: asyncio.Event
    ) -> None:
        self._person = person
        self._backend = backend
        self._desk = desk
        self._dice = dice
        self._over = over
        self._calls = 0

    async def live(self) -> None:
        """Do what this customer does, until the storm is over; what is being told then is told to its end."""
        with contextlib.suppress(StormIsOver):
            await self._live()

    async def _live(self) -> None:
        """Be introduced, and then do one to three things at once."""
        anonymous = self._dice.random() < 0.15
        if anonymous:
            # Begins before anybody knows who it is.
            await self._tell("track", event="series_begun", anonymous=True, properties=self._application("0"))
            await self._passes(0.1, 3)
        await self._tell("identify", anonymous=anonymous, traits=self._person.traits, context=self._device())
        stories = self._dice.sample(
            (self._applies, self._applies, self._orders, self._is_offered, self._is_asked, self._reads_series),
            k=self._dice.choice((1, 1, 2, 3)),
        )
        async with asyncio.TaskGroup() as group:
            for number, story in enumerate(stories, start=1):
                group.create_task(self._begin(story, f"{number}"))
            if self._dice.random() < 0.1:
                group.create_task(self._begin(self._wants_silence, ""))
            if self._dice.random() < 0.2:
                group.create_task(self._begin(self._talks_with_us, ""))

    async def _begin(self, story: Callable[[str], Awaitable[None]], key: str) -> None:
        # Each for itself: one that ends must not cut off what another is telling.
        with contextlib.suppress(StormIsOver):
            await self._passes(0, 3)
            await story(key)

    async def _applies(self, key: str) -> None:
        """Open a form, fill it in in goes, and perhaps submit it; the bank may refuse."""
        filled = self._dice.choice((1, 12, 20, 36, FORM))
        await self._does("credit_application_started", key, filled=filled, total=FORM)
        for _ in range(self._dice.randint(0, 2)):
            await self._passes(0.2, 8)
            filled = min(FORM, filled + self._dice.randint(1, 10))
            await self._does("credit_application_progressed", key, filled=filled, total=FORM)
        if self._dice.random() < 0.7:
            await self._passes(0, 25)
            await self._does("credit_application_submitted", key, bank="First Bank")
            if self._dice.random() < 0.5:
                await self._passes(0, 4)
                await self._does("credit_application_refused", key, bank="First Bank")
                await self._passes(0, 25)
                await self._does("credit_issued", key, bank="Harbour Bank")

    async def _orders(self, key: str) -> None:
        await self._does("order_placed", key)
        if self._dice.random() < 0.4:
            await self._passes(0.5, 10)
            await self._does("order_changed", key)
        if self._dice.random() < 0.6:
            await self._passes(0, 25)
            await self._does("order_collected", key)

    async def _is_offered(self, key: str) -> None:
        await self._does("offer_made", key)
        if self._dice.random() < 0.5:
            await self._passes(1, 15)
            await self._does("offer_looked_at", key)
        if self._dice.random() < 0.5:
            await self._passes(0, 20)
            await self._does("offer_taken", key)

    async def _is_asked(self, key: str) -> None:
        await self._does("opinion_wanted", key)
        if self._dice.random() < 0.4:
            await self._passes(0, 20)
            await self._does("opinion_given", key)

    async def _reads_series(self, key: str) -> None:
        await self._does("series_begun", key)
        if self._dice.random() < 0.7:
            await self._passes(0, 25)
            await self._does("series_ended", key)

    async def _wants_silence(self, _: str) -> None:
        await self._passes(0, 12)
        await self._tell("track", event="silence_wanted", properties={})

    async def _talks_with_us(self, _: str) -> None:
        """An operator talks with them: also when the storm is over it ends as it should."""
        await self._passes(0, 12)
        opened = await self._desk.open(self._person.user_id)
        if opened is None:
            return
        with contextlib.suppress(StormIsOver):
            await self._passes(3, 12)
        await self._desk.close(self._person.user_id, opened)

    async def _does(self, event: str, key: str, **properties: Any) -> None:
        await self._tell("track", event=event, properties={**self._application(key), **properties})

    def _application(self, key: str) -> dict[str, str]:
        return {"application_id": f"{self._person.number}-{key}"}

    def _device(self) -> dict[str, Any]:
        return {"device": {"token": self._person.device, "type": "android"}}

    async def _tell(self, kind: str, *, anonymous: bool = False, **said: Any) -> None:
        self._calls += 1
        call = {
            "type": kind,
            "messageId": f"{self._person.user_id}:{self._calls}",
            "timestamp": datetime.now(UTC).isoformat(),
            **said,
        }
        if anonymous:
            call["anonymousId"] = f"anonymous-{self._person.number}"
        if not (anonymous and kind == "track"):
            call["userId"] = self._person.user_id
        await self._backend.tell(call)

    async def _passes(self, fewest: float, most: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._dice.uniform(fewest, most))
        if self._over.is_set():
            raise StormIsOver


@dataclass
class Desk:
    """Where operators sit: they talk with customers, and say so over the API.

    Attributes:
        talks: Dialogues that are over.
    """

    http: httpx.AsyncClient
    accepted: Accepted
    talks: list[Dialogue] = field(default_factory=list)

    async def open(self, user_id: str) -> datetime | None:
        """Open a dialogue; returns when that was answered (wall), None if the customer is not known yet."""
        if await self._ask("PUT", user_id) == httpx.codes.NOT_FOUND:
            return None
        return datetime.now(UTC)

    async def close(self, user_id: str, opened: datetime) -> None:
        """Close a dialogue, however long that takes."""
        closed = datetime.now(UTC)
        await self._ask("DELETE", user_id)
        self.talks.append(Dialogue(user_id, opened, closed))

    async def _ask(self, method: str, user_id: str) -> int:
        """Ask until there is an answer; one nobody should get is for the judge."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self.http.request(method, f"/v1/customers/{user_id}/dialogue")
                if answer.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
                    if not answer.is_success and answer.status_code != httpx.codes.NOT_FOUND:
                        self.accepted.refused.append(f"{method} of a dialogue: {answer.status_code}")
                    return answer.status_code
            await asyncio.sleep(_LOOK_EVERY)


@dataclass
class Phones:
    """Everybody's phones and mailboxes: people open, click, answer and complain, through the sandbox.

    Attributes:
        unsubscribed: Who pressed a letter's one-click button and was answered 200.
    """

    stage: Stage
    seed: int
    unsubscribed: list[Farewell] = field(default_factory=list)
    _seen: int = 0

    async def give(self, person: Person) -> None:
        """Let the sandbox know a person."""
        while True:
            try:
                await self.stage.tell_sandbox("PUT", f"people/{person.user_id}", person.behaviour)
                return
            except httpx.HTTPError:
                await asyncio.sleep(_LOOK_EVERY)

    async def answer(self) -> None:
        """Look at what is new and react to it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    page = await self.stage.ask_sandbox("ledger", after=self._seen, limit=200)
                except httpx.HTTPError:
                    page = {"entries": []}
                for entry in page["entries"]:
                    self._seen = entry["id"]
                    group.create_task(self._react(entry))
                await asyncio.sleep(_LOOK_EVERY)

    async def _react(self, entry: dict[str, Any]) -> None:
        dice = random.Random(f"{self.seed}:{entry['message_id']}")
        await asyncio.sleep(dice.uniform(0.2, 4))
        gesture = dice.choice(_GESTURES.get(entry["channel"], (None,)))
        if gesture is None:
            return
        order = {"reply": {"text": "yes please"}, "stop": {"text": "STOP"}}.get(gesture)
        path = f"messages/{entry['id']}/{gesture.replace('stop', 'reply')}"
        try:
            answer = await self.stage.sandbox.post(f"/_sandbox/{path}", json=order)
        except httpx.HTTPError:
            return  # Nobody does a thing again that the network swallowed.
        followed = answer.json() if answer.is_success and gesture == "unsubscribe" else None
        if followed and followed["status"] == httpx.codes.OK:
            self.unsubscribed.append(
                Farewell("email", entry["address"].lower(), datetime.now(UTC), "one click", marketing_only=True)
            )
