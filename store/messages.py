"""The outbox: one row a message, committed before the provider is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.messages import RANK, Channel, DeliverRequest, Status
from domain.tariffs import Cost
from domain.uncertain import Resolution, fact
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
        trigger_event: Its number.
    """

    person: Person
    journey: str
    outcome: str | None
    restart_event: int | None
    locale: str | None
    traits: dict[str, Any]
    event: dict[str, Any]
    trigger_event: int


@dataclass(frozen=True)
class Row:
    """A message as the outbox has it."""

    status: Status
    channel: Channel
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
        select e.journey, e.outcome, e.restart_event_id, c.locale, c.traits, t.properties, t.id
        from enrolments e join customers c on c.id = e.customer_id join events t on t.id = e.trigger_event_id
        where e.id = $1
        """,
        enrolment,
    )
    return Addressee(await contact.person(connection, customer), *row.values()) if row else None


async def find(connection: Connection, message: UUID) -> Row | None:
    """Return a message, if it was ever decided about."""
    row = await connection.fetchrow(
        "select status, channel, attempt, recipient, content, locale, reason, journey_at from messages where id = $1",
        message,
    )
    return Row(Status(row["status"]), Channel(row["channel"]), *list(row.values())[2:]) if row else None


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
    """Send nothing to a recipient by a channel any more.

    The first reason stays, unless it is an erasure, which consent given anew lifts, but no STOP and no complaint; or
    a dead address, which comes to life when its owner writes, and a STOP does not go by that.
    """
    await connection.execute(
        """
        insert into suppressions (channel, recipient, reason, source) values ($1, kept_address($2), $3, $4)
        on conflict (channel, recipient) do update
        set reason = excluded.reason, source = excluded.source, created_at = excluded.created_at
        where suppressions.reason = 'erased' or suppressions.reason = 'dead' and excluded.reason <> 'dead'
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


async def heard_from(connection: Connection, channel: str, recipient: str) -> None:
    """Learn that somebody writes from an address: it is there, whatever a provider said of it before.

    What is kept of an address of somebody erased stays.
    """
    await connection.execute(
        "delete from suppressions where channel = $1 and recipient = lower($2) and reason = 'dead'", channel, recipient
    )


async def bury_device(connection: Connection, token: str) -> None:
    """Never push to a token again, until the app reports it anew."""
    await connection.execute("update devices set dead_at = now() where token = $1 and dead_at is null", token)


