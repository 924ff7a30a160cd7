"""What the product promises, checked against what really happened."""

import asyncio
import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel

from cli.demo.backend import Told
from cli.demo.phones import Effect
from cli.installation import Installation, Refused
from workflows.audience import OfSegment
from workflows.catalog import declaration_of
from workflows.declaration import Declaration
from workflows.enabled import JOURNEYS

GRACE = timedelta(seconds=2)
"""Wall time after a goal's 200 in which a call that was begun before may still arrive at its provider."""

_AT_ONCE = 8

_MOMENT = re.compile(r"\d\d \w{3} \d\d:\d\d UTC")

DECLARED = {workflow.__name__: declaration_of(workflow, {})[0] for workflow in JOURNEYS}
"""What the journeys declare, by name."""


class Message(BaseModel):
    """A message of a stay.

    Attributes:
        read_at: When it was first looked at or shown, wall time.
    """

    id: str
    channel: str
    template: str
    status: str
    read_at: AwareDatetime | None = None
    clicked_at: AwareDatetime | None = None

    @property
    def left(self) -> bool:
        """Whether it was sent, whatever became of it then."""
        return self.status not in ("skipped", "waiting")


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
        wanted = str(waiting[0]["for"]) if waiting else "its next step"
        # Each waits for a moment of its own; together they wait for the next one of their plan.
        return "the next moment of its plan" if _MOMENT.fullmatch(wanted) else wanted


def goals(stays: Sequence[Stay], told: Sequence[Told]) -> dict[int, datetime]:
    """Return, by stay, when (wall) the 200 came for the first event that is its goal.

    A goal before the stay began is not its goal: a refused application had been submitted. Of a segment of those who
    do nothing, whatever they do is.
    """
    by_user: dict[str, list[Told]] = defaultdict(list)
    for each in told:
        # What is told of the past may begin a stay before its own answer is here; it ends none.
        if not each.past:
            by_user[each.user_id].append(each)
    ended: dict[int, datetime] = {}
    for stay in stays:
        declaration = DECLARED.get(stay.journey)  # a campaign has none
        came = [
            each.at
            for each in by_user[stay.user_id]
            if declaration and each.at > stay.created_at and _is_goal(declaration, each, stay.key)
        ]
        if came:
            ended[stay.id] = min(came)
    return ended


def _is_goal(declaration: Declaration, told: Told, key: str) -> bool:
    return any(
        isinstance(rule, OfSegment)
        or (rule.event.event_name == told.event and declaration.is_about(rule, told.properties, key))
        for rule in declaration.ends_on
    )


@dataclass(frozen=True)
class Evidence:
    """What really happened, as everybody tells it.

    Attributes:
        accepted: Calls answered with 200.
        kept: Events the database has.
        goals: By stay, when (wall) the 200 came for its goal.
        effects: What took effect at the providers.
        decided: Messages of no stay that somebody decided about, such as a campaign's.
        repeated: Messages that took effect more than once, and how often.
    """

    accepted: int
    kept: int
    undispatched: int
    parked: int
    goals: Mapping[int, datetime]
    stays: Sequence[Stay]
    effects: Sequence[Effect]
    decided: Collection[str]
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
            if effect.message_id in self.decided:
                continue
            stay = stays.get(effect.message_id or "")
            if stay is None:
                broken.append(f"a provider was called by {effect.channel} for a message nobody decided about")
                continue
            goal = self.goals.get(stay.id)
            if goal is not None and effect.at > goal + GRACE:
                late = (effect.at - goal).total_seconds()
                broken.append(f"{effect.channel} of enrolment {stay.id} left {late:.1f} s after the goal was accepted")
        return broken


async def decided(installation: Installation, stays: Sequence[Stay], effects: Sequence[Effect]) -> set[str]:
    """Return the messages among what took effect that are of no stay, and that the product can explain."""
    of_stays = {message.id for stay in stays for message in stay.messages}
    known = set()
    for message in {effect.message_id for effect in effects if effect.message_id} - of_stays:
        with contextlib.suppress(Refused):
            await installation.get(f"/v1/messages/{message}/explanation")
            known.add(message)
    return known


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
