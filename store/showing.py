"""Pop-ups and banners: what may be shown to a customer, and how often it was."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from domain.campaigns import PREFIX
from domain.enrolments import Outcome
from domain.messages import OWN, Channel, MessageClass, Status, Surface
from policy.showing import Candidate
from store.database import Connection


async def candidates(
    connection: Connection, customer: int, placement: Channel, surface: Surface, now: datetime
) -> list[Candidate]:
    """Return what waits to be shown, the most important first: by priority, then what is over soonest, then the oldest.

    What was clicked or dismissed is not shown again, nor is what a stay has sent that then came to its goal, or was
    ended otherwise before its end.

    Args:
        now: Journey time.
    """
    rows = await connection.fetch(
        """
        select m.id, m.content, (select count(*) from impressions i where i.message_id = m.id) as shown, m.expires_at,
               m.sending_at as delivered_at, m.journey, m.message_class, c.form ->> 'topic' as topic
        from messages m join enrolments e on e.id = m.enrolment_id
        left join campaigns c on m.journey = $7 || c.name
        where m.customer_id = $1 and m.channel = $2 and m.status = any($3) and m.content is not null
          and m.dismissed_at is null and (m.expires_at is null or m.expires_at > $4)
          and coalesce(e.outcome, $5) = $5 and coalesce(m.content ->> 'surface', $6) = $6
        order by m.priority, m.expires_at nulls last, m.created_at, m.id
        """,
        customer,
        placement,
        [Status.DELIVERED, Status.READ],
        now,
        Outcome.FINISHED,
        surface,
        PREFIX,
    )
    return [
        Candidate(
            message=UUID(str(row["id"])),
            message_class=MessageClass(row["message_class"]),
            **{name: row[name] for name in ("content", "shown", "expires_at", "delivered_at", "journey", "topic")},
        )
        for row in rows
    ]


async def shown_since(connection: Connection, customer: int, placement: Channel, since: datetime) -> int:
    """Return how often anything of a placement was shown to a customer.

    Args:
        since: Journey time.
    """
    count: int = await connection.fetchval(
        """
        select count(*) from impressions i join messages m on m.id = i.message_id
        where m.customer_id = $1 and m.channel = $2 and i.journey_at > $3
        """,
        customer,
        placement,
        since,
    )
    return count


async def times_shown(connection: Connection, message: UUID) -> int:
    """Return how often a message was shown."""
    count: int = await connection.fetchval("select count(*) from impressions where message_id = $1", message)
    return count


async def shown(connection: Connection, message: UUID, number: int, surface: Surface, now: datetime) -> None:
    """Record a showing; the customer's row must be locked.

    Args:
        number: Counts the showings of the message.
        now: Journey time.
    """
    await connection.execute(
        "insert into impressions (message_id, number, surface, journey_at) values ($1, $2, $3, $4)",
        message,
        number,
        surface,
        now,
    )


async def place(connection: Connection, customer: int) -> int | None:
    """Return the place of the newest message shown on the site or app; None if there is no such customer any more."""
    found: int | None = await connection.fetchval(
        """
        select coalesce((select max(sequence) from messages where customer_id = c.id and channel = any($2)), 0)
        from customers c where id = $1 and merged_into is null and erased_at is null
        """,
        customer,
        _own(),
    )
    return found


def _own() -> Sequence[str]:
    return [str(each) for each in OWN]
