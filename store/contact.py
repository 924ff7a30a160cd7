"""What the contact policy has to know of a customer; to be read under the customer's lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from domain.conversations import CONVERSATION
from domain.messages import Channel, MessageClass, PushKeys, Status
from policy.configuration import Policy
from policy.contact import Block, Consent, Facts, Sent, Wanted
from policy.hours import zones_of
from store import customers, enrolments, membership
from store.database import Connection

NOT_SENT: Sequence[Status] = (Status.WAITING, Status.SKIPPED, Status.FAILED)
"""What takes up nobody's patience."""

SEEN: Sequence[Status] = (Status.READ, Status.CLICKED, Status.REPLIED)
"""What the customer has certainly seen."""

FORGETS_ITS_TURN_AFTER = timedelta(minutes=15)
"""Journey time after which a message that waited and did not come for its slot holds up nobody any more."""


@dataclass(frozen=True)
class Person:
    """Whom a message would go to.

    Attributes:
        devices: Live push tokens of apps, the newest first.
        browsers: Live subscriptions to web push, the newest first: endpoint, public key, authentication secret.
    """

    customer: int
    email: str | None
    phone: str | None
    time_zone: str | None
    erased: bool
    devices: Sequence[str]
    browsers: Sequence[Sequence[str]] = ()

    def address(self, channel: Channel) -> str | None:
        """Return where a channel reaches the customer, if it does."""
        match channel:
            case Channel.EMAIL:
                return self.email
            case Channel.SMS | Channel.WHATSAPP | Channel.CALL:
                return self.phone
            case Channel.INBOX | Channel.POPUP | Channel.BANNER:
                return str(self.customer)
            case Channel.PUSH | Channel.WEB_PUSH:
                return next(iter(self.reached_at(channel)), None)

    def reached_at(self, channel: Channel) -> list[str]:
        """Return every address at which a channel reaches the customer, the one it uses first."""
        match channel:
            case Channel.PUSH:
                return list(self.devices)
            case Channel.WEB_PUSH:
                return [endpoint for endpoint, *_ in self.browsers]
            case _:
                address = self.address(channel)
                return [address] if address else []

    def push_keys(self, recipient: str) -> PushKeys | None:
        """Return what is encrypted to for a browser's endpoint; None for any other address."""
        return next(
            (PushKeys(p256dh=key, auth=auth) for endpoint, key, auth in self.browsers if endpoint == recipient), None
        )


@dataclass(frozen=True)
class Question:
    """What is to be decided: may this be sent now.

    Attributes:
        message: The message it is about; None for one that is only imagined.
        now: Journey time, as is `expires_at`.
        audience: The segment it is for; None if it is for whoever is in the journey.
        exclusive: Journeys that have whoever is in them to themselves.
        undisturbed: Journey time since which no other campaign may have written; None: it does not matter.
        goal: Event after which it is not sent any more, with the number of the event it must come after.
        held_out: Share of customers whom its campaign leaves out for comparison.
        once: The step of a message that goes to a customer once, in whatever stay; None: it may go again.
        said_once: Stay and text of a message that says nothing the customer has seen by another channel; None: it may.
    """

    message: UUID | None
    now: datetime
    channel: Channel
    message_class: MessageClass
    expires_at: datetime | None
    journey: str
    topic: str
    priority: int
    gives_way: bool
    audience: str | None = None
    undisturbed: datetime | None = None
    goal: tuple[str, int] | None = None
    held_out: float = 0
    once: str | None = None
    said_once: tuple[int, str] | None = None
    exclusive: Sequence[str] = ()


async def person(connection: Connection, customer: int) -> Person:
    """Return how a customer can be reached."""
    row = await connection.fetchrow(
        """
        select id, email, phone, time_zone, erased_at is not null,
               array(select token from devices d where d.customer_id = c.id and d.dead_at is null
                     and p256dh is null order by added_at desc),
               array(select array[token, p256dh, auth] from devices d where d.customer_id = c.id and d.dead_at is null
                     and p256dh is not null order by added_at desc)
        from customers c where id = $1
        """,
        customer,
    )
    assert row is not None
    return Person(*row.values())