async def devices_left(connection: Connection, message: UUID) -> int:
    """Return how many live devices that the message's channel reaches its customer has."""
    count: int = await connection.fetchval(
        """
        select count(*) from devices d join messages m on m.customer_id = d.customer_id
        where m.id = $1 and d.dead_at is null and (d.p256dh is not null) = (m.channel = 'web_push')
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
    anew: bool = False,
    cost: Cost | None = None,
) -> int:
    """Commit a message to be sent; a text rendered in an earlier attempt is kept.

    Args:
        anew: Unless this takes its place.
        cost: What it will cost, if that is known.

    Returns:
        The attempt, which fences what is recorded about it.
    """
    await _propose(connection, proposal, status)
    attempt: int = await connection.fetchval(
        """
        update messages set attempt = attempt + 1, recipient = $2,
            content = case when content is null or $9 then $3 else content end,
            links = case when content is null or $9 then $4 else links end,
            locale = case when locale is null or $9 then $5 else locale end,
            template_version = case when template_version is null or $9 then $6 else template_version end,
            provider = $7, awaits = $8, sending_at = now(), cost = $10, currency = $11
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
        anew,
        cost.amount if cost else None,
        cost.currency if cost else None,
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


CALLBACKS_FIRST = timedelta(seconds=10)
"""Wall time a provider's callback gets before anybody asks what became of a send."""

_NOT_TAKEN = "(status = 'failed' and resolution = 'not_taken')"
_DOUBTED = f"(unknown_at is not null and (status in ('sending', 'unknown') or {_NOT_TAKEN}))"
"""Nobody knows for certain whether it left."""
_BY = "case when sent_again_at is null or {0} in ('not_taken', 'assumed_sent') then {0} else 'sent_again' end"
"""Whatever is heard of a message that was sent again, that it was is what settled it."""


async def settle(
    connection: Connection,
    message: UUID,
    attempt: int,
    status: Status,
    *,
    provider_id: str | None = None,
    reason: str | None = None,
    resolution: Resolution = Resolution.ANSWERED,
) -> Status:
    """Record what a provider's answer to one attempt proves; never a step back.

    Args:
        resolution: What this settles the message by, if nobody knew before whether it left.

    Returns:
        The status now, which a callback may have moved further already.
    """
    if status is Status.UNKNOWN:
        return await _doubt(connection, message, attempt, reason)
    refused = status is Status.FAILED
    # An old attempt that was taken was taken; what else it says does not touch a newer one. Who has
    # a sign of it from the provider does not believe a refusal.
    moves = f"((status = any($3) and (attempt = $2 or $7)) or ($7 and {_NOT_TAKEN}))"
    row = await connection.fetchval(
        f"""
        update messages set
            status = case when {moves} then $4 else status end,
            reason = case when {moves} then $6 else reason end,
            provider_id = coalesce(provider_id, $5),
            accepted_at = case when $7 then coalesce(accepted_at, now()) else accepted_at end,
            failed_at = case when not {moves} then failed_at when not $7 then now() end,
            resolution = case when {moves} and {_DOUBTED} then {_BY.format("$8::text")} else resolution end,
            resolved_at = case when {moves} and {_DOUBTED} then now() else resolved_at end,
            evidence = case when {moves} and {_DOUBTED} then coalesce(evidence, '[]') || $9::jsonb else evidence end
        where id = $1 returning status
        """,
        message,
        attempt,
        [Status.WAITING, Status.SENDING, Status.UNKNOWN] if refused else _before(status),
        status,
        provider_id,
        reason,
        not refused,
        resolution,
        [fact("answered", attempt=attempt, status=status, provider_id=provider_id, code=reason)],
    )
    return Status(row)


async def _doubt(connection: Connection, message: UUID, attempt: int, reason: str | None) -> Status:
    """Record that nobody knows what became of an attempt, unless a callback was faster than the answer."""
    row = await connection.fetchval(
        """
        update messages set
            status = case when status = any($3) then 'unknown' else status end,
            reason = case when status = any($3) then $4 else reason end,
            look_after = case when status = any($3) then now() + $5::interval else look_after end,
            unknown_at = coalesce(unknown_at, sending_at),
            resolution = case when status <> all($3) then coalesce(resolution, $7) end,
            resolved_at = case when status <> all($3) then coalesce(resolved_at, now()) end,
            evidence = coalesce(evidence, '[]') || $6::jsonb
        where id = $1 and attempt = $2 and status not in ('unknown', 'skipped') returning status
        """,
        message,
        attempt,
        _before(Status.UNKNOWN),
        reason,
        CALLBACKS_FIRST,
        [fact("uncertain", attempt=attempt, code=reason)],
        Resolution.CALLBACK,
    )
    return Status(row or await connection.fetchval("select status from messages where id = $1", message))


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
        update messages set status = 'unknown', reason = 'interrupted', look_after = now(),
            unknown_at = coalesce(unknown_at, sending_at), evidence = coalesce(evidence, '[]') || $1::jsonb
        where status = 'sending' and sending_at < now() - interval '1 minute'
        """,
        [fact("uncertain", code="interrupted")],
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
    """A message a report has moved forward.

    Attributes:
        awaited: Whether its run wants to hear of it.
        resolved: By what this settled what nobody knew, if it did.
    """

    customer: int
    enrolment: int
    channel: str
    recipient: str | None
    awaited: bool
    resolved: str | None


async def advance(
    connection: Connection,
    message: UUID,
    status: Status,
    at: datetime,
    *,
    provider_id: str | None,
    reason: str | None,
    resolution: Resolution = Resolution.CALLBACK,
    source: str | None = None,
    callback_id: str | None = None,
) -> Moved | None:
    """Move a message forward on a provider's or a customer's report; None if it is there already.

    A report is stronger than what was found by asking, or assumed: it also undoes "not taken".

    Args:
        at: When it happened, wall time.
        resolution: What this settles the message by, if nobody knew before whether it left.
        source: Who reports.
        callback_id: Their id of the report.
    """
    moment = MOMENTS.get(status)
    moments = f", {moment} = coalesce({moment}, $5)" if moment else ", accepted_at = coalesce(accepted_at, $5)"
    if status is not Status.FAILED:
        moments += f", failed_at = case when not {_NOT_TAKEN} then failed_at end"
    row = await connection.fetchrow(
        f"""
        update messages
        set status = $2, provider_id = coalesce(provider_id, $4),
            reason = case when {_DOUBTED} then $6 else coalesce($6, reason) end{moments},
            resolution = case when {_DOUBTED} then {_BY.format("$7::text")} else resolution end,
            resolved_at = case when {_DOUBTED} then now() else resolved_at end,
            evidence = case when {_DOUBTED} then coalesce(evidence, '[]') || $8::jsonb else evidence end
        where id = $1 and (status = any($3) or {_NOT_TAKEN})
        returning customer_id, enrolment_id, channel, recipient, $2 = any(awaits) as awaited,
                  case when resolved_at = now() then resolution end as resolved
        """,
        message,
        status,
        _before(status),
        provider_id,
        at,
        reason,
        resolution,
        [fact("callback", source=source, id=callback_id, status=status, provider_id=provider_id, code=reason)]
        if resolution is Resolution.CALLBACK
        else [],
    )
    return Moved(*row.values()) if row else None


async def priced(connection: Connection, message: UUID, price: Decimal, currency: str) -> None:
    """Keep what the provider says it took for a message, beside the estimate it was sent by."""
    await connection.execute(
        "update messages set price = $2, price_currency = $3 where id = $1", message, price, currency
    )


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
