"""Journey time: the time customers live in, which an installation may run faster than the wall's."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, Field


class Clock(BaseModel, frozen=True):
    """Maps wall time to journey time as ``origin + (wall - origin) * speed``.

    Waits, quiet hours, caps, expiry and re-entry live in journey time. HTTP, activity and retry
    time-outs stay in wall time, whatever the speed.

    Attributes:
        origin: The moment both times agree on, with a time zone.
        speed: Journey seconds per wall second; 1 in production, thousands in a demo.
    """

    origin: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    speed: float = Field(default=1.0, gt=0)

    def journey_time(self, wall: datetime) -> datetime:
        """Return the journey time at a wall time."""
        return self.origin + (wall - self.origin) * self.speed

    def wall_time(self, journey: datetime) -> datetime:
        """Return the wall time at which a journey time comes."""
        return self.origin + (journey - self.origin) / self.speed

    def wall_duration(self, journey: timedelta) -> timedelta:
        """Return how long a journey duration takes on the wall."""
        return journey / self.speed
