"""A customer's inbox, and the pop-ups and banners beside it: the messages whose provider we are ourselves."""

from uuid import UUID

import asyncpg

from domain.messages import OWN, Channel, Status
from store.database import Connection

_THERE = [Status.DELIVERED, Status.READ, Status.CLICKED, Status.REPLIED]

_MESSAGE = """
    select id, channel as placement, content, sequence, sending_at as delivered_at,
           coalesce(read_at, clicked_at) as seen_at, clicked_at, dismissed_at
    from messages
    where customer_id = $1 and channel = any($2) and status = any($3) and content is not null
"""


async def page(connection: Connection, customer: int, before: UUID | None, limit: int) -> list[asyncpg.Record]:
    """Return messages, the newest first.

    Args:
        before: Only what is older than this message.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        f"""
        {_MESSAGE}
          and ($4::uuid is null
               or (created_at, id) < (select created_at, id from messages where id = $4 and customer_id = $1))
        order by created_at desc, id desc limit $5
        """,
        customer,
        [Channel.INBOX],
        _THERE,
        before,
        limit,
    )
    return rows


async def after(connection: Connection, customer: int, place: int, limit: int) -> list[asyncpg.Record]:
    """Return messages of the inbox that came after a place in the customer's order, the oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        f"{_MESSAGE} and sequence > $4 order by sequence limit $5", customer, [Channel.INBOX], _THERE, place, limit
    )
    return rows


async def find(connection: Connection, customer: int, message: UUID) -> asyncpg.Record | None:
    """Return one message of the inbox, or a pop-up or banner, if it is the customer's."""
    return await connection.fetchrow(f"{_MESSAGE} and id = $4", customer, list(OWN), _THERE, message)


async def unseen(connection: Connection, customer: int) -> int:
    """Return how many messages the customer has neither seen nor put away."""
    count: int = await connection.fetchval(
        """
        select count(*) from messages
        where customer_id = $1 and channel = $2 and status = $3 and dismissed_at is null and content is not null
        """,
        customer,
        Channel.INBOX,
        Status.DELIVERED,
    )
    return count
