"""Erasure: what is left of a customer is numbers, times and statuses, and hashes to know them again by.

General Data Protection Regulation, article 17. What providers hold is theirs to erase.
"""

from collections.abc import Sequence
from datetime import datetime

from domain.enrolments import Outcome
from domain.events import CUSTOMER_ERASED
from store import consents, events
from store.customers import Identity, Tombstones
from store.database import Connection
from store.events import NewEvent

ERASED = CUSTOMER_ERASED
"""Name of the event that ends the stays of an erased customer."""


async def erase(connection: Connection, customer: int, tombstones: Tombstones, source: str, now: datetime) -> None:
    """Erase a customer; their row must be locked.

    Their stays are over when this commits, and their runs hear of it from dispatch. Their
    identities are known by a salted hash from then on, so that nothing new is kept.

    Args:
        source: Who erased them.
        now: Wall time.
    """
    addresses = await _addresses(connection, customer)
    identities = await _identities(connection, customer)
    untold = await _withdraw_events(connection, customer)
    await _end_stays(connection, customer, await _announce(connection, customer, source, now), untold)
    await _entomb(connection, identities, tombstones)
    await _forget_callbacks(connection, customer, addresses)
    await _forget_rejected(connection, [value for _, value in identities])
    await _forget_rows(connection, customer)
    await _hide_suppressions(connection, addresses)
    await consents.hide(connection, customer, addresses)


async def _addresses(connection: Connection, customer: int) -> list[str]:
    """Return everywhere the customer was ever written to, in lower case."""
    rows = await connection.fetch(
        """
        select lower(address) as address from (
            select unnest(array[email, phone]) as address from customers where id = $1
            union select recipient from messages where customer_id = $1 and channel <> 'inbox'
        ) s where address is not null
        """,
        customer,
    )
    return [row["address"] for row in rows]


async def _identities(connection: Connection, customer: int) -> list[Identity]:
    rows = await connection.fetch("select kind, value from identities where customer_id = $1", customer)
    return [(row["kind"], row["value"]) for row in rows]


async def _withdraw_events(connection: Connection, customer: int) -> list[int]:
    """Take back what no run has heard yet: what it says is about to be forgotten."""
    rows = await connection.fetch(
        """
        update events set dispatched_at = now(), parked_at = null, note = 'customer erased'
        where customer_id = $1 and dispatched_at is null returning id
        """,
        customer,
    )
    return [row["id"] for row in rows]


async def _announce(connection: Connection, customer: int, source: str, now: datetime) -> int:
    message_id = f"erase:{customer}"
    kept = await events.keep(
        connection,
        [
            NewEvent(
                customer=customer,
                source=source,
                message_id=message_id,
                type="departure",
                name=ERASED,
                properties={},
                context={},
                timestamp=now,
                received_at=now,
                concerns_a_run=True,
            )
        ],
    )
    return kept[message_id]


async def _end_stays(connection: Connection, customer: int, event: int, untold: Sequence[int]) -> None:
    """Let an event end every stay under way; an outcome decided before stays, and is told by it if need be."""
    await connection.execute(
        """
        update enrolments set outcome = coalesce(outcome, $4), outcome_event_id = $2
        where customer_id = $1 and ended_at is null and (outcome is null or outcome_event_id = any($3))
        """,
        customer,
        event,
        list(untold),
        Outcome.ERASED,
    )


async def _entomb(connection: Connection, identities: Sequence[Identity], tombstones: Tombstones) -> None:
    await connection.execute(
        "insert into tombstones (identity_hash) select unnest($1::bytea[]) on conflict do nothing",
        [tombstones.hash(identity) for identity in identities],
    )


async def _forget_callbacks(connection: Connection, customer: int, addresses: Sequence[str]) -> None:
    """Empty what was called back; the ids stay, so that a callback sent again is known."""
    await connection.execute(
        """
        update callbacks set body = '{}', address = null
        where message_id in (select id from messages where customer_id = $1) or address = any($2)
        """,
        customer,
        list(addresses),
    )


async def _forget_rejected(connection: Connection, ids: Sequence[str]) -> None:
    await connection.execute(
        """
        delete from rejected_events
        where btrim(body ->> 'userId') = any($1) or btrim(body ->> 'anonymousId') = any($1)
           or btrim(body ->> 'previousId') = any($1)
        """,
        list(ids),
    )


async def _forget_rows(connection: Connection, customer: int) -> None:
    for statement in (
        "delete from identities where customer_id = $1",
        "delete from devices where customer_id = $1",
        # A backend may make keys and message ids of anything, and nobody asks for these again.
        "update enrolments set key = '' where customer_id = $1",
        "update events set properties = '{}', context = '{}', message_id = 'erased:' || id where customer_id = $1",
        "update messages set recipient = null, content = null, links = '{}' where customer_id = $1",
        """
        update customers set email = null, phone = null, locale = null, time_zone = null, traits = '{}',
                             erased_at = now()
        where id = $1
        """,
    ):
        await connection.execute(statement, customer)


async def _hide_suppressions(connection: Connection, addresses: Sequence[str]) -> None:
    """Keep who must not be written to as salted hashes, so that an erasure does not undo a STOP."""
    await connection.execute(
        """
        with hidden as (
            delete from suppressions where recipient = any($1)
            returning channel, recipient, reason, source, created_at
        )
        insert into suppressions (channel, recipient, reason, source, created_at)
        select channel, address_hash(recipient), reason, source, created_at from hidden
        on conflict (channel, recipient) do nothing
        """,
        list(addresses),
    )
