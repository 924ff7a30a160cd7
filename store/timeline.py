"""Everything that happened to a customer and why: what they did, what was decided, who had a hand in it.

Every entry has a wall time `at` and a `sequence`: its place among the customer's facts, for what shares a
time; 0 for what has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from store.database import Connection


@dataclass(frozen=True)
class Scope:
    """What of a customer's is looked for.

    Attributes:
        before: Wall time; only what is older.
        journeys: Only events, stays and messages of these; None for all.
        events: Names of the events that concern these journeys.
        message: Of the messages only those of this id or this text; None for all.
    """

    before: datetime | None = None
    journeys: Sequence[str] | None = None
    events: Sequence[str] = ()
    message: str | None = None


_SCOPE = """
    with scope as (
        select $1::bigint as customer, $2::timestamptz as before, $3::text[] as journeys, $4::text[] as events,
               $5::text as message
    ), reached as (
        select lower(email) as address from customers, scope where id = customer and email is not null
        union select address_hash(email) from customers, scope where id = customer and email is not null
        union select phone from customers, scope where id = customer and phone is not null
        union select address_hash(phone) from customers, scope where id = customer and phone is not null
    )
"""

_EVENTS = """
    select v.received_at as at, v.id as sequence, v.id, v.type, v.name, v.source, v.properties, v."timestamp",
           v.dispatched_at, v.parked_at, v.note
    from events v, scope
    where v.customer_id = customer and (before is null or v.received_at < before)
      and (journeys is null or v.name = any(events) or exists (
          select from enrolments e
          where e.customer_id = customer and e.journey = any(journeys)
            and (v.id in (e.trigger_event_id, e.outcome_event_id, e.restart_event_id)
                 or v.type in ('message_status', 'message_reply') and v.properties -> 'enrolment' = to_jsonb(e.id))
      ))
"""

# Never before the event that made it, whatever the clocks of our machines say.
_ENROLMENTS = """
    select greatest(e.created_at, t.received_at) as at, t.id as sequence, e.id, e.journey, e.key, e.workflow_id,
           e.enrolled_at, e.outcome, o.name as ended_by, e.ended_at
    from scope, enrolments e join events t on t.id = e.trigger_event_id left join events o on o.id = e.outcome_event_id
    where e.customer_id = customer and (before is null or greatest(e.created_at, t.received_at) < before)
      and (journeys is null or e.journey = any(journeys))
"""

_MESSAGE = """
    m.created_at as at, coalesce(m.sequence, 0) as sequence, m.id, m.enrolment_id, e.journey, e.workflow_id,
    m.channel, m.template, m.template_version, m.locale, m.message_class, m.priority, m.status, m.reason, m.attempt,
    m.policy_version, m.journey_at, m.not_before, m.expires_at, m.provider, m.provider_id, m.sending_at,
    m.accepted_at, m.delivered_at, m.read_at, m.clicked_at, m.replied_at, m.failed_at, m.dismissed_at, m.unknown_at,
    m.resolution, m.resolved_at, m.evidence
"""

_MESSAGES = f"""
    select {_MESSAGE}
    from scope, messages m join enrolments e on e.id = m.enrolment_id
    where m.customer_id = customer and (before is null or m.created_at < before)
      and (journeys is null or e.journey = any(journeys))
      and (message is null or message in (m.id::text, m.template, split_part(m.template, '/', 2)))
"""

_CONSENTS = """
    select c.at, 0::bigint as sequence, c.id, c.channel, c.topic, c.given, c.source
    from consents c, scope
    where (c.customer_id = $1 or c.address = any(array(select address from reached)))
      and (before is null or c.at < before)
"""

_SUPPRESSIONS = """
    select s.created_at as at, 0::bigint as sequence, s.channel, s.reason, s.source
    from suppressions s, scope
    where s.recipient in (select address from reached) and (before is null or s.created_at < before)
"""

_BLOCKS = """
    select b.created_at as at, coalesce(b.event_id, 0) as sequence, b.id, b.name, b.source, b.begins_at, b.until,
           b.lifted_at
    from blocks b, scope
    where b.customer_id = customer and (before is null or b.created_at < before)
"""

_DIALOGUES = """
    select d.created_at as at, 0::bigint as sequence, d.id, d.source, d.opened_at, d.closed_at
    from dialogues d, scope
    where d.customer_id = customer and (before is null or d.created_at < before)
"""

# What was done to whoever was merged into the customer was done to them. An enrolment is the `number` of
# the operations on enrolments only; others give that name to other things.
_ACTIONS = """
    select distinct a.id, a.at, 0::bigint as sequence, a.actor, a.action, a.subject, a.detail, r.answer
    from scope
    cross join lateral (
        select jsonb_build_object('customer', id) as subject from customers where id = $1 or merged_into = $1
        union all
        select jsonb_build_object('number', id) from enrolments where customer_id = customer
    ) concerned
    join audit a on a.subject @> concerned.subject
    left join audit_answers r on r.audit_id = a.id
    where (before is null or a.at < before)
      and (concerned.subject ? 'customer' or a.action in ('command_enrolment', 'signal_enrolment'))
