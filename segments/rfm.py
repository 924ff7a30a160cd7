"""Recency, frequency, monetary value: classes of buyers by fifths of all buyers.

Of every buyer: when they last bought (recency), how often (frequency), for how much in all (monetary). Each of the
three is scored 1 to 5: 1 and one more for each of the four values below which 20, 40, 60 and 80 percent of all
buyers lie that the buyer's own exceeds. So buyers with the same value have the same score, and where four of five
have bought only once, they all score 1.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from segments.definition import Coded, CodedParameters

Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class Class(StrEnum):
    """Every buyer is in one of them."""

    CHAMPIONS = "champions"
    """Lately, often, and for much: all three 4 or 5."""
    LOYAL = "loyal"
    """Recency and frequency 3 or more, and no champion."""
    PROMISING = "promising"
    """Recency 3 or more, frequency 1 or 2."""
    AT_RISK = "at_risk"
    """Frequency 3 or more, but recency 1 or 2."""
    LOST = "lost"
    """Recency and frequency 1 or 2."""


class Purchases(CodedParameters):
    """What counts as buying.

    Attributes:
        event: Name of the event.
        amount: Its property that says for how much.
        within: Journey time; what was bought longer ago does not count.
    """

    is_: Class = Field(alias="is")
    event: Name
    amount: Name
    within: timedelta = Field(default=timedelta(days=365), gt=timedelta(0), le=timedelta(days=3660))


_BUYERS = """
    select customer_id, max("timestamp") as last, count(*) as times,
           coalesce(sum((properties -> :amount)::numeric)
                    filter (where jsonb_typeof(properties -> :amount) = 'number'), 0) as total
    from events where name = :event and "timestamp" > :within {among} group by customer_id
"""

_FIFTHS = f"""
select jsonb_build_object(
    'recency', percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by last),
    'frequency', percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by times),
    'monetary', percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by total)
)
from ({_BUYERS.format(among="")}) buyers
"""


def _limits(of: str) -> str:
    """The four values that part the fifths; none while nobody has bought."""
    return f"jsonb_array_elements_text(nullif(:basis -> '{of}', 'null'))"


_SCORED = f"""
select customer_id, class = :is_ as member,
       jsonb_build_object('class', class, 'recency', r, 'frequency', f, 'monetary', m,
                          'last', last, 'times', times, 'total', total) as because
from (
    select *, case when r >= 4 and f >= 4 and m >= 4 then 'champions' when r >= 3 and f >= 3 then 'loyal'
                   when r >= 3 then 'promising' when f >= 3 then 'at_risk' else 'lost' end as class
    from (
        select *,
            (select 1 + count(*) from {_limits("recency")} v where last > v::timestamptz) as r,
            (select 1 + count(*) from {_limits("frequency")} v where times > v::numeric) as f,
            (select 1 + count(*) from {_limits("monetary")} v where total > v::numeric) as m
        from ({_BUYERS.format(among="and customer_id = any(:customers)")}) buyers
    ) scores
) classes
"""

RFM = Coded(
    name="rfm",
    story="Buyers of a class, by recency, frequency and monetary value among all buyers.",
    parameters=Purchases,
    sql=_SCORED,
    basis=_FIFTHS,
)
