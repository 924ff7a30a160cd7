"""How many a segment would hold, before anybody is in it: counted, or told from some who are drawn."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from segments.form import Condition
from store import membership
from store.database import Connection
from store.membership import ALIVE
from store.segments import Definitions

FEW = 20_000
"""Customers up to whom all are counted; of more, so many are drawn."""

AT_ONCE = 2_000
"""Customers looked at by one statement."""

EACH_WITHIN = 5.0
"""Wall seconds one such statement may take: one that takes longer would not let anybody else have their turn."""

Z = 1.96
"""Of 95 percent."""


class TooSlow(Exception):
    """A segment that cannot be looked at in time."""


@dataclass(frozen=True)
class Size:
    """How many a segment would hold.

    Attributes:
        customers: Counted; or the best guess.
        least: At least so many, with 95 percent certainty; the same as `customers` if they were counted.
        most: At most so many.
        of: How many customers there are.
        sample: Some of those it would hold, by number.
    """

    customers: int
    least: int
    most: int
    of: int
    sample: Sequence[int]

    @property
    def exact(self) -> bool:
        """Whether everybody was counted."""
        return self.least == self.most

    @property
    def share(self) -> float:
        """Of all customers."""
        return self.customers / self.of if self.of else 0.0


async def size(
    connection: Connection,
    form: Condition,
    definitions: Definitions,
    now: datetime,
    *,
    sample: int,
    count_within: float = 0.0,
) -> Size:
    """Return how many customers a segment would hold.

    Args:
        now: Wall time.
        sample: How many of them to name.
        count_within: Wall seconds in which to count however many there are.

    Raises:
        TooSlow: Not even a few can be looked at in time.
        BasisMissing: What it rests on has not been worked out yet.
    """
    of = await connection.fetchval(f"select count(*) from customers c where {ALIVE}", timeout=30)
    deadline = time.monotonic() + count_within
    found, looked, after, over = list[int](), 0, 0, False
    while not over and (of <= FEW or time.monotonic() < deadline):
        ids = await membership.page(connection, after, AT_ONCE)
        found += await _inside(connection, form, definitions, ids, now)
        looked, after, over = looked + len(ids), ids[-1] if ids else after, len(ids) < AT_ONCE
    if over:
        return Size(len(found), len(found), len(found), looked, _some(found, sample))
    drawn = await _drawn(connection)
    found = [
        customer
        for place in range(0, len(drawn), AT_ONCE)
        for customer in await _inside(connection, form, definitions, drawn[place : place + AT_ONCE], now)
    ]
    least, most = _between(len(found), len(drawn))
    guess = round(of * len(found) / len(drawn)) if drawn else 0
    return Size(guess, math.floor(of * least), math.ceil(of * most), of, _some(found, sample))


async def _inside(
    connection: Connection, form: Condition, definitions: Definitions, ids: Sequence[int], now: datetime
) -> list[int]:
    try:
        return await membership.inside(connection, form, definitions, ids, now, within=EACH_WITHIN)
    except TimeoutError:
        raise TooSlow from None


async def _drawn(connection: Connection) -> list[int]:
    """Draw customers, each as likely as any other."""
    row = await connection.fetchrow("select min(id) as first, max(id) as last from customers")
    assert row is not None
    numbers = range(row["first"], row["last"] + 1)
    rows = await connection.fetch(
        f"select c.id from customers c where c.id = any($1) and {ALIVE}",
        random.sample(numbers, min(FEW, len(numbers))),
    )
    return [each["id"] for each in rows]


def _some(found: Sequence[int], count: int) -> list[int]:
    return sorted(random.sample(found, min(count, len(found))))


def _between(found: int, of: int) -> tuple[float, float]:
    """Return the share's limits (E. B. Wilson, Journal of the American Statistical Association 22, 1927)."""
    if of == 0:
        return 0.0, 1.0
    share = found / of
    middle = (share + Z * Z / (2 * of)) / (1 + Z * Z / of)
    width = Z / (1 + Z * Z / of) * math.sqrt(share * (1 - share) / of + Z * Z / (4 * of * of))
    return max(middle - width, 0.0), min(middle + width, 1.0)
