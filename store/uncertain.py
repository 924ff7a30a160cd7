"""Sends of which nobody knows whether they left: which are due to be looked into, and what was decided.

Whoever looks into one takes it for a while (`take`); what is then recorded holds only if nothing else
has happened to it meanwhile: a callback, another who took it after the while was over.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.messages import Channel, MessageClass, Status
from domain.uncertain import Fact, Resolution
from store.database import Connection

ID_LOCKS = 2
"""First half of the advisory locks under which a message found at a provider gets its id there."""

NEAR = timedelta(minutes=10)
"""Wall time around a send within which our other messages to the recipient may be mistaken for it."""


@dataclass(frozen=True)
class Doubt:
    """An uncertain send that is ours to look into.

    Attributes:
        recipient: None, like the content, once the customer was erased.
        attempt: The provider call nobody knows the end of; fences what is recorded.
        looks: How often it has been looked into, this time included; fences it too.
        since: Wall time of the first call in doubt.
        waited: Wall time since the last call.
        sent_again: Whether the last call was the second send of a transactional message.
        decided_after: Newest event its run knew of.
        journey_at: Journey time it was first sent at.
        expires_at: Journey time after which it is not worth sending.
    """

    message: UUID
    enrolment: int
    channel: Channel
    message_class: MessageClass
    recipient: str | None
    content: dict[str, Any] | None
    locale: str | None
    attempt: int
    looks: int
    since: datetime
    waited: timedelta
    sent_again: bool
    decided_after: int
    journey_at: datetime
    expires_at: datetime | None


async def take(connection: Connection, for_: timedelta) -> Doubt | None:
    """Take the uncertain send that has been due longest; nobody else gets it for a while.

    Args:
        for_: The while, wall time.
    """
    row = await connection.fetchrow(
        """
        update messages m set lookups = lookups + 1, look_after = now() + $1::interval
        from (
            select id from messages where status = 'unknown' and resolved_at is null and look_after <= now()
            order by look_after limit 1 for update skip locked
        ) due
        where m.id = due.id
        returning m.id, enrolment_id, channel, message_class, recipient, content, locale, attempt, lookups,
                  unknown_at, now() - sending_at, sent_again_at is not null, coalesce(decided_after, 0), journey_at,
                  expires_at
        """,
        for_,
    )
    if row is None:
        return None
    message, enrolment, channel, message_class, *others = row.values()
    return Doubt(message, enrolment, Channel(channel), MessageClass(message_class), *others)


async def due(connection: Connection) -> bool:
    """Whether any uncertain send is to be looked into now."""
    found: bool = await connection.fetchval(
        """
        select exists (select from messages
                       where status = 'unknown' and resolved_at is null and look_after <= now())
        """
    )
    return found


async def unresolved(connection: Connection) -> int:
    """Return of how many sends nobody knows whether they left, with nothing decided yet."""
    count: int = await connection.fetchval(
        "select count(*) from messages where status = 'unknown' and resolved_at is null"
    )
    return count


async def is_ours(connection: Connection, doubt: Doubt) -> bool:
    """Whether nothing has happened to a message since it was taken; locks it."""
    found: bool | None = await connection.fetchval(
        """
        select true from messages
        where id = $1 and status = 'unknown' and resolved_at is null and attempt = $2 and lookups = $3 for update
        """,
        doubt.message,
        doubt.attempt,
        doubt.looks,
    )
    return bool(found)


async def in_hand(connection: Connection, doubt: Doubt, attempt: int) -> bool:
    """Whether a message is still what handing it over once more has made it; locks it."""
    found: bool | None = await connection.fetchval(
        "select true from messages where id = $1 and attempt = $2 and status in ('sending', 'unknown') for update",
        doubt.message,
        attempt,
    )
    return bool(found)


@dataclass(frozen=True)
class Neighbours:
    """Our other messages to the same recipient by the same channel, at about the same time.

    Attributes:
        provider_ids: The provider's ids of them, as far as we know them.
        twins: How many look exactly the same and have none.
    """

    provider_ids: Collection[str]
    twins: int


async def neighbours(connection: Connection, doubt: Doubt) -> Neighbours:
    """Return what might be mistaken for an uncertain send."""
    row = await connection.fetchrow(
        """
        with others as (
            select id, provider, provider_id, status, content from messages
            where channel = $2 and recipient = $3 and id <> $1 and sending_at >= $5::timestamptz - $6::interval
        )
        select array(select provider_id from others where provider_id is not null
                     union select split_part(c.callback_id, ':', 1)
                     from callbacks c join others o on c.message_id = o.id and c.provider = o.provider),
               (select count(*) from others
                where status in ('sending', 'unknown') and provider_id is null and content = $4::jsonb)
        """,
        doubt.message,
        doubt.channel,
        doubt.recipient,
        doubt.content,
        doubt.since,
        NEAR,
    )
    assert row is not None
    return Neighbours(*row.values())


async def note(connection: Connection, doubt: Doubt, *facts: Fact) -> None:
    """Keep a piece of evidence."""
    await connection.execute(
        "update messages set evidence = coalesce(evidence, '[]') || $2::jsonb where id = $1", doubt.message, list(facts)
    )


async def look_again(connection: Connection, doubt: Doubt, after: timedelta) -> None:
    """Have a message looked into again after a while (wall)."""
    await connection.execute(
        "update messages set look_after = now() + $2::interval where id = $1", doubt.message, after
    )


async def is_free(connection: Connection, doubt: Doubt, provider_id: str) -> bool:
    """Whether what was found belongs to no other message of ours; nobody else gets it in this transaction."""
    await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", ID_LOCKS, provider_id)
    free: bool = await connection.fetchval(
        """
        select not exists (
            select from messages o join messages m on m.provider = o.provider
            where m.id = $1 and o.provider_id = $2 and o.id <> $1
        )
        """,
        doubt.message,
        provider_id,
    )
    return free


async def assume(connection: Connection, doubt: Doubt) -> None:
    """Decide that a message has left, as nobody can tell; its status stays unknown."""
    await connection.execute(
        "update messages set resolution = $2, resolved_at = now() where id = $1",
        doubt.message,
        Resolution.ASSUMED_SENT,
    )


async def claim(connection: Connection, doubt: Doubt, *, again: bool) -> int:
    """Commit a message to be handed over once more; its customer must be locked, and it must be ours.

    Args:
        again: It is the one second send of a transactional message, not a way to ask.

    Returns:
        The new attempt.
    """
    attempt: int = await connection.fetchval(
        """
        update messages set
            status = $2, attempt = attempt + 1, sending_at = now(),
            sent_again_at = case when $3 then now() else sent_again_at end,
            sequence = nextval(pg_get_serial_sequence('events', 'id'))
        where id = $1 returning attempt
        """,
        doubt.message,
        Status.SENDING,
        again,
    )
    return attempt


async def give_back(connection: Connection, doubt: Doubt, attempt: int, after: timedelta, *facts: Fact) -> None:
    """Record that handing a message over once more certainly did nothing: it is in doubt as it was before.

    Args:
        after: Wall time until it is looked into again.
    """
    await connection.execute(
        """
        update messages set
            status = 'unknown', look_after = now() + $3::interval,
            sent_again_at = case when $4 then sent_again_at end, evidence = coalesce(evidence, '[]') || $5::jsonb
        where id = $1 and attempt = $2 and status = 'sending'
        """,
        doubt.message,
        attempt,
        after,
        doubt.sent_again,
        list(facts),
    )
