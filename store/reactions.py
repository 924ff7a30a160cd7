"""How a customer has reacted to what was sent, for the rules of `policy.reactions`."""

from collections.abc import Sequence
from datetime import datetime

from domain.messages import Channel
from policy.reactions import LOOKS_BACK, REACTIONS, Record
from store import contact, customers
from store.database import Connection

NEWEST = 50
"""Reactions looked at, the newest."""


async def records(connection: Connection, customer: int, channels: Sequence[Channel]) -> dict[Channel, Record]:
    """Return what became of a customer's messages lately, by channel."""
    rows = await connection.fetch(
        """
        select channel, count(*) as sent,
               count(*) filter (where coalesce(read_at, clicked_at, replied_at) is not null) as reactions
        from messages
        where customer_id = $1 and channel = any($2) and status <> all($3)
          and journey_at > (select max(journey_at) from messages where customer_id = $1) - $4::interval
        group by channel
        """,
        customer,
        list(channels),
        contact.NOT_SENT,
        LOOKS_BACK,
    )
    return {Channel(row["channel"]): Record(row["sent"], row["reactions"]) for row in rows}


async def moments(connection: Connection, enrolment: int) -> list[datetime]:
    """Return when (journey time) the customer of a stay reacted; while that is too seldom, when they were active."""
    customer = await connection.fetchval("select customer_id from enrolments where id = $1", enrolment)
    clock = await customers.clock_of(connection, customer)
    rows = await connection.fetch(
        """
        select coalesce(read_at, clicked_at, replied_at) as at from messages
        where customer_id = $1 and coalesce(read_at, clicked_at, replied_at) is not null
        order by journey_at desc limit $2
        """,
        customer,
        NEWEST,
    )
    if len(rows) < REACTIONS:
        rows = await connection.fetch(
            """
            select "timestamp" as at from events
            where customer_id = $1 and type in ('track', 'page', 'screen') order by "timestamp" desc limit $2
            """,
            customer,
            NEWEST,
        )
    return [clock.journey_time(row["at"]) for row in rows]
