"""A company's backend: tells the product over HTTP what its customers do, and remembers what was taken."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from cli.demo.people import Person
from cli.installation import Installation

NOW = timedelta(0)


@dataclass(frozen=True)
class Told:
    """An event the product has taken.

    Attributes:
        at: When the answer came, wall time.
        past: It is of before the story began, and was only told of then.
    """

    user_id: str
    event: str
    properties: Mapping[str, Any]
    at: datetime
    past: bool = False


class Backend:
    """Sends events as a backend does.

    Attributes:
        accepted: How many calls were answered with 200.
        told: The events among them, in the order of the answers.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.accepted = 0
        self.told: list[Told] = []
        self._introduced: set[str] = set()
        self._on_its_way: set[asyncio.Task[None]] = set()

    @property
    def customers(self) -> int:
        """How many customers it has told of."""
        return len(self._introduced)

    async def introduce(self, person: Person[Any], **traits: str) -> None:
        """Tell who a customer is, or what is new about them.

        Args:
            traits: What this company knows of them besides.
        """
        known = {
            "first_name": person.first_name,
            "last_name": person.last_name,
            "phone": person.phone,
            "timezone": person.time_zone,
            "locale": person.locale,
            "region": person.locale[-2:],
            **({"email": person.email} if "email" in person.has else {}),
        }
        device = {"device": {"token": person.device, "type": "android"}} if "app" in person.has else {}
        await self._send("identify", {**_call(person), "traits": {**known, **traits}, "context": device})
        self._introduced.add(person.user_id)

    async def track(self, person: Person[Any], event: str, properties: Mapping[str, Any], ago: timedelta = NOW) -> None:
        """Tell what a customer did.

        Args:
            ago: How long before the story began that was, for what is told of their past.
        """
        call = _call(person)
        if ago:
            # Before an installation's beginning its time ran as the wall's.
            call["timestamp"] = (datetime.now(UTC) - ago).isoformat()
        await self._send("track", {**call, "event": event, "properties": properties})
        self.told.append(Told(person.user_id, event, properties, datetime.now(UTC), past=bool(ago)))

    async def __aenter__(self) -> Self:
        """Begin to tell."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hear no more answers: the story is over, or was ended in its middle."""
        for call in self._on_its_way:
            call.cancel()
        await asyncio.gather(*self._on_its_way, return_exceptions=True)

    async def finish(self) -> None:
        """Wait for the answers to everything that is on its way."""
        await asyncio.gather(*self._on_its_way)

    async def _send(self, kind: str, call: dict[str, Any]) -> None:
        """Send, and hear the answer even if the story ends meanwhile: what was accepted is counted."""
        sending = asyncio.create_task(self._sent(kind, call))
        self._on_its_way.add(sending)
        sending.add_done_callback(self._on_its_way.discard)
        await asyncio.shield(sending)

    async def _sent(self, kind: str, call: dict[str, Any]) -> None:
        await self._installation.send(kind, call)
        self.accepted += 1


def _call(person: Person[Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"messageId": f"{person.user_id}:{now}", "userId": person.user_id, "timestamp": now}
