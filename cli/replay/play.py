"""Sends what a log tells, in order, shifted to now and compressed by the speed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from cli.installation import Installation
from cli.replay.log import Happening
from domain.clock import Clock

MOST_AT_ONCE = 250
LARGEST_BATCH = 400_000
"""Bytes of the calls in one batch; the API takes 500 kB."""

PATIENCE_FOR_TIME_OF_DAY = timedelta(seconds=30)
"""Wall time for which a replay waits for the log's time of day to come."""


@dataclass(frozen=True)
class Timing:
    """How the log's time lies on the wall's.

    Attributes:
        first: When the log begins.
        begins: When (wall) its replay begins.
        begins_at: The same moment in the customers' time.
        speed: Log seconds per wall second.
    """

    first: datetime
    begins: datetime
    begins_at: datetime
    speed: float

    @property
    def later_in_the_day(self) -> timedelta:
        """How much later in the day than it happened the log is played; earlier, if negative."""
        half = timedelta(hours=12)
        return (self.begins_at - self.first + half) % (2 * half) - half

    def wall(self, at: datetime) -> datetime:
        """Return the wall time that stands for a time of the log."""
        return self.begins + (at - self.first) / self.speed


@dataclass(frozen=True)
class RejectedCall:
    """A call that was not accepted.

    Attributes:
        line: Of the row it was made of.
    """

    line: int
    message_id: str | None
    field: str
    rule: str


@dataclass
class Sent:
    """What was sent, and how it was taken.

    Attributes:
        repeated: Of the duplicates, those in batches that had to be sent again: they may be our own.
        behind: How late (wall) the latest event was sent.
        took: Wall time from the first event's due time to the last answer.
    """

    events: int = 0
    accepted: int = 0
    duplicate: int = 0
    repeated: int = 0
    rejected: list[RejectedCall] = field(default_factory=list)
    behind: timedelta = timedelta(0)
    took: timedelta = timedelta(0)


def begin(clock: Clock, first: datetime, now: datetime) -> Timing:
    """Return when a replay begins: at the log's own time of day, if that comes soon.

    Quiet hours are hours of the customer's day, so a log that is played at another time of day gets
    other answers.

    Args:
        clock: Of the customers.
        first: When the log begins.
        now: Wall time.
    """
    day = timedelta(days=1)
    ahead = (first - clock.journey_time(now)) % day
    wait = clock.wall_duration(ahead)
    begins = now + wait if wait <= PATIENCE_FOR_TIME_OF_DAY else now
    return Timing(first, begins, clock.journey_time(begins), clock.speed)


async def play(
    installation: Installation,
    happenings: Sequence[Happening],
    timing: Timing,
    tell: Callable[[Sent, datetime], None],
) -> Sent:
    """Send every happening at its time, in order; whatever is late is sent in batches until it is not.

    Args:
        tell: Told after each batch what was sent so far, and up to which time of the log.

    Raises:
        Refused: The installation does not take events.
    """
    sent = Sent()
    while sent.events < len(happenings):
        await asyncio.sleep((timing.wall(happenings[sent.events].at) - datetime.now(UTC)).total_seconds())
        now = datetime.now(UTC)
        batch, calls = _due(happenings, sent.events, timing, now)
        sent.behind = max(sent.behind, now - timing.wall(batch[0].at))
        answer = await installation.send_batch(calls)
        sent.events += len(batch)
        sent.accepted += answer.accepted
        sent.duplicate += answer.duplicate
        sent.repeated += answer.duplicate if answer.repeated else 0
        sent.rejected += [
            RejectedCall(batch[each.index].line, each.message_id, each.field, each.rule) for each in answer.rejected
        ]
        sent.took = datetime.now(UTC) - timing.begins
        tell(sent, batch[-1].at)
    return sent


def _due(
    happenings: Sequence[Happening], start: int, timing: Timing, now: datetime
) -> tuple[Sequence[Happening], list[dict[str, Any]]]:
    """Return what is due, from a place on, as far as one batch may hold; at least one."""
    calls: list[dict[str, Any]] = []
    size = 0
    for happening in happenings[start : start + MOST_AT_ONCE]:
        at = timing.wall(happening.at)
        call = {**happening.call, "timestamp": at.isoformat()}
        size += len(orjson.dumps(call)) + 1
        if calls and (at > now or size > LARGEST_BATCH):
            break
        calls.append(call)
    return happenings[start : start + len(calls)], calls
