"""What messages brought: by the last click before it, by utm tags, and against those who got nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from domain.comparison import Comparison, compare
from policy.contact import RULES
from store.database import Connection

# One for each thing it happened to, where a key tells them apart: the first event of it.
_CONVERSIONS = """
    select * from (
        select distinct on (v.customer_id, coalesce(v.properties ->> $3, v.id::text))
               v.id, v.customer_id, v.properties ->> $3 as key, v."timestamp" as happened
        from events v
        where v.name = $1 and v.type in ('track', 'page', 'screen')
        order by v.customer_id, coalesce(v.properties ->> $3, v.id::text), v."timestamp", v.id
    ) each
    where ($4::timestamptz is null or happened >= $4) and ($5::timestamptz is null or happened < $5)
"""

# What follows another event is attributed as that is.
_DATED = f"""
    conversions as ({_CONVERSIONS}),
    dated as (
        select c.*, case when $2::text is null then c.happened else (
            select max(p."timestamp") from events p
            where p.customer_id = c.customer_id and p.name = $2 and p."timestamp" <= c.happened
              and p.properties ->> $3 = c.key
        ) end as at
        from conversions c
    )
"""


async def by_last_click(
    connection: Connection,
    *,
    event: str,
    follows: str | None,
    key: str | None,
    window: timedelta,
    since: datetime | None,
    until: datetime | None,
) -> tuple[int, int, list[dict[str, Any]]]:
    """Attribute conversions to the message clicked last before them, within a time of having received it.

    Args:
        event: What counts as a conversion.
        follows: An earlier event whose attribution it inherits, matched by the key.
        key: Property that tells conversions of a customer apart; each event is one where it is None.
        window: Wall time from a message's arrival.
        since: Conversions from this wall time on.
        until: Conversions before this wall time.

    Returns:
        How many conversions there are; of how many the event they follow is not known; and those that are attributed,
        by journey and channel.
    """
    rows = await connection.fetch(
        f"""
        with {_DATED}, attributed as (
            select d.*, m.journey, m.channel
            from dated d left join lateral (
                select m.journey, m.channel
                from messages m cross join lateral (
                    select m.clicked_at as at union all select c.at from clicks c where c.message_id = m.id
                ) click
                where m.customer_id = d.customer_id and click.at <= d.at
                  and d.at < coalesce(m.delivered_at, m.sending_at) + $6::interval
                order by click.at desc limit 1
            ) m on true
        )
        select journey, channel, count(*) as conversions, count(distinct customer_id) as customers,
               count(*) filter (where at is null) as unknown
        from attributed group by journey, channel order by conversions desc, journey, channel
        """,
        event,
        follows,
        key,
        since,
        until,
        window,
    )
    brought = [
        {name: row[name] for name in ("journey", "channel", "conversions", "customers")}
        for row in rows
        if row["journey"] is not None
    ]
    return sum(row["conversions"] for row in rows), sum(row["unknown"] for row in rows), brought


async def by_tags(
    connection: Connection, *, event: str, window: timedelta, since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    """Return how often something happened, by the utm tags it came with, or those the customer came with last before.

    Tags are what the web library sends in ``context.campaign``: source, medium, name, term, content.

    Args:
        window: Wall time for which a customer's tags are remembered.
    """
    rows = await connection.fetch(
        """
        select tags ->> 'source' as source, tags ->> 'medium' as medium, tags ->> 'name' as campaign,
               tags ->> 'content' as content, count(*) as conversions, count(distinct customer_id) as customers
        from (
            select v.customer_id, (
                select p.context -> 'campaign' from events p
                where p.customer_id = v.customer_id and p."timestamp" <= v."timestamp"
                  and p."timestamp" > v."timestamp" - $2::interval and p.type in ('track', 'page', 'screen')
                  and jsonb_typeof(p.context -> 'campaign') = 'object'
                order by p."timestamp" desc, p.id desc limit 1
            ) as tags
            from events v
            where v.name = $1 and v.type in ('track', 'page', 'screen')
              and ($3::timestamptz is null or v."timestamp" >= $3) and ($4::timestamptz is null or v."timestamp" < $4)
        ) each
        group by 1, 2, 3, 4 order by conversions desc, 1, 2, 3, 4
        """,
        event,
        window,
        since,
        until,
    )
    return [dict(row) for row in rows]


def _asked_before_holdout() -> Sequence[str]:
    """The rules that drop a message before anybody asks whether the customer is held out: alike in both groups."""
    names = [rule.name for rule in RULES]
    return names[: names.index("holdout")]


@dataclass(frozen=True)
class Effect:
    """What a journey did, against those who were left out of it by lot.

    Attributes:
        comparison: None while either group is of nobody.
        won_back: How many more came than would have without it; None as above.
    """

    treated: int
    treated_came: int
    control: int
    control_came: int
    comparison: Comparison | None

    @property
    def won_back(self) -> float | None:
        return self.comparison.difference * self.treated if self.comparison else None


async def effect(
    connection: Connection,
    *,
    journey: str,
    goal: str | None,
    within: timedelta,
    since: datetime | None,
    until: datetime | None,
) -> Effect:
    """Compare those a journey wrote to, or would have, with those held out of it.

    Both groups count from the first message that everything but the lot allowed; what held back or dropped it after
    the lot was drawn makes no difference, or the groups would not be alike.

    Args:
        goal: What they are to do; None: anything on the product.
        within: Wall time from that first message.
        since: Only who was first decided about from this wall time on.
        until: Only who was first decided about before this wall time.
    """
    row = await connection.fetchrow(
        """
        with decided as (
            select m.customer_id, min(m.created_at) as since,
                   coalesce(bool_or(m.reason like 'holdout:%'), false) as control
            from enrolments e join messages m on m.enrolment_id = e.id
            where e.journey = $1
              and (m.status <> 'skipped' or split_part(m.reason, ':', 1) <> all($2::text[] || 'overtaken'::text))
            group by m.customer_id
        ), counted as (
            select control, exists (
                select from events v
                where v.customer_id = d.customer_id and v.type in ('track', 'page', 'screen')
                  and ($3::text is null or v.name = $3)
                  and v."timestamp" > d.since and v."timestamp" <= d.since + $4::interval
            ) as came
            from decided d where ($5::timestamptz is null or since >= $5) and ($6::timestamptz is null or since < $6)
        )
        select count(*) filter (where not control) as treated, count(*) filter (where not control and came) as t,
               count(*) filter (where control) as control, count(*) filter (where control and came) as c
        from counted
        """,
        journey,
        list(_asked_before_holdout()),
        goal,
        within,
        since,
        until,
    )
    assert row is not None
    treated, came, control, came_too = row.values()
    return Effect(treated, came, control, came_too, compare(came_too, control, came, treated))
