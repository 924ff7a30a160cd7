"""What customers allow and forbid: a ledger that is only added to, and what holds by it.

Of all entries about a customer, or about the address they are reached at, the newest that covers a
channel and a topic holds. Newest means added last: what somebody wishes now counts, whichever old
letter they wish it by. Withdrawn consent stops marketing; what stops everything is a suppression.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.messages import Channel
from store import messages
from store.contact import Person
from store.database import Connection

ALL = "*"
"""Stands for every channel, or every topic."""

SHARED = frozenset({Channel.EMAIL, Channel.SMS, Channel.WHATSAPP, Channel.CALL})
"""Channels whose addresses more than one customer may be reached at."""


@dataclass(frozen=True)
class Wish:
    """Consent given or withdrawn.

    Attributes:
        channel: A `Channel`, or `ALL`.
        topic: Name of a topic, or `ALL`.
        source: How we know, as a code, such as ``twilio:stop``. Kept for ever: nothing personal.
        proof: What shows that it was so, such as the provider's id of the report.
        at: Wall time it was expressed at; None for now.
    """

    channel: str
    topic: str
    given: bool
    source: str
    proof: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True)
class Entry:
    """A wish as the ledger has it.

    Attributes:
        customer: Whose it is, if that is known.
        address: Where it reached us from: it covers whoever is reached there. Hidden by a hash once a
            customer who was reached there is erased.
    """

    id: int
    customer: int | None
    channel: str
    topic: str
    given: bool
    source: str
    proof: dict[str, Any]
    at: datetime
    address: str | None


@dataclass(frozen=True)
class Suppression:
    """Why nothing at all is sent to an address."""

    reason: str
    source: str
    since: datetime


@dataclass(frozen=True)
class Reader:
    """Whoever reads a message; its links act for them.

    Attributes:
        address: Where it went, if others may be reached there too.
        locale: Language it was written in.
    """

    message: UUID
    customer: int
    channel: Channel
    address: str | None
    locale: str | None


async def lock(connection: Connection, *, message: UUID | None = None, address: str | None = None) -> None:
    """Lock everybody a wish concerns, in sorted order.

    They are a message's customer, who is reached where it went, and who is reached at an address.
    """
    row = await connection.fetchrow("select customer_id, recipient from messages where id = $1", message)
    customer, recipient = row.values() if row else (None, None)
    # A subquery would have every customer read: no index is used beside one.
    await connection.execute(
        """
        select from customers
        where id = $1 or phone in ($2, $3) or lower(email) in (lower($2), lower($3))
        order by id for update
        """,
        customer,
        address,
        recipient,
    )


async def reader(connection: Connection, message: UUID) -> Reader | None:
    """Return who reads a message; None if there is no such message, or its customer was erased."""
    row = await connection.fetchrow(
        """
        select m.id, m.customer_id, m.channel, m.recipient, coalesce(m.locale, c.locale)
        from messages m join customers c on c.id = m.customer_id where m.id = $1 and c.erased_at is null
        """,
        message,
    )
    if row is None:
        return None
    id, customer, name, recipient, locale = row.values()
    channel = Channel(name)
    return Reader(id, customer, channel, recipient if channel in SHARED else None, locale)


async def locked_reader(connection: Connection, message: UUID) -> Reader | None:
    """Lock everybody a wish by a message's links concerns, and return its reader, see `reader`."""
    before = await reader(connection, message)
    while before is not None:
        await lock(connection, message=message)
        now = await reader(connection, message)
        if now == before:
            return now
        # Merged while we waited for the lock: the message belongs to somebody else by now.
        before = now
    return None


async def record(connection: Connection, wish: Wish, *, customer: int | None, address: str | None) -> Entry:
    """Add a wish to the ledger; everybody it concerns must be locked.

    Args:
        customer: Whose it is, if that is known.
        address: Whom else it covers: everybody who is reached there.
    """
    row = await connection.fetchrow(
        """
        insert into consents (customer_id, address, channel, topic, given, source, proof, at)
        values ($1, kept_address($2), $3, $4, $5, $6, $7, coalesce($8, now()))
        returning id, customer_id, channel, topic, given, source, proof, at, address
        """,
        customer,
        address,
        wish.channel,
        wish.topic,
        wish.given,
        wish.source,
        dict(wish.proof),
        wish.at,
    )
    assert row is not None
    return Entry(*row.values())


async def opted_out(
    connection: Connection,
    *,
    customer: int | None,
    channel: Channel,
    address: str,
    source: str,
    proof: Mapping[str, Any],
) -> None:
    """Keep a STOP, said to us or kept by a provider: nothing is sent there any more, and marketing is forbidden.

    Everybody it concerns must be locked.
    """
    await messages.suppress(connection, channel, address, "opted_out", source)
    wish = Wish(channel, ALL, given=False, source=source, proof=proof)
    await record(connection, wish, customer=customer, address=address)