async def facts(
    connection: Connection, policy: Policy, to: Person, question: Question, default_time_zone: str | None
) -> Facts:
    """Gather what the policy decides on.

    Args:
        default_time_zone: IANA zone of a customer of whom nothing tells where they are.
    """
    recipient = to.address(question.channel)
    row = await _standing(connection, to.customer, question, recipient)
    window = policy.longest_window
    return Facts(
        now=question.now,
        customer=to.customer,
        journey=question.journey,
        topic=question.topic,
        channel=question.channel,
        message_class=question.message_class,
        recipient=recipient,
        zones=zones_of(to.time_zone, to.phone, default_time_zone),
        erased=to.erased,
        suppression=row["reason"],
        expires_at=question.expires_at,
        priority=question.priority,
        gives_way=question.gives_way,
        outside=await _outside(connection, to.customer, question),
        sent_before=await _sent_before(connection, to.customer, question),
        seen_by=await _seen_by(connection, question),
        campaign_lately=await _campaign_lately(connection, to.customer, question),
        reached=await _reached(connection, to.customer, question),
        held_out=question.held_out,
        left_to=await _left_to(connection, to.customer, question),
        consent=Consent(row["given"], row["source"]) if row["source"] is not None else None,
        block=Block(row["name"], row["until"]) if row["name"] is not None else None,
        # What a person of ours answers is the dialogue.
        dialogue_since=None if question.journey == CONVERSATION else row["opened_at"],
        sent=await _sent(connection, to.customer, question.now - window, question.message) if window else (),
        wanted=await _wanted(connection, to.customer, question.now, question.message) if window else (),
    )


async def _standing(connection: Connection, customer: int, question: Question, recipient: str | None) -> asyncpg.Record:
    """Return what stands between a customer and a message: suppression, newest wish, block, dialogue."""
    row = await connection.fetchrow(
        """
        select s.reason, w.given, w.source, b.name, b.until, d.opened_at
        from (select lower($3::text) as plain, case when $3::text is not null then address_hash($3) end as hidden) a
        left join lateral (
            select reason from suppressions where channel = $2 and recipient in (a.plain, a.hidden)
            order by recipient limit 1
        ) s on true
        left join lateral (
            select given, source from (
                (select id, given, source from consents
                 where customer_id = $1 and channel in ($2, '*') and topic in ($4, '*') order by id desc limit 1)
                union all
                (select id, given, source from consents
                 where address in (a.plain, a.hidden) and channel in ($2, '*') and topic in ($4, '*')
                 order by id desc limit 1)
            ) wishes order by id desc limit 1
        ) w on true
        left join lateral (
            select name, until from blocks
            where customer_id = $1 and lifted_at is null and until > $5 order by until desc limit 1
        ) b on true
        left join dialogues d on d.customer_id = $1 and d.closed_at is null
        """,
        customer,
        question.channel,
        recipient,
        question.topic,
        question.now,
    )
    assert row is not None
    return row


async def _outside(connection: Connection, customer: int, question: Question) -> str | None:
    """Return the segment the message is for if the customer is not in it, by its definition and what they did, now.

    Who was in it when they were last looked at does not count: they may have come back since.
    """
    if question.audience is None:
        return None
    now = (await customers.clock_of(connection, customer)).wall_time(question.now)
    return None if await membership.is_in(connection, question.audience, customer, now) else question.audience


async def _sent_before(connection: Connection, customer: int, question: Question) -> bool:
    if question.once is None:
        return False
    found: bool = await connection.fetchval(
        """
        select exists (
            select from messages
            where customer_id = $1 and step = $2 and id is distinct from $3 and status <> all($4)
        )
        """,
        customer,
        question.once,
        question.message,
        NOT_SENT,
    )
    return found


