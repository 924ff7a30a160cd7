"""The outbox: one row a message, committed before the provider is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.messages import RANK, DeliverRequest, Status
from store import contact, enrolments
from store.contact import Person
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

    person: Person
    journey: str
    outcome: str | None
    restart_event: int | None
    locale: str | None
    traits: dict[str, Any]
    event: dict[str, Any]


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
    customer = await enrolments.lock_customer(connection, enrolment)
    if customer is None:
        return None
    row = await connection.fetchrow(
        """
        select e.journey, e.outcome, e.restart_event_id, c.locale, c.traits, t.properties
        from enrolments e join customers c on c.id = e.customer_id join events t on t.id = e.trigger_event_id
        where e.id = $1
        """,
        enrolment,
    )
    return Addressee(await contact.person(connection, customer), *row.values()) if row else None


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


@dataclass(frozen=True)
class Proposal:
    """A message a run asks for, as its row begins.

    Attributes:
        priority: 1 is the most important.
        policy_version: The rules it is decided by.
        now: Journey time.
    """

    message: UUID
    customer: int
    journey: str
    priority: int
    request: DeliverRequest
    policy_version: str
    now: datetime


_PROPOSED = """
    insert into messages (id, customer_id, enrolment_id, journey, step, occurrence, channel, template, message_class,
                          priority, decided_after, expires_at, policy_version, journey_at, status, reason, not_before,
                          sequence)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
            nextval(pg_get_serial_sequence('events', 'id')))
    on conflict (id) do update set
        decided_after = excluded.decided_after, expires_at = excluded.expires_at,
        policy_version = excluded.policy_version, journey_at = excluded.journey_at, status = excluded.status,
        reason = excluded.reason, not_before = excluded.not_before, sequence = excluded.sequence
"""


async def _propose(
    connection: Connection,
    proposal: Proposal,
    status: Status,
    *,
    reason: str | None = None,
    not_before: datetime | None = None,
) -> None:
    """Keep what has been decided about a message, at its place among its customer's facts."""
    request, draft = proposal.request, proposal.request.draft
    await connection.execute(
        _PROPOSED,
        proposal.message,
        proposal.customer,
        request.enrolment,
        proposal.journey,
        draft.step,
        request.occurrence,
        draft.channel,
        draft.template,
        draft.message_class,
        proposal.priority,
        request.decided_after,
        request.expires_at,
        proposal.policy_version,
        proposal.now,
        status,
        reason,
        not_before,
    )


async def claim(
    connection: Connection,
    proposal: Proposal,
    *,
    status: Status,
    recipient: str,
    locale: str,
    version: str | None,
    content: dict[str, Any] | None,
    links: Sequence[str],
    provider: str,
) -> int:
    """Commit a message to be sent; a text rendered in an earlier attempt is kept.

    Returns:
        The attempt, which fences what is recorded about it.
    """
    await _propose(connection, proposal, status)
    attempt: int = await connection.fetchval(
        """
        update messages set attempt = attempt + 1, recipient = $2, content = coalesce(content, $3),
            links = case when content is null then $4 else links end, locale = coalesce(locale, $5),
            template_version = coalesce(template_version, $6), provider = $7, awaits = $8, sending_at = now()
        where id = $1 returning attempt
        """,
        proposal.message,
        recipient,
        content,
        list(links),
        locale,
        version,
        provider,
        list(proposal.request.awaits),
    )
    return attempt


async def hold(connection: Connection, proposal: Proposal, reason: str, until: datetime) -> None:
    """Keep that a message waits, why, and until when (journey time)."""
    await _propose(connection, proposal, Status.WAITING, reason=reason, not_before=until)
    await _explain_decision(connection, proposal.message, "delay", reason, until, proposal.now)


async def skip(connection: Connection, proposal: Proposal, reason: str) -> None:
    """Keep why a message was not sent."""
    await _propose(connection, proposal, Status.SKIPPED, reason=reason)
    await _explain_decision(connection, proposal.message, "drop", reason, None, proposal.now)


async def _explain_decision(
    connection: Connection, message: UUID, verdict: str, reason: str, until: datetime | None, now: datetime
) -> None:
    """Keep a decision with its reason; the same one taken again is counted.

    Args:
        reason: Begins with the name of the rule.
        now: Journey time.
    """
    await connection.execute(
        """
        insert into decisions (message_id, verdict, rule, reason, until, policy_version, first_at, last_at)
        select id, $2, split_part($3, ':', 1), $3, $4, policy_version, $5, $5 from messages where id = $1
        on conflict (message_id, verdict, rule, reason) do update set
            until = excluded.until, policy_version = excluded.policy_version, last_at = excluded.last_at,
            times = decisions.times + 1
        """,
        message,
        verdict,
        reason,
        until,
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


async def requeue(
    connection: Connection, message: UUID, attempt: int, reason: str, *, until: datetime, now: datetime
) -> Status:
    """Record that an attempt certainly did not leave, so that it can be made again.

    Args:
        until: When, journey time.
        now: Journey time.

    Returns:
        The status now, which a callback may have moved further.
    """
    row = await connection.fetchval(
        """
        update messages
        set status = case when status = $3 and attempt = $2 then $4 else status end,
            reason = case when status = $3 and attempt = $2 then $5 else reason end,
            not_before = case when status = $3 and attempt = $2 then $6 else not_before end
        where id = $1 returning status
        """,
        message,
        attempt,
        Status.SENDING,
        Status.WAITING,
        reason,
        until,
    )
    if Status(row) is Status.WAITING:
        await _explain_decision(connection, message, "delay", reason, until, now)
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