async def opted_in(
    connection: Connection,
    *,
    customer: int | None,
    channel: Channel,
    address: str,
    source: str,
    proof: Mapping[str, Any],
) -> None:
    """Keep a START: undoes what a STOP did, and an erasure, as they want to hear from us again.

    Everybody it concerns must be locked.
    """
    await messages.lift_suppression(connection, channel, address, "opted_out")
    await messages.lift_suppression(connection, channel, address, "erased")
    wish = Wish(channel, ALL, given=True, source=source, proof=proof)
    await record(connection, wish, customer=customer, address=address)


async def newest(
    connection: Connection, person: Person, channels: Sequence[Channel], topics: Sequence[str]
) -> dict[tuple[Channel, str], Entry]:
    """Return the wish that holds for a customer, by channel and topic; nothing where they expressed none."""
    rows = await connection.fetch(
        """
        select reach.channel as by, about,
               w.id, w.customer_id, w.channel, w.topic, w.given, w.source, w.proof, w.at, w.address
        from unnest($2::text[], $3::text[]) as reach(channel, address)
        cross join unnest($4::text[]) as about
        cross join lateral (
            (select * from consents
             where customer_id = $1 and channel in (reach.channel, '*') and topic in (about, '*')
             order by id desc limit 1)
            union all
            (select * from consents
             where address in (lower(reach.address), address_hash(reach.address))
               and channel in (reach.channel, '*') and topic in (about, '*')
             order by id desc limit 1)
            order by id desc limit 1
        ) w
        """,
        person.customer,
        list(channels),
        [person.address(channel) for channel in channels],
        list(topics),
    )
    return {(Channel(by), about): Entry(*entry) for by, about, *entry in (row.values() for row in rows)}


async def suppressed(connection: Connection, addresses: Mapping[Channel, str | None]) -> dict[Channel, Suppression]:
    """Return by which channels nothing at all is sent to some addresses, and why."""
    rows = await connection.fetch(
        """
        select s.channel, s.reason, s.source, s.created_at
        from unnest($1::text[], $2::text[]) as reach(channel, address)
        join suppressions s
          on s.channel = reach.channel and s.recipient in (lower(reach.address), address_hash(reach.address))
        order by s.recipient desc
        """,
        list(addresses),
        list(addresses.values()),
    )
    return {Channel(channel): Suppression(*why) for channel, *why in (row.values() for row in rows)}


async def history(connection: Connection, person: Person, before: int | None, limit: int) -> list[Entry]:
    """Return the ledger's entries about a customer and the addresses they are reached at, the newest first.

    Args:
        before: Only what was added before the entry of this number.
    """
    rows = await connection.fetch(
        """
        with reached as (
            select lower(each) as address from unnest($2::text[]) each
            union select address_hash(each) from unnest($2::text[]) each
        )
        select id, customer_id, channel, topic, given, source, proof, at, address from (
            (select * from consents where customer_id = $1 and ($3::bigint is null or id < $3)
             order by id desc limit $4)
            union
            (select * from consents
             where address = any(array(select address from reached)) and ($3::bigint is null or id < $3)
             order by id desc limit $4)
        ) entries
        order by id desc limit $4
        """,
        person.customer,
        [each for each in (person.email, person.phone) if each],
        before,
        limit,
    )
    return [Entry(*row.values()) for row in rows]


async def kept_by(connection: Connection, provider: str, address: str) -> bool:
    """Whether the last a provider told of an address is that it keeps an unsubscribe itself.

    As long as it does, it sends nothing there, whatever the ledger says.
    """
    given: bool | None = await connection.fetchval(
        """
        select given from consents
        where address in (lower($2), address_hash($2)) and source in ($1 || ':unsubscribe',
              $1 || ':group_unsubscribe', $1 || ':group_resubscribe', $1 || ':dropped')
        order by id desc limit 1
        """,
        provider,
        address,
    )
    return given is False


async def hide(connection: Connection, customer: int, addresses: Sequence[str]) -> None:
    """Forget who it was, at an erasure: addresses become salted hashes, and their proofs are emptied.

    What was wished stays and goes on to hold for whoever is reached there.

    Args:
        addresses: Everywhere the customer was ever written to, in lower case.
    """
    await connection.execute(
        """
        update consents set address = address_hash(address),
                            proof = case when customer_id = $1 or customer_id is null then '{}' else proof end
        where address = any($2)
        """,
        customer,
        list(addresses),
    )
    await connection.execute("update consents set proof = '{}' where customer_id = $1 and proof <> '{}'", customer)
