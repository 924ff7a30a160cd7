"""Callbacks: what providers and customers report about messages, each kept once under its own id."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.messages import Channel, Status
from store import customers
from store.database import Connection

ANSWERED_WITHIN_DAYS = 30
"""Wall days after which a text from a number is no answer to what we sent there."""


@dataclass(frozen=True)
class Subject:
    """The message a callback is about. Its customer's row is locked.

    Attributes:
        recipient: Address or number it went to; None once its customer was erased.
        asks: Whether its run waits for an answer and has none yet.
        enrolment: The stay it was sent in.
        under_way: Whether that stay is not over.
        erased: Whether its customer was erased: nothing personal is kept of them any more.
    """

    message: UUID
    customer: int
    channel: Channel
    recipient: str | None
    template: str
    content: dict[str, Any] | None
    asks: bool
    enrolment: int
    under_way: bool
    erased: bool


async def subject(connection: Connection, message: UUID | None, channels: Collection[Channel]) -> Subject | None:
    """Lock the customer a message went to, and return the message.

    Args:
        channels: Those the caller may speak of; a message of another one is none of its business.
    """
    while True:
        customer = await connection.fetchval(
            "select customer_id from messages where id = $1 and channel = any($2)", message, list(channels)
        )
        if customer is None:
            return None
        gone = await customers.lock(connection, [customer])
        if gone.get(customer) is None:
            break
        # Merged while we waited for the lock: the message belongs to somebody else by now.
    row = await connection.fetchrow(
        """
        select m.id, m.customer_id, m.channel, m.recipient, m.template, m.content,
               $2 = any(m.awaits) and m.replied_at is null as asks, m.enrolment_id, e.outcome is null,
               c.erased_at is not null as erased
        from messages m join customers c on c.id = m.customer_id join enrolments e on e.id = m.enrolment_id
        where m.id = $1
        """,
        message,
        Status.REPLIED,
    )
    assert row is not None
    id, customer, channel, *others = row.values()
    return Subject(id, customer, Channel(channel), *others)


async def keep(
    connection: Connection,
    provider: str,
    callback_id: str,
    body: object,
    *,
    message: UUID | None = None,
    about: Subject | None = None,
    address: str | None = None,
) -> bool:
    """Keep a callback as it came; False if it came before.

    Args:
        callback_id: The provider's own id of the callback.
        message: The message it names, whether we know it or not.
        about: That message, if we know it.
        address: The address it tells of; kept only where no message leads to the customer, so that
            the callback is found when they are erased. Of an address of somebody erased nothing is kept.
    """
    done: str = await connection.execute(
        """
        insert into callbacks (provider, callback_id, message_id, address, body)
        select $1, $2, $3, case when not hidden then lower($4) end, case when hidden then '{}' else $5::jsonb end
        from (select kept_address($4) <> lower($4) as hidden) erased
        on conflict (provider, callback_id) do nothing
        """,
        provider,
        callback_id,
        message,
        None if about else address,
        {} if about and about.erased else body,
    )
    return done == "INSERT 0 1"


async def answered(connection: Connection, channel: Channel, number: str, provider_id: str | None) -> UUID | None:
    """Return the message a text from a number answers.

    A button of an old message that is pressed today answers that message: the provider names it.
    Customers may share a number: the message decides whose answer it is. A question that still
    waits for its answer comes before a newer message that asks nothing, and one that may never have
    left after all that did.

    Args:
        provider_id: The message the provider says is answered, if it says so.
    """
    message: UUID | None = await connection.fetchval(
        """
        select m.id from messages m join enrolments e on e.id = m.enrolment_id
        where m.channel = $1 and m.recipient = $2 and m.status <> all($4)
          and (m.sending_at > now() - make_interval(days => $5) or m.provider_id = $3)
        order by m.provider_id is not distinct from $3::text and $3 is not null desc, m.status = any($7),
                 $6 = any(m.awaits) and m.replied_at is null and e.outcome is null desc, m.sending_at desc
        limit 1
        """,
        channel,
        number,
        provider_id,
        [Status.WAITING, Status.SKIPPED, Status.FAILED],
        ANSWERED_WITHIN_DAYS,
        Status.REPLIED,
        [Status.SENDING, Status.UNKNOWN],
    )
    return message


async def asked_in(connection: Connection, enrolment: int, channels: Collection[Channel]) -> UUID | None:
    """Return the message, of some channels, by which a stay under way waits for an answer now; the newest."""
    message: UUID | None = await connection.fetchval(
        """
        select m.id from messages m join enrolments e on e.id = m.enrolment_id
        where m.enrolment_id = $1 and $2 = any(m.awaits) and m.replied_at is null and e.outcome is null
          and m.status <> all($3) and m.channel = any($4)
        order by m.sending_at desc nulls last limit 1
        """,
        enrolment,
        Status.REPLIED,
        [Status.WAITING, Status.SKIPPED, Status.FAILED],
        list(channels),
    )
    return message


async def customer_at(connection: Connection, number: str) -> int | None:
    """Return the customer who is reached at a number, locked; of several, the one who was known by a user id last."""
    customer: int | None = await connection.fetchval(
        """
        select id from customers where phone = $1 and erased_at is null and merged_into is null
        order by identified_at desc nulls last, id desc limit 1
        """,
        number,
    )
    if customer is not None and customer in await customers.lock(connection, [customer]):
        # Merged or erased while we waited for the lock.
        return await customer_at(connection, number)
    return customer


async def is_erased(connection: Connection, address: str) -> bool:
    """Whether somebody who was reached at an address was erased."""
    found: bool = await connection.fetchval("select kept_address($1) <> lower($1)", address)
    return found


async def clicked(connection: Connection, message: UUID, place: int) -> None:
    """Keep that a link was followed; its customer's row must be locked. Of the same minute once."""
    await connection.execute(
        """
        insert into clicks (message_id, place) select $1, $2 where not exists (
            select from clicks where message_id = $1 and place = $2 and at > now() - interval '1 minute'
        )
        """,
        message,
        place,
    )
