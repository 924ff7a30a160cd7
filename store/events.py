"""Events: kept when accepted, marked when dispatched, parked when they never can be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from store import customers
from store.database import Connection

CHANNEL = "events"
"""NOTIFY channel; the payload lists the customers with something to dispatch."""


@dataclass(frozen=True)
class NewEvent:
    """An event about to be kept.

    Attributes:
        source: Name of the write key, or of the provider for what we make of callbacks.
        concerns_a_run: Whether dispatch has to look at it.
    """

    customer: int
    source: str
    message_id: str
    type: str
    name: str
    properties: dict[str, Any]
    context: dict[str, Any]
    timestamp: datetime
    received_at: datetime
    concerns_a_run: bool
    note: str | None = None


@dataclass(frozen=True)
class KeptEvent:
    """An event in the order of its customer."""

    id: int
    customer: int
    type: str
    name: str
    properties: dict[str, Any]
    timestamp: datetime
    received_at: datetime


async def known(connection: Connection, source: str, message_ids: Sequence[str]) -> set[str]:
    """Return which message ids of a source were accepted before."""
    rows = await connection.fetch(
        "select message_id from events where source = $1 and message_id = any($2)", source, list(message_ids)
    )
    return {row["message_id"] for row in rows}


async def keep(connection: Connection, events: Sequence[NewEvent]) -> dict[str, int]:
    """Keep events in the order given and wake dispatch; customers' rows must be locked.

    Returns:
        Ids by message id; an event that was there already is left out.
    """
    rows = await connection.fetch(
        """
        insert into events (customer_id, source, message_id, type, name, properties, context,
                            "timestamp", received_at, dispatched_at, note)
        select customer_id, source, message_id, type, name, properties, context, happened, received,
               case when concerns then null else received end, note
        from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[],
                    $8::timestamptz[], $9::timestamptz[], $10::bool[], $11::text[]) with ordinality
             as e(customer_id, source, message_id, type, name, properties, context, happened, received,
                  concerns, note, place)
        order by place
        on conflict (source, message_id) do nothing
        returning id, message_id
        """,
        [event.customer for event in events],
        [event.source for event in events],
        [event.message_id for event in events],
        [event.type for event in events],
        [event.name for event in events],
        [event.properties for event in events],
        [event.context for event in events],
        [event.timestamp for event in events],
        [event.received_at for event in events],
        [event.concerns_a_run for event in events],
        [event.note for event in events],
    )
    await wake_dispatch(connection, {event.customer for event in events if event.concerns_a_run})
    return {row["message_id"]: row["id"] for row in rows}


async def wake_dispatch(connection: Connection, customers: Iterable[int]) -> None:
    """NOTIFY dispatch when this transaction commits; too many customers to list mean "sweep"."""
    numbers = ",".join(map(str, sorted(customers)))
    if numbers:
        await connection.execute("select pg_notify($1, $2)", CHANNEL, numbers if len(numbers) < 7900 else "")


async def undispatched(connection: Connection, customer: int) -> list[KeptEvent]:
    """Return what dispatch still has to look at for a customer, in order."""
    rows = await connection.fetch(
        """
        select id, customer_id, type, name, properties, "timestamp", received_at from events
        where customer_id = $1 and dispatched_at is null and parked_at is null order by id limit 100
        """,
        customer,
    )
    return [
        KeptEvent(
            row["id"],
            row["customer_id"],
            row["type"],
            row["name"],
            row["properties"],
            row["timestamp"],
            row["received_at"],
        )
        for row in rows
    ]


async def waiting_customers(connection: Connection, limit: int = 1000) -> list[int]:
    """Return customers with something to dispatch, the longest waiting first."""
    rows = await connection.fetch(
        """
        select customer_id from events where dispatched_at is null and parked_at is null
        group by customer_id order by min(id) limit $1
        """,
        limit,
    )
    return [row["customer_id"] for row in rows]


async def mark_dispatched(connection: Connection, notes: dict[int, str | None]) -> None:
    """Record that events have reached every run they concern, with what came of it."""
    await connection.execute(
        """
        update events set dispatched_at = now(), note = coalesce(n.note, events.note)
        from unnest($1::bigint[], $2::text[]) n(id, note) where events.id = n.id
        """,
        list(notes),
        list(notes.values()),
    )


async def park(connection: Connection, event: int, reason: str) -> None:
    """Set an event aside that can never be dispatched as it is; its customer's others go on."""
    await connection.execute("update events set parked_at = now(), note = $2 where id = $1", event, reason)


async def unpark(connection: Connection, event: int) -> bool:
    """Give a parked event a new place at the end of its customer's order; False if it is not parked."""
    async with connection.transaction():
        customer = await connection.fetchval(
            "select customer_id from events where id = $1 and parked_at is not null", event
        )
        if customer is None:
            return False
        await customers.lock(connection, [customer])
        await connection.execute("update events set parked_at = null, note = null where id = $1", event)
        await customers.renumber(connection, "select id from events where id = $1", event)
        await wake_dispatch(connection, [customer])
        return True


async def outcome_of(connection: Connection, event: int) -> str | None:
    """Return what came of an event, "" if there is nothing to say; None if dispatch has not got to it yet."""
    row = await connection.fetchrow(
        "select note from events where id = $1 and coalesce(dispatched_at, parked_at) is not null", event
    )
    return None if row is None else row["note"] or ""


async def done_before(connection: Connection, event: KeptEvent, name: str) -> bool:
    """Whether a customer had done something when another event of theirs was accepted."""
    found: bool = await connection.fetchval(
        "select exists (select from events where customer_id = $1 and name = $2 and id < $3)",
        event.customer,
        name,
        event.id,
    )
    return found


async def waits(connection: Connection, customer: int) -> bool:
    """Whether dispatch has something to look at for a customer."""
    found: bool = await connection.fetchval(
        """
        select exists (select from events
                       where customer_id = $1 and dispatched_at is null and parked_at is null)
        """,
        customer,
    )
    return found


async def has_waited(connection: Connection, least: timedelta, most: timedelta) -> bool:
    """Whether an event has waited for its dispatch for at least, and at most, so long, wall time."""
    late: bool = await connection.fetchval(
        """
        select exists (
            select from events where dispatched_at is null and parked_at is null
              and received_at between now() - $2::interval and now() - $1::interval
        )
        """,
        least,
        most,
    )
    return late
