"""What operators look at: enrolments, parked events, how far dispatch is behind."""

from datetime import datetime
from typing import Any

import asyncpg

from domain.calls import CallType
from domain.messages import PAID, Status
from store.contact import NOT_SENT
from store.database import Connection

_ENROLMENT = """
    select e.id, e.journey, e.key, e.workflow_id, e.customer_id, e.enrolled_at, e.created_at, e.outcome, e.ended_at,
           (select value from identities i where i.customer_id = e.customer_id and kind = 'user' limit 1) as user_id
    from enrolments e
"""


async def enrolment(connection: Connection, number: int) -> asyncpg.Record | None:
    """Return one enrolment."""
    return await connection.fetchrow(f"{_ENROLMENT} where e.id = $1", number)


async def enrolments(
    connection: Connection,
    *,
    journey: str | None,
    outcome: str | None,
    running: bool | None,
    before: int | None,
    limit: int,
) -> list[asyncpg.Record]:
    """Return enrolments, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        f"""
        {_ENROLMENT}
        where ($1::text is null or e.journey = $1) and ($2::text is null or e.outcome = $2)
          and ($3::bool is null or (e.ended_at is null) = $3) and ($4::bigint is null or e.id < $4)
        order by e.id desc limit $5
        """,
        journey,
        outcome,
        running,
        before,
        limit,
    )
    return rows


async def enrolments_of_runs(connection: Connection, workflow_ids: list[str]) -> list[asyncpg.Record]:
    """Return the enrolments of some runs."""
    rows: list[asyncpg.Record] = await connection.fetch(
        f"{_ENROLMENT} where e.workflow_id = any($1) order by e.id", workflow_ids
    )
    return rows


async def messages_of(connection: Connection, enrolment: int) -> list[asyncpg.Record]:
    """Return the messages of an enrolment, in the order they were decided about; without addresses or texts."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select id, channel, template, template_version, locale, message_class, status, reason, attempt, journey_at,
               created_at, delivered_at, read_at, clicked_at, replied_at, failed_at, resolution, evidence, resolved_at
        from messages where enrolment_id = $1 order by created_at, id
        """,
        enrolment,
    )
    return rows


async def journeys(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many stays each journey has, by outcome; those under way under "running"."""
    rows = await connection.fetch(
        """
        select journey, case when ended_at is null then 'running' else outcome end as state, count(*) as stays
        from enrolments group by 1, 2
        """
    )
    counted: dict[str, dict[str, int]] = {}
    for row in rows:
        counted.setdefault(row["journey"], {})[row["state"]] = row["stays"]
    return counted


async def dispatch_state(connection: Connection) -> dict[str, Any]:
    """Return how many events wait for dispatch, since when, and how many are parked."""
    row = await connection.fetchrow(
        """
        select count(*) as waiting, min(received_at) as waiting_since,
               (select count(*) from events where parked_at is not null) as parked
        from events where dispatched_at is null and parked_at is null
        """
    )
    assert row is not None
    return dict(row)


async def parked(connection: Connection, before: int | None, limit: int) -> list[asyncpg.Record]:
    """Return parked events with their reason, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select id, customer_id, name, source, message_id, received_at, parked_at, note as reason from events
        where parked_at is not null and ($1::bigint is null or id < $1) order by id desc limit $2
        """,
        before,
        limit,
    )
    return rows


