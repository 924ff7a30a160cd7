"""What the product promises, checked against what really happened."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel

from cli.demo.phones import Effect
from cli.installation import Installation

GRACE = timedelta(seconds=2)
"""Wall time after a goal's 200 in which a call that was begun before may still arrive at its provider."""

_AT_ONCE = 8


class Message(BaseModel):
    """A message of a stay."""

    id: str


class Stay(BaseModel):
    """A stay in a journey, with its messages and where it stands.

    Attributes:
        created_at: Wall time.
    """

    id: int
    journey: str
    key: str
    user_id: str
    created_at: AwareDatetime
    outcome: str | None
    messages: list[Message]
    standing: dict[str, Any] | None

    @property
    def waits_for(self) -> str | None:
        """What the stay waits for, in words; None if it is over."""
        if self.outcome is not None:
            return None
        waiting = self.standing["waiting"] if self.standing else []
        return str(waiting[0]["for"]) if waiting else "its next step"


@dataclass(frozen=True)
class Evidence:
    """What really happened, as everybody tells it.

    Attributes:
        accepted: Calls answered with 200.
        kept: Events the database has.
        goals: By application, when (wall) the 200 came for each event that is somebody's goal.
        effects: What took effect at the providers.
        repeated: Messages that took effect more than once, and how often.
    """

    accepted: int
    kept: int
    undispatched: int
    parked: int
    goals: Mapping[str, Sequence[datetime]]
    stays: Sequence[Stay]
    effects: Sequence[Effect]
    repeated: Mapping[str, int]

    def broken(self) -> list[str]:
        """Return every promise that was not kept, in words; none if all were."""
        return [*self._lost(), *self._twice(), *self._after_the_goal()]

    def _lost(self) -> list[str]:
        broken = []
        if self.accepted != self.kept:
            broken.append(f"{self.accepted} events were accepted, but {self.kept} are kept")
        if self.undispatched:
            broken.append(f"{self.undispatched} accepted events have not reached their runs")
        if self.parked:
            broken.append(f"{self.parked} accepted events are parked")
        return broken

    def _twice(self) -> list[str]:
        return [f"message {message} took effect {times} times" for message, times in self.repeated.items()]

    def _after_the_goal(self) -> list[str]:
        stays = {message.id: stay for stay in self.stays for message in stay.messages}
        broken = []
        for effect in self.effects:
            stay = stays.get(effect.message_id or "")
            if stay is None:
                broken.append(f"a provider was called by {effect.channel} for a message nobody decided about")
                continue
            # A goal before the stay began is not its goal: a refused application had been submitted.
            ended = [at for at in self.goals.get(stay.key, ()) if at > stay.created_at]
            if ended and effect.at > min(ended) + GRACE:
                late = (effect.at - min(ended)).total_seconds()
                broken.append(f"{effect.channel} of enrolment {stay.id} left {late:.1f} s after the goal was accepted")
        return broken


async def read_stays(installation: Installation) -> list[Stay]:
    """Return every stay there is, with its messages."""
    numbers: list[int] = []
    before: int | None = None
    while page := await installation.get("/v1/enrolments", limit=500, before=before):
        numbers += [each["id"] for each in page]
        before = numbers[-1]
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def read(number: int) -> Stay:
        async with at_once:
            return Stay.model_validate(await installation.get(f"/v1/enrolments/{number}"))

    return await asyncio.gather(*map(read, numbers))


def waiting(stays: Sequence[Stay]) -> dict[str, int]:
    """Return what the stays that are not over wait for, and how many do."""
    return dict(Counter(f"{stay.journey}: {stay.waits_for}" for stay in stays if stay.waits_for).most_common())
