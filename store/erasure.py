"""Erasure: what is left of a customer is numbers, times and statuses, and hashes to know them again by.

General Data Protection Regulation, article 17. What providers hold is asked of them, see `requests`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from domain.enrolments import Outcome
from domain.events import CUSTOMER_ERASED
from store import consents, events, held
from store.customers import Identity, Tombstones
from store.database import Connection
from store.events import NewEvent
from store.held import Whose

BY_ADDRESS = "sendgrid"
"""The provider that erases all it holds of an address."""
BY_MESSAGE = ("twilio", "twilio_voice")
"""The providers that erase one message, or call, at a time."""
BY_CONVERSATION = "operators"
"""The operators' tool, which erases what it was told of one conversation at a time."""


async def erase(
    connection: Connection,
    customer: int,
    tombstones: Tombstones,
    source: str,
    now: datetime,
    known_names: Collection[str] = (),
) -> None:
    """Erase a customer; their row must be locked.

    Their stays are over when this commits, and their runs hear of it from dispatch. Their
    identities are known by a salted hash from then on, so that nothing new is kept; and so are their
    addresses, so that nobody reached there is written to until they allow it anew.

    Args:
        source: Who erased them.
        now: Wall time.
        known_names: Of events: those journeys declare. Other names are the sender's, and may say anything.
    """
    whose = await held.whose(connection, customer)
    await _record(connection, customer, source, now)
    await _ask_providers(connection, whose)
    untold = await _withdraw_events(connection, customer)
    await _end_stays(connection, customer, await _announce(connection, customer, source, now), untold)
    await _entomb(connection, whose.identities, tombstones)
    await _forget_found(connection, whose)
    await _forget_rows(connection, customer)
    await _forget_names(connection, customer, known_names)
    await _hide_suppressions(connection, whose.addresses)
    await _suppress(connection, whose, source)
    await consents.hide(connection, customer, whose.addresses)


async def _record(connection: Connection, customer: int, source: str, now: datetime) -> None:
    await connection.execute(
        "insert into erasures (customer_id, requested_by, requested_at) values ($1, $2, $3)", customer, source, now
    )


async def _ask_providers(connection: Connection, whose: Whose) -> None:
    """Keep what providers are to be asked to erase and nobody will know any more when this commits.

    What we sent by a provider that erases by message is found by `requests`; what somebody wrote us
    through it is known by its callbacks only.
    """
    await connection.execute(
        """
        insert into provider_erasures (customer_id, provider, kind, subject)
        select distinct customer_id, provider, 'address', lower(recipient)
        from messages where customer_id = $1 and provider = $2 and recipient is not null
        """,
        whose.customer,
        BY_ADDRESS,
    )
    await connection.execute(
        f"""
        with {held.WHO}
        insert into provider_erasures (customer_id, provider, kind, subject)
        select who.customer, provider, 'message', callback_id from callbacks, who
        where provider = any($4) and position(':' in callback_id) = 0 and {held.CALLBACKS}
        """,
        *whose.arguments,
        BY_MESSAGE,
    )
    await connection.execute(
        """
        insert into provider_erasures (customer_id, provider, kind, subject)
        select distinct customer_id, $2, 'conversation', v.id::text
        from conversations v join operator_notices n on n.conversation_id = v.id
        where customer_id = $1 and n.attempts > 0
        """,
        whose.customer,
        BY_CONVERSATION,
    )
    await connection.execute(
        """
        insert into provider_erasures (customer_id, provider, kind, answer, done_at)
        select distinct customer_id, provider, 'everything', 'cannot: it has no way to be asked', now()
        from messages where customer_id = $1 and provider <> all($2)
        """,
        whose.customer,
        ["inbox", BY_ADDRESS, *BY_MESSAGE],
    )


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
                name=CUSTOMER_ERASED,
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


async def _forget_found(connection: Connection, whose: Whose) -> None:
    """Empty what was called back, and remove what was not accepted.

    The ids of callbacks stay, so that one that is sent again is known.
    """
    for statement in (
        f"with {held.WHO} update callbacks set body = '{{}}', address = null from who where {held.CALLBACKS}",
        f"with {held.WHO} delete from rejected_events using who where {held.REJECTED}",
        f"with {held.WHO} delete from whatsapp_conversations using who where {held.CONVERSATIONS}",
    ):
        await connection.execute(statement, *whose.arguments)


async def _forget_rows(connection: Connection, customer: int) -> None:
    for statement in (
        "delete from identities where customer_id = $1",
        "delete from devices where customer_id = $1",
        "delete from segment_members where customer_id = $1",
        # A backend may make keys and message ids of anything, and nobody asks for these again.
        "update enrolments set key = '' where customer_id = $1",
        "update events set properties = '{}', context = '{}', message_id = 'erased:' || id where customer_id = $1",
        "update operator_notices n set done_at = coalesce(n.done_at, now()) from conversations v "
        "where v.id = n.conversation_id and v.customer_id = $1",
        "delete from conversation_lines where customer_id = $1",
        "update conversations set address = null, closed_at = coalesce(closed_at, now()), "
        "closed_by = coalesce(closed_by, 'erased') where customer_id = $1",
        "update messages set recipient = null, content = null, links = '{}' where customer_id = $1",
        """
        update customers set email = null, phone = null, locale = null, time_zone = null, traits = '{}',
                             erased_at = now()
        where id = $1
        """,
    ):
        await connection.execute(statement, customer)


