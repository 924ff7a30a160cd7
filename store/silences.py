"""Times in which a customer is left alone: blocks, and dialogues with people of ours. Their row is to be locked."""

from datetime import datetime

import asyncpg

from store.database import Connection


async def block(
    connection: Connection,
    customer: int,
    name: str,
    source: str,
    begins_at: datetime,
    until: datetime,
    event: int | None = None,
) -> int:
    """Let a customer hear nothing until a journey time.

    Args:
        source: Who wanted it: an event's name, or an operator.
        event: The event that brought it about.

    Returns:
        The block's number.
    """
    number: int = await connection.fetchval(
        """
        insert into blocks (customer_id, name, source, begins_at, until, event_id) values ($1, $2, $3, $4, $5, $6)
        returning id
        """,
        customer,
        name,
        source,
        begins_at,
        until,
        event,
    )
    return number


async def lift(connection: Connection, customer: int, number: int) -> bool:
    """End a block before its time; False if the customer has no such block under way."""
    done: str = await connection.execute(
        "update blocks set lifted_at = now() where id = $2 and customer_id = $1 and lifted_at is null",
        customer,
        number,
    )
    return done != "UPDATE 0"


async def blocks(connection: Connection, customer: int) -> list[asyncpg.Record]:
    """Return a customer's blocks, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select id, name, source, begins_at, until, lifted_at from blocks where customer_id = $1 order by id desc",
        customer,
    )
    return rows


async def open_dialogue(connection: Connection, customer: int, source: str, now: datetime) -> asyncpg.Record:
    """Record that a person of ours talks with a customer; one that is open stays as it is, but counts anew from now.

    Args:
        source: Who talks.
        now: Journey time.
    """
    row = await connection.fetchrow(
        """
        insert into dialogues (customer_id, source, opened_at) values ($1, $2, $3)
        on conflict (customer_id) where closed_at is null do update set opened_at = excluded.opened_at
        returning id, source, opened_at
        """,
        customer,
        source,
        now,
    )
    assert row is not None
    return row


async def close_dialogue(connection: Connection, customer: int, now: datetime) -> bool:
    """Record that it is over; False if none was open.

    Args:
        now: Journey time.
    """
    done: str = await connection.execute(
        "update dialogues set closed_at = $2 where customer_id = $1 and closed_at is null", customer, now
    )
    return done != "UPDATE 0"


async def dialogue(connection: Connection, customer: int) -> asyncpg.Record | None:
    """Return the dialogue a customer has open, if one is."""
    return await connection.fetchrow(
        "select id, source, opened_at from dialogues where customer_id = $1 and closed_at is null", customer
    )
