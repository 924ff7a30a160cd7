"""The outbox: one row a message, committed before the provider is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.messages import RANK, DeliverRequest, Status
from store import enrolments
from store.database import Connection

MOMENTS = {
    Status.DELIVERED: "delivered_at",
    Status.FAILED: "failed_at",
    Status.READ: "read_at",
    Status.CLICKED: "clicked_at",
    Status.REPLIED: "replied_at",
}
"""The column that keeps when (wall) a message first came to a status."""


@dataclass(frozen=True)
class Addressee:
    """A stay and its customer as `deliver` needs them; the customer's row is locked.

    Attributes:
        outcome: Not None: the stay is over.
        restart_event: Newest restart accepted, or None.
        event: Properties of the trigger.
    """

    customer: int
    journey: str
    outcome: str | None
    restart_event: int | None
    email: str | None
    phone: str | None
    locale: str | None
    time_zone: str | None
    traits: dict[str, Any]
    erased_at: datetime | None
    event: dict[str, Any]
    devices: list[str]


@dataclass(frozen=True)
class Row:
    """A message as the outbox has it."""

    status: Status
    attempt: int
    recipient: str | None
    content: dict[str, Any] | None
    locale: str | None
    reason: str | None
    journey_at: datetime


async def addressee(connection: Connection, enrolment: int) -> Addressee | None:
    """Lock an enrolment's customer and return both."""
    if await enrolments.lock_customer(connection, enrolment) is None:
        return None
    row = await connection.fetchrow(
        """
        select c.id, e.journey, e.outcome, e.restart_event_id, c.email, c.phone, c.locale, c.time_zone,
               c.traits, c.erased_at, t.properties,
               array(select token from devices d where d.customer_id = c.id and d.dead_at is null
                     order by added_at desc)
        from enrolments e join customers c on c.id = e.customer_id join events t on t.id = e.trigger_event_id
        where e.id = $1
        """,
        enrolment,
    )
    return Addressee(*row.values()) if row else None


async def find(connection: Connection, message: UUID) -> Row | None:
    """Return a message, if it was ever decided about."""
    row = await connection.fetchrow(
        "select status, attempt, recipient, content, locale, reason, journey_at from messages where id = $1", message
    )
    return Row(Status(row["status"]), *list(row.values())[1:]) if row else None


@dataclass(frozen=True)
class Linked:
    """What the addresses in a message need to know of it.

    Attributes:
        links: Where its tracked links lead, by place.
    """

    locale: str | None
    links: list[str]


async def linked(connection: Connection, message: UUID) -> Linked | None:
    """Return what a message links to."""
    row = await connection.fetchrow("select locale, links from messages where id = $1", message)
    return Linked(*row.values()) if row else None


async def suppression(connection: Connection, channel: str, recipient: str) -> str | None:
    """Return why nothing may be sent to a recipient by a channel, if so."""
    reason: str | None = await connection.fetchval(
        "select reason from suppressions where channel = $1 and recipient in (lower($2), address_hash($2))",
        channel,
        recipient,
    )
    return reason


async def suppress(connection: Connection, channel: str, recipient: str, reason: str, source: str) -> None:
    """Send nothing to a recipient by a channel any more; the first reason stays."""
    await connection.execute(
        """
        insert into suppressions (channel, recipient, reason, source) values ($1, lower($2), $3, $4)
        on conflict (channel, recipient) do nothing
        """,
        channel,
        recipient,
        reason,
        source,
    )


async def lift_suppression(connection: Connection, channel: str, recipient: str, reason: str) -> None:
    """Undo one kind of suppression, as START undoes STOP."""
    await connection.execute(
        "delete from suppressions where channel = $1 and recipient in (lower($2), address_hash($2)) and reason = $3",
        channel,
        recipient,
        reason,
    )


async def bury_device(connection: Connection, token: str) -> None:
    """Never push to a token again, until the app reports it anew."""
    await connection.execute("update devices set dead_at = now() where token = $1 and dead_at is null", token)


async def devices_left(connection: Connection, message: UUID) -> int:
    """Return how many live devices a message's customer has."""
    count: int = await connection.fetchval(
        """
        select count(*) from devices d join messages m on m.customer_id = d.customer_id
        where m.id = $1 and d.dead_at is null
        """,
        message,
    )
    return count


async def claim(
    connection: Connection,
    message: UUID,
    customer: int,
    request: DeliverRequest,
    *,
    status: Status,
    recipient: str,
    locale: str,
    version: str | None,
    content: dict[str, Any] | None,
    links: Sequence[str],
    provider: str,
    now: datetime,
) -> int:
    """Commit a message to be sent; a text rendered in an earlier attempt is kept.

    Args:
        now: Journey time.

    Returns:
        The attempt, which fences what is recorded about it.
    """
    attempt: int = await connection.fetchval(
        """
        insert into messages (id, customer_id, enrolment_id, step, occurrence, channel, template, template_version,
                              locale, message_class, recipient, content, links, status, attempt, awaits, provider,
                              journey_at, sending_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, $15, $16, $17, now())
        on conflict (id) do update set status = excluded.status, attempt = messages.attempt + 1,
            recipient = excluded.recipient, content = coalesce(messages.content, excluded.content),
            links = case when messages.content is null then excluded.links else messages.links end,
            locale = coalesce(messages.locale, excluded.locale),
            template_version = coalesce(messages.template_version, excluded.template_version),
            awaits = excluded.awaits, provider = excluded.provider, journey_at = excluded.journey_at,
            sending_at = now(), reason = null
        returning attempt
        """,
        message,
        customer,
        request.enrolment,
        request.draft.step,
        request.occurrence,
        request.draft.channel,
        request.draft.template,
        version,
        locale,
        request.draft.message_class,
        recipient,
        content,
        list(links),
        status,
        list(request.awaits),
        provider,
        now,
    )
    return attempt