async def _forget_names(connection: Connection, customer: int, known: Collection[str]) -> None:
    """Let events of the customer's that no journey knows by name be known by their type."""
    await connection.execute(
        "update events set name = type where customer_id = $1 and type = 'track' and name <> all($2)",
        customer,
        list(known),
    )


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


async def _suppress(connection: Connection, whose: Whose, source: str) -> None:
    """Write to nobody where the customer was reached; what stopped us there before stays the reason."""
    await connection.execute(
        """
        insert into suppressions (channel, recipient, reason, source)
        select channel, address_hash(address), 'erased', $3 from unnest($1::text[], $2::text[]) as r(channel, address)
        on conflict (channel, recipient) do nothing
        """,
        [channel for channel, _ in whose.reached],
        [address for _, address in whose.reached],
        source,
    )


@dataclass(frozen=True)
class Request:
    """Something a provider is to be asked to erase.

    Attributes:
        subject: What the provider knows it by.
    """

    provider: str
    subject: str


async def due(connection: Connection) -> list[int]:
    """Return the customers of whom providers are to be asked now.

    While a message may still be on its way to its provider, it is too early: it would be there afterwards.
    Whose run was started an hour (wall) ago may have lost it: somebody may have ended it.
    """
    rows = await connection.fetch(
        """
        select customer_id from erasures e
        where completed_at is null and coalesce(asked_at < now() - interval '1 hour', true) and not exists (
            select from messages m where m.customer_id = e.customer_id
                and (m.status = 'sending' or (m.status = 'unknown' and m.resolved_at is null))
        )
        order by requested_at limit 100
        """
    )
    return [row["customer_id"] for row in rows]


async def being_asked(connection: Connection, customer: int) -> None:
    """Record that a run has set out to ask the providers."""
    await connection.execute("update erasures set asked_at = now() where customer_id = $1", customer)


async def requests(connection: Connection, customer: int, limit: int) -> list[int]:
    """Return the numbers of what providers are still to be asked; nothing left means the erasure is complete."""
    async with connection.transaction():
        await connection.execute(
            """
            insert into provider_erasures (customer_id, provider, kind, message_id, subject)
            select customer_id, provider, 'message', id, provider_id from messages
            where customer_id = $1 and provider = any($2) and provider_id is not null
            on conflict (message_id) do nothing
            """,
            customer,
            BY_MESSAGE,
        )
        rows = await connection.fetch(
            "select id from provider_erasures where customer_id = $1 and done_at is null order by id limit $2",
            customer,
            limit,
        )
        if not rows:
            await connection.execute(
                "update erasures set completed_at = now() where customer_id = $1 and completed_at is null", customer
            )
    return [row["id"] for row in rows]


async def look_again(connection: Connection, customer: int) -> None:
    """Take an erasure up again if a provider has told of a message it had not told of before."""
    await connection.execute(
        """
        update erasures set completed_at = null, asked_at = null
        where completed_at is not null and customer_id = $1 and exists (
            select from messages m left join provider_erasures p on p.message_id = m.id
            where m.customer_id = $1 and m.provider = any($2) and m.provider_id is not null and p.id is null
        )
        """,
        customer,
        BY_MESSAGE,
    )


async def attempt(connection: Connection, number: int) -> Request | None:
    """Count an attempt and return what to ask; None if it was answered before."""
    row = await connection.fetchrow(
        """
        update provider_erasures set attempts = attempts + 1 where id = $1 and done_at is null
        returning provider, subject
        """,
        number,
    )
    return Request(*row.values()) if row else None


async def answered(connection: Connection, number: int, answer: str, *, done: bool) -> None:
    """Record what a provider answered.

    Args:
        answer: A code of ours or theirs, never an address.
        done: Whether it is not to be asked again.
    """
    await connection.execute(
        """
        update provider_erasures
        set answer = $2, done_at = case when $3 then now() end, subject = case when not $3 then subject end
        where id = $1 and done_at is null
        """,
        number,
        answer,
        done,
    )


async def give_up(connection: Connection, number: int) -> None:
    """Ask a provider no more; its last answer stays to be seen."""
    await connection.execute(
        """
        update provider_erasures
        set answer = 'given up: ' || coalesce(answer, 'no answer'), done_at = now(), subject = null
        where id = $1 and done_at is null
        """,
        number,
    )


async def page(connection: Connection, before: datetime | None, limit: int) -> list[dict[str, Any]]:
    """Return erasures, the newest first, with what became of them at the providers."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select customer_id, requested_by, requested_at, completed_at, (
            select coalesce(jsonb_agg(to_jsonb(p) order by provider, kind, answer), '[]') from (
                select provider, kind, answer, done_at is not null as done, count(*) as number,
                       max(attempts) as attempts
                from provider_erasures where customer_id = e.customer_id
                group by provider, kind, answer, done_at is not null
            ) p
        ) as providers
        from erasures e where $1::timestamptz is null or requested_at < $1
        order by requested_at desc fetch first ($2) rows with ties
        """,
        before,
        limit,
    )
    return [dict(row) for row in rows]
