"""How much somebody may do: a bucket that fills by the second and is drawn from.

Each API process has buckets of its own, so an installation of N processes allows N times the rate; what is asked is
to keep one caller from taking the processes away from the others, not to bill them.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from store.keys import Rate


@dataclass
class _Bucket:
    level: float
    at: float


class Rates:
    """Buckets by caller.

    Who has anything left gets through, whatever it then turns out to cost: the bucket may fall below nothing, and is
    waited for afterwards. So a batch larger than the burst gets through at all, and in the long run nobody exceeds
    their rate.
    """

    def __init__(self, *, most: int = 10_000, now: Callable[[], float] = time.monotonic) -> None:
        """Args:
        most: Callers remembered; the one that has been quiet for longest is forgotten first.
        now: Wall seconds, from anywhere.
        """
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._most = most
        self._now = now

    def admit(self, caller: str, rate: Rate) -> float:
        """Draw one, if one is left.

        Returns:
            0, or the wall seconds after which there will be one.
        """
        bucket = self._filled(caller, rate)
        if bucket.level < 1:
            return (1 - bucket.level) / rate.per_second
        bucket.level -= 1
        return 0

    def charge(self, caller: str, rate: Rate, cost: float) -> None:
        """Draw what was admitted turned out to cost beyond one; a negative cost is given back."""
        bucket = self._filled(caller, rate)
        bucket.level = min(bucket.level - cost, rate.burst)

    def _filled(self, caller: str, rate: Rate) -> _Bucket:
        now = self._now()
        bucket = self._buckets.setdefault(caller, _Bucket(rate.burst, now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        bucket.level = min(bucket.level + (now - bucket.at) * rate.per_second, rate.burst)
        bucket.at = now
        return bucket