async def skip(
    connection: Connection, message: UUID, customer: int, request: DeliverRequest, reason: str, now: datetime
) -> None:
    """Keep why a message was not sent."""
    await connection.execute(
        """
        insert into messages (id, customer_id, enrolment_id, step, occurrence, channel, template, message_class,
                              status, reason, journey_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (id) do update
        set status = excluded.status, reason = excluded.reason, journey_at = excluded.journey_at
        """,
        message,
        customer,
        request.enrolment,
        request.draft.step,
        request.occurrence,
        request.draft.channel,
        request.draft.template,
        request.draft.message_class,
        Status.SKIPPED,
        reason,
        now,
    )


async def settle(
    connection: Connection,
    message: UUID,
    attempt: int,
    status: Status,
    *,
    provider_id: str | None = None,
    reason: str | None = None,
) -> Status:
    """Record what a provider's answer to one attempt proves; never a step back.

    Returns:
        The status now, which a callback may have moved further already.
    """
    row = await connection.fetchval(
        """
        update messages set
            status = case when status = any($3) and attempt = $2 then $4 else status end,
            reason = case when status = any($3) and attempt = $2 then $6 else reason end,
            provider_id = coalesce(provider_id, $5),
            accepted_at = case when $7 then coalesce(accepted_at, now()) else accepted_at end,
            failed_at = case when $8 and status = any($3) and attempt = $2 then now() else failed_at end
        where id = $1 returning status
        """,
        message,
        attempt,
        _before(status),
        status,
        provider_id,
        reason,
        RANK[status] >= RANK[Status.ACCEPTED],
        status is Status.FAILED,
    )
    return Status(row)


async def await_also(connection: Connection, message: UUID, awaits: Sequence[Status]) -> None:
    """Let the run hear of further statuses of a message that has gone already."""
    if awaits:
        await connection.execute(
            "update messages set awaits = $2 where id = $1 and not awaits @> $2::text[]", message, list(awaits)
        )


async def settle_abandoned(connection: Connection) -> None:
    """Settle rows nobody will come back to: their worker died, or their stay ended between two tries.

    A call takes 10 seconds at the most, so what is `sending` after a minute may or may not have left.
    """
    await connection.execute(
        """
        update messages set status = $1, reason = 'interrupted'
        where status = $2 and sending_at < now() - interval '1 minute'
        """,
        Status.UNKNOWN,
        Status.SENDING,
    )
    await connection.execute(
        """
        update messages m set status = $1, reason = 'overtaken:' || e.outcome
        from enrolments e where e.id = m.enrolment_id and e.ended_at is not null and m.status = $2
        """,
        Status.SKIPPED,
        Status.WAITING,
    )


async def requeue(connection: Connection, message: UUID, attempt: int, reason: str) -> Status:
    """Record that an attempt certainly did not leave, so that it can be made again."""
    row = await connection.fetchval(
        """
        update messages
        set status = case when status = $3 and attempt = $2 then $4 else status end,
            reason = case when status = $3 and attempt = $2 then $5 else reason end
        where id = $1 returning status
        """,
        message,
        attempt,
        Status.SENDING,
        Status.WAITING,
        reason,
    )
    return Status(row)


@dataclass(frozen=True)
class Moved:
    """A message a report has moved forward."""

    customer: int
    enrolment: int
    channel: str
    recipient: str | None
    awaited: bool


async def advance(
    connection: Connection, message: UUID, status: Status, at: datetime, *, provider_id: str | None, reason: str | None
) -> Moved | None:
    """Move a message forward on a provider's or a customer's report; None if it is there already.

    Args:
        at: When it happened, wall time.
    """
    moment = MOMENTS.get(status)
    first_time = f", {moment} = coalesce({moment}, $5)" if moment else ", accepted_at = coalesce(accepted_at, $5)"
    row = await connection.fetchrow(
        f"""
        update messages
        set status = $2, provider_id = coalesce(provider_id, $4), reason = coalesce($6, reason){first_time}
        where id = $1 and status = any($3)
        returning customer_id, enrolment_id, channel, recipient, $2 = any(awaits) as awaited
        """,
        message,
        status,
        _before(status),
        provider_id,
        at,
        reason,
    )
    return Moved(*row.values()) if row else None


async def explain(connection: Connection, message: UUID, reason: str) -> None:
    """Keep why a message has not arrived yet."""
    await connection.execute(
        "update messages set reason = $2 where id = $1 and status = any($3)",
        message,
        reason,
        _before(Status.DELIVERED),
    )


async def dismiss(connection: Connection, message: UUID, at: datetime) -> None:
    """Record that the customer put a message away; the first time stays."""
    await connection.execute("update messages set dismissed_at = coalesce(dismissed_at, $2) where id = $1", message, at)


def _before(status: Status) -> list[str]:
    """The statuses a message may have before it comes to this one."""
    return [each for each in Status if RANK[each] < RANK[status] and each is not Status.SKIPPED]