async def _seen_by(connection: Connection, question: Question) -> Channel | None:
    """Return another channel by which the customer has seen the text in the same stay."""
    if question.said_once is None:
        return None
    enrolment, template = question.said_once
    channel = await connection.fetchval(
        """
        select channel from messages
        where enrolment_id = $1 and template = $2 and channel <> $3 and status = any($4) limit 1
        """,
        enrolment,
        template,
        question.channel,
        SEEN,
    )
    return Channel(channel) if channel else None


async def _campaign_lately(connection: Connection, customer: int, question: Question) -> bool:
    """Whether a message of another campaign left, or may have, within the time that is to be left alone."""
    if question.undisturbed is None:
        return False
    found: bool = await connection.fetchval(
        """
        select exists (
            select from messages where customer_id = $1 and starts_with(journey, 'campaign:') and journey <> $2
            and journey_at > $3 and status <> all($4)
        )
        """,
        customer,
        question.journey,
        question.undisturbed,
        NOT_SENT,
    )
    return found


async def _reached(connection: Connection, customer: int, question: Question) -> str | None:
    """Return the goal, if the customer has come to it."""
    if question.goal is None:
        return None
    name, since = question.goal
    return name if await enrolments.facts_after(connection, customer, [name], since) else None


async def _left_to(connection: Connection, customer: int, question: Question) -> str | None:
    """Return the journey a customer is left to, if it is another one; of two that want them, the first."""
    if not question.exclusive:
        return None
    journey: str | None = await connection.fetchval(
        "select journey from enrolments where customer_id = $1 and outcome is null and journey = any($2) "
        "order by id limit 1",
        customer,
        question.exclusive,
    )
    return None if journey == question.journey else journey


async def _sent(connection: Connection, customer: int, since: datetime, except_for: UUID | None) -> list[Sent]:
    """Return what left, or may have left, to a customer.

    Args:
        since: Journey time.
        except_for: The message that is being decided about.
    """
    rows = await connection.fetch(
        """
        select channel, message_class, journey_at from messages
        where customer_id = $1 and journey_at > $2 and status <> all($3) and id is distinct from $4
        """,
        customer,
        since,
        NOT_SENT,
        except_for,
    )
    return [Sent(Channel(row["channel"]), MessageClass(row["message_class"]), row["journey_at"]) for row in rows]


async def _wanted(connection: Connection, customer: int, now: datetime, except_for: UUID | None) -> list[Wanted]:
    """Return what else waits to leave to a customer and may now.

    Only what its run is still going to ask for: the stay is not over, and no restart has come since.

    Args:
        now: Journey time.
    """
    rows = await connection.fetch(
        """
        select m.channel, m.message_class, m.priority
        from messages m join enrolments e on e.id = m.enrolment_id
        where m.customer_id = $1 and m.status = $2 and m.id is distinct from $3
          and m.not_before <= $4 and m.not_before > $5
          and e.outcome is null and m.decided_after >= coalesce(e.restart_event_id, 0)
        """,
        customer,
        Status.WAITING,
        except_for,
        now,
        now - FORGETS_ITS_TURN_AFTER,
    )
    return [Wanted(Channel(row["channel"]), MessageClass(row["message_class"]), row["priority"]) for row in rows]


async def remember_policy(connection: Connection, version: str, body: dict[str, Any]) -> None:
    """Keep the rules decisions are made by, so that a decision can be explained when they have changed."""
    await connection.execute(
        "insert into policies (version, body) values ($1, $2) on conflict (version) do nothing", version, body
    )


async def policies(connection: Connection) -> list[asyncpg.Record]:
    """Return every policy this installation has decided by, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select version, body, first_used_at from policies order by first_used_at desc, version"
    )
    return rows


async def asked_before(connection: Connection, customer: int, message: UUID) -> asyncpg.Record | None:
    """Return what was asked about a message of a customer's: journey, channel, class, expiry (journey time)."""
    return await connection.fetchrow(
        """
        select e.journey, m.channel, m.message_class, m.expires_at
        from messages m join enrolments e on e.id = m.enrolment_id where m.id = $2 and m.customer_id = $1
        """,
        customer,
        message,
    )