async def counts(connection: Connection, *, since: datetime | None, replay: str | None) -> dict[str, Any]:
    """Return what has happened: events, stays by journey and outcome, messages by channel and status.

    All of it at one moment, so that the numbers fit each other.

    Args:
        since: Only what was received or made from this wall time on.
        replay: Only what came of the events of one replay, which carry its name in their context.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(
            """
            select count(*) filter (where type = any($3) and source not like 'keyword:%') as events,
                   count(*) filter (where dispatched_at is null and parked_at is null) as undispatched,
                   count(*) filter (where parked_at is not null) as parked,
                   extract(epoch from max(dispatched_at - received_at))::float as slowest_dispatch,
                   extract(epoch from percentile_cont(0.5) within group (order by dispatched_at - received_at)
                       filter (where dispatched_at > received_at))::float as median_dispatch,
                   (select count(*) from rejected_events
                    where ($1::timestamptz is null or received_at >= $1)
                      and ($2::text is null or body -> 'context' ->> 'replay' = $2)) as rejected
            from events
            where ($1::timestamptz is null or received_at >= $1)
              and ($2::text is null or context ->> 'replay' = $2)
              and source not like 'webhook:%' and source not like 'operator:%'
            """,
            since,
            replay,
            list(CallType),
        )
        assert row is not None
        notes = await connection.fetch(
            r"""
            select regexp_replace(said, '-c\d+-e\d+$', '') as note, count(*) as events
            from events, regexp_split_to_table(note, '; ') as said
            where ($1::timestamptz is null or received_at >= $1)
              and ($2::text is null or context ->> 'replay' = $2)
              and source not like 'webhook:%' and source not like 'operator:%'
            group by 1 order by 2 desc, 1
            """,
            since,
            replay,
        )
        stays = await connection.fetch(
            """
            select e.journey, coalesce(e.outcome, 'running') as state, count(*) as stays
            from enrolments e join events t on t.id = e.trigger_event_id
            where ($1::timestamptz is null or e.created_at >= $1)
              and ($2::text is null or t.context ->> 'replay' = $2)
            group by 1, 2 order by 1, 2
            """,
            since,
            replay,
        )
        messages = await connection.fetch(
            """
            select m.channel, m.status, count(*) as messages
            from messages m join enrolments e on e.id = m.enrolment_id join events t on t.id = e.trigger_event_id
            where ($1::timestamptz is null or m.created_at >= $1)
              and ($2::text is null or t.context ->> 'replay' = $2)
            group by 1, 2 order by 1, 2
            """,
            since,
            replay,
        )
    by_journey: dict[str, dict[str, int]] = {}
    for each in stays:
        by_journey.setdefault(each["journey"], {})[each["state"]] = each["stays"]
    by_channel: dict[str, dict[str, int]] = {}
    for each in messages:
        by_channel.setdefault(each["channel"], {})[each["status"]] = each["messages"]
    said = {each["note"]: each["events"] for each in notes}
    return {**dict(row), "notes": said, "enrolments": by_journey, "messages": by_channel}


async def costs(
    connection: Connection, *, since: datetime | None, until: datetime | None, journey: str | None
) -> list[asyncpg.Record]:
    """Return what messages cost that left or may have, by journey and channel.

    Args:
        since: Only what was decided about from this wall time on, and before `until`.
        journey: Only this journey, or campaign under its name as a journey; None for all.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select journey, channel, currency, price_currency, count(*) as messages, sum(cost) as cost,
               sum(price) as price, count(*) filter (where cost is null) as without_estimate
        from messages
        where (status <> all($1) or price is not null)
          and ($2::timestamptz is null or created_at >= $2) and ($3::timestamptz is null or created_at < $3)
          and ($4::text is null or journey = $4)
        group by journey, channel, currency, price_currency order by journey, channel, currency, price_currency
        """,
        list(NOT_SENT),
        since,
        until,
        journey,
    )
    return rows


async def reach(connection: Connection, journey: str | None, since: datetime | None) -> list[asyncpg.Record]:
    """Return, journey by journey, how many customers and texts were reached, and how many by free channels alone.

    A text counts once a stay, whichever channels of a cascade it took. Reached is what was delivered, or more. Whom a
    paid message has left to, or may have, was not reached by free channels alone, whether it arrived or not.

    Args:
        journey: Only this one.
        since: Only what was decided about from this wall time on.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        with texts as (
            select e.journey, m.customer_id, m.template,
                   bool_or(m.status = any($3)) as reached,
                   bool_or(m.channel = any($4) and m.status <> all($5)) as paid
            from messages m join enrolments e on e.id = m.enrolment_id
            where ($1::text is null or e.journey = $1) and ($2::timestamptz is null or m.created_at >= $2)
            group by e.journey, m.customer_id, e.id, m.template
            having bool_or(m.status <> all($5))
        ), customers as (
            select journey, customer_id, bool_or(reached) as reached, bool_or(paid) as paid
            from texts group by journey, customer_id
        )
        select journey, c.written_to, c.reached, c.free_alone, t.texts, t.texts_reached, t.texts_free_alone
        from (
            select journey, count(*) as written_to, count(*) filter (where reached) as reached,
                   count(*) filter (where reached and not paid) as free_alone
            from customers group by journey
        ) c join (
            select journey, count(*) as texts, count(*) filter (where reached) as texts_reached,
                   count(*) filter (where reached and not paid) as texts_free_alone
            from texts group by journey
        ) t using (journey)
        order by journey
        """,
        journey,
        since,
        [Status.DELIVERED, Status.READ, Status.CLICKED, Status.REPLIED],
        sorted(PAID),
        NOT_SENT,
    )
    return rows
