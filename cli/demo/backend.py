"""The marketplace's backend: tells the product over HTTP what its customers do, and remembers what was taken."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from cli.demo.people import TOTAL_FIELDS, Person
from cli.installation import Installation

GOALS = ("credit_application_submitted", "credit_issued")


class Backend:
    """Sends events as a backend does.

    Attributes:
        accepted: How many calls were answered with 200.
        customers: How many customers it has told of.
        goals: By application, when (wall) the answer came to each event that is somebody's goal.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.accepted = 0
        self.customers = 0
        self.goals: dict[str, list[datetime]] = defaultdict(list)
        self._on_its_way: set[asyncio.Task[None]] = set()

    async def introduce(self, person: Person) -> None:
        """Tell who a customer is."""
        await self._send(
            "identify",
            {
                **_call(person),
                "traits": {
                    "first_name": person.first_name,
                    "last_name": person.last_name,
                    "email": person.email,
                    "phone": person.phone,
                    "timezone": person.time_zone,
                    "locale": person.locale,
                    "region": person.locale[-2:],
                },
                "context": {"device": {"token": person.device, "type": "android"}},
            },
        )
        self.customers += 1

    async def started(self, person: Person, application: str) -> None:
        """Tell that a customer opened the form."""
        form = {"application_id": application, "filled": 0, "total": TOTAL_FIELDS}
        await self._track(person, "credit_application_started", form)

    async def progressed(self, person: Person, application: str, filled: int) -> None:
        """Tell how many fields a customer has filled in."""
        form = {"application_id": application, "filled": filled, "total": TOTAL_FIELDS}
        await self._track(person, "credit_application_progressed", form)

    async def submitted(self, person: Person, application: str, bank: str) -> None:
        """Tell that the form went to a bank."""
        await self._track(person, "credit_application_submitted", {"application_id": application, "bank": bank})

    async def refused(self, person: Person, application: str, bank: str) -> None:
        """Tell that a bank refused."""
        await self._track(person, "credit_application_refused", {"application_id": application, "bank": bank})

    async def issued(self, person: Person, application: str, bank: str) -> None:
        """Tell that the customer has the money."""
        await self._track(person, "credit_issued", {"application_id": application, "bank": bank})

    async def finish(self) -> None:
        """Wait for the answers to everything that is on its way."""
        await asyncio.gather(*self._on_its_way)

    async def _track(self, person: Person, event: str, properties: dict[str, Any]) -> None:
        await self._send("track", {**_call(person), "event": event, "properties": properties})
        if event in GOALS:
            self.goals[properties["application_id"]].append(datetime.now(UTC))

    async def _send(self, kind: str, call: dict[str, Any]) -> None:
        """Send, and hear the answer even if the story ends meanwhile: what was accepted is counted."""
        sending = asyncio.create_task(self._sent(kind, call))
        self._on_its_way.add(sending)
        sending.add_done_callback(self._on_its_way.discard)
        await asyncio.shield(sending)

    async def _sent(self, kind: str, call: dict[str, Any]) -> None:
        await self._installation.send(kind, call)
        self.accepted += 1


def _call(person: Person) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"messageId": f"{person.user_id}:{now}", "userId": person.user_id, "timestamp": now}
