"""Journey time for the people of the demonstration: they live as fast as their installation."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.clock import Clock


@dataclass(frozen=True)
class Pace:
    """The installation's time, to live by.

    Attributes:
        began: Journey time at which the story began.
    """

    clock: Clock
    began: datetime

    @classmethod
    def beginning_now(cls, clock: Clock) -> "Pace":
        """Return the pace of a story that begins now."""
        return cls(clock, clock.journey_time(datetime.now(UTC)))

    @property
    def now(self) -> datetime:
        """The present in journey time."""
        return self.clock.journey_time(datetime.now(UTC))

    @property
    def days(self) -> float:
        """Journey days since the story began."""
        return (self.now - self.began) / timedelta(days=1)

    async def passes(self, duration: timedelta) -> None:
        """Let a journey duration pass."""
        await asyncio.sleep(self.clock.wall_duration(duration).total_seconds())

    async def comes(self, moment: datetime) -> None:
        """Wait until a journey time."""
        await self.passes(moment - self.now)

    def at_local_hour(self, day: int, hour: float, time_zone: str) -> datetime:
        """Return a journey time: the first time it is that hour in a zone, and so many days later."""
        local = self.began.astimezone(ZoneInfo(time_zone))
        hours = (hour - local.hour - local.minute / 60) % 24
        return self.began + timedelta(days=day, hours=hours)
