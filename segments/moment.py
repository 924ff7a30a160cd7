"""A moment, and how far back a window of journey time reaches on the wall's clock, which events are dated by."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.clock import Clock


@dataclass(frozen=True)
class Moment:
    """Now, for customers of one clock.

    Before a clock's origin journey time runs as the wall's: what had happened before an installation was there, or
    before a customer became a test customer, did so at its own pace.

    Attributes:
        now: Wall time.
    """

    now: datetime
    clock: Clock

    def ago(self, window: timedelta) -> datetime:
        """Return the wall time at which a window of journey time began that ends now."""
        if self.now <= self.clock.origin:
            return self.now - window
        began = self.clock.journey_time(self.now) - window
        return self.clock.wall_time(began) if began >= self.clock.origin else began

    def leaves(self, at: datetime, window: timedelta) -> datetime:
        """Return the wall time at which what happened at a wall time is a window of journey time ago."""
        if at >= self.clock.origin:
            return at + self.clock.wall_duration(window)
        leaves = at + window
        return leaves if leaves <= self.clock.origin else self.clock.wall_time(leaves)