"""

KINDS = {
    "event": _EVENTS,
    "suppression": _SUPPRESSIONS,
    "consent": _CONSENTS,
    "block": _BLOCKS,
    "dialogue": _DIALOGUES,
    "enrolment": _ENROLMENTS,
    "message": _MESSAGES,
    "action": _ACTIONS,
}
"""What is told of a customer, by kind; of what shares a time and a place, the kinds named first come first."""


async def page(connection: Connection, customer: int, scope: Scope, limit: int) -> dict[str, list[dict[str, Any]]]:
    """Return the newest entries by kind, each kind with all that share the time of its last.

    Args:
        limit: How many of each kind, at least.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, selection in KINDS.items():
        rows = await connection.fetch(
            f"{_SCOPE} {selection} order by at desc fetch first ($6) rows with ties",
            customer,
            scope.before,
            scope.journeys,
            list(scope.events),
            scope.message,
            limit,
        )
        found[kind] = [dict(row) for row in rows]
    decided = await decisions(connection, [message["id"] for message in found["message"]])
    for message in found["message"]:
        message["decisions"] = decided.get(message["id"], [])
    return found


async def decisions(connection: Connection, messages: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """Return what was decided about some messages, in order, each decision with the wish or the silence it goes by."""
    rows = await connection.fetch(
        """
        select d.message_id, d.verdict, d.rule, d.reason, d.until, d.first_at, d.last_at, d.times, d.policy_version,
               d.decided_at, cause.at as cause_at, cause.source as cause_source, cause.until as cause_until
        from decisions d
        join messages m on m.id = d.message_id
        join customers k on k.id = m.customer_id
        cross join lateral (
            select case when m.channel = 'email' then lower(k.email)
                        when m.channel in ('sms', 'whatsapp', 'call') then k.phone end as plain
        ) reached
        left join lateral (
            (select c.at, c.source, null::timestamptz as until from consents c
             where d.rule = 'no_consent' and not c.given and c.at <= d.decided_at
               and (c.customer_id = k.id or c.address in (reached.plain, address_hash(reached.plain)))
               and c.channel in (m.channel, '*')
               and c.topic in (substring(d.reason from '/(\\S+) withdrawn'), '*')
             order by c.id desc limit 1)
            union all
            (select b.created_at, b.source, b.until from blocks b
             where d.rule = 'blocked' and b.customer_id = k.id and b.name = split_part(d.reason, ':', 2)
               and b.created_at <= d.decided_at
             order by b.until desc limit 1)
            union all
            (select o.created_at, o.source, o.closed_at from dialogues o
             where d.rule = 'dialogue' and o.customer_id = k.id and o.created_at <= d.decided_at
             order by o.id desc limit 1)
            union all
            (select s.created_at, s.source, null from suppressions s
             where d.rule = 'suppressed' and s.channel = m.channel
               and s.recipient in (reached.plain, address_hash(reached.plain))
             limit 1)
        ) cause on true
        where d.message_id = any($1)
        order by d.id
        """,
        list(messages),
    )
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        decision = dict(row)
        found.setdefault(decision.pop("message_id"), []).append(decision)
    return found


async def message(connection: Connection, message: UUID) -> dict[str, Any] | None:
    """Return one message as a timeline has it, with its customer's number and when they were erased."""
    row = await connection.fetchrow(
        f"""
        select {_MESSAGE}, m.customer_id, k.erased_at
        from messages m join enrolments e on e.id = m.enrolment_id join customers k on k.id = m.customer_id
        where m.id = $1
        """,
        message,
    )
    if row is None:
        return None
    return {**row, "decisions": (await decisions(connection, [message])).get(message, [])}


async def callbacks(connection: Connection, message: UUID) -> list[asyncpg.Record]:
    """Return what was reported about a message, in order: by whom, what in their word, when it came (wall)."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select provider, received_at,
               coalesce(body #>> '{MessageStatus,0}', body #>> '{SmsStatus,0}', body ->> 'event', body ->> 'result')
               as told
        from callbacks where message_id = $1 order by received_at, callback_id
        """,
        message,
    )
    return rows


async def journeys_that_asked(connection: Connection, customer: int, message: str) -> list[str]:
    """Return the journeys that have asked for a message of a customer's, by its id or its text's name."""
    rows = await connection.fetch(
        """
        select distinct e.journey from messages m join enrolments e on e.id = m.enrolment_id
        where m.customer_id = $1 and $2 in (m.id::text, m.template, split_part(m.template, '/', 2))
        """,
        customer,
        message,
    )
    return [row["journey"] for row in rows]
