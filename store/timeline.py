"""Everything that happened to a customer and why: events, enrolments, messages."""

from datetime import datetime

import asyncpg

from store.database import Connection

_EVENTS = """
    select received_at as at, id, type, name, source, properties, "timestamp", dispatched_at, parked_at, note
    from events where customer_id = $1 and ($2::timestamptz is null or received_at < $2)
"""
_ENROLMENTS = """
    select e.created_at as at, e.id, e.journey, e.key, e.workflow_id, e.enrolled_at, e.outcome, o.name as ended_by,
           e.ended_at
    from enrolments e left join events o on o.id = e.outcome_event_id
    where e.customer_id = $1 and ($2::timestamptz is null or e.created_at < $2)
"""
_MESSAGES = """
    select created_at as at, id, enrolment_id, channel, template, template_version, locale, message_class, status,
           reason, attempt, journey_at, delivered_at, read_at, clicked_at, replied_at, failed_at, dismissed_at
    from messages where customer_id = $1 and ($2::timestamptz is null or created_at < $2)
"""


async def page(
    connection: Connection, customer: int, before: datetime | None, limit: int
) -> dict[str, list[asyncpg.Record]]:
    """Return the newest events, enrolments and messages, each with all that share the time of its last.

    Args:
        before: Wall time; only what is older.
        limit: How many of each, at least.
    """
    return {
        kind: await connection.fetch(
            f"{selection} order by at desc fetch first ($3) rows with ties", customer, before, limit
        )
        for kind, selection in (("event", _EVENTS), ("enrolment", _ENROLMENTS), ("message", _MESSAGES))
    }
