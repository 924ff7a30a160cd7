"""Conversations in PostgreSQL: the words stay here. Whoever writes has locked the customer's row."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from domain.conversations import CONVERSATION, WINDOW, Conversation, Errand, Happened, Notice, Reason, Said
from domain.enrolments import Outcome
from domain.events import CONVERSATION_OPENED
from domain.messages import Channel, message_id
from store import customers, enrolments, events, silences
from store.database import Connection
from store.events import NewEvent

SHOWN_BEFORE = timedelta(days=7)
"""Wall time before its opening from which what was written is shown as context."""
MOST_LINES, MOST_EVENTS = 100, 10


@dataclass(frozen=True)
class Opened:
    """A conversation under way, or one that was.

    Attributes:
        address: The number the customer writes from; None once they were erased.
    """

    id: int
    customer: int
    channel: Channel
    address: str | None
    enrolment: int
    closed_at: datetime | None


_OPENED = "select id, customer_id, channel, address, enrolment_id, closed_at from conversations"


async def find(connection: Connection, conversation: int) -> Opened | None:
    """Return a conversation."""
    return _as_opened(await connection.fetchrow(f"{_OPENED} where id = $1", conversation))


async def under_way(connection: Connection, customer: int, channel: Channel) -> Opened | None:
    """Return the conversation that is open with a customer by a channel."""
    return _as_opened(
        await connection.fetchrow(
            f"{_OPENED} where customer_id = $1 and channel = $2 and closed_at is null", customer, channel
        )
    )


def _as_opened(row: asyncpg.Record | None) -> Opened | None:
    return Opened(row[0], row[1], Channel(row[2]), *list(row.values())[3:]) if row else None


async def begin(
    connection: Connection,
    customer: int,
    channel: Channel,
    address: str,
    reason: Reason,
    *,
    by: str,
    source_id: str,
) -> Opened:
    """Open a conversation; there must be none by that channel.

    Args:
        by: Who opens it: a provider's name, or an operator.
        source_id: Their id of what made them do so.
    """
    now = datetime.now(UTC)
    clock = await customers.clock_of(connection, customer)
    kept = await events.keep(
        connection,
        [
            NewEvent(
                customer=customer,
                source=by,
                message_id=f"{CONVERSATION}:{source_id}",
                type=CONVERSATION,
                name=CONVERSATION_OPENED,
                properties={"channel": channel, "reason": reason},
                context={},
                timestamp=now,
                received_at=now,
                concerns_a_run=False,
            )
        ],
    )
    (event,) = kept.values()
    stay, _ = await enrolments.enrol(connection, customer, CONVERSATION, channel, event, clock.journey_time(now))
    row = await connection.fetchrow(
        """
        insert into conversations (customer_id, channel, address, enrolment_id, reason, opened_by)
        values ($1, $2, $3, $4, $5, $6) returning id
        """,
        customer,
        channel,
        address,
        stay,
        reason,
        by,
    )
    assert row is not None
    opened = Opened(row["id"], customer, channel, address, stay, None)
    await _adopt(connection, opened)
    return opened


async def _adopt(connection: Connection, conversation: Opened) -> None:
    """What the customer has just written belongs to the conversation it opens."""
    await connection.execute(
        """
        update conversation_lines set conversation_id = $1
        where id = (select max(id) from conversation_lines where customer_id = $2 and channel = $3)
          and conversation_id is null and at > now() - interval '1 minute'
        """,
        conversation.id,
        conversation.customer,
        conversation.channel,
    )


async def alert(connection: Connection, conversation: Opened, by: str) -> None:
    """Expect somebody to talk with the customer now: no journey writes until they have."""
    await connection.execute(
        "update conversations set alerted_at = coalesce(alerted_at, now()) where id = $1", conversation.id
    )
    now = (await customers.clock_of(connection, conversation.customer)).journey_time(datetime.now(UTC))
    await silences.open_dialogue(connection, conversation.customer, by, now)


async def close(connection: Connection, conversation: Opened, by: str) -> bool:
    """Close a conversation, and with the last one the silence around it; False if it was closed before."""
    done: str = await connection.execute(
        "update conversations set closed_at = now(), closed_by = $2 where id = $1 and closed_at is null",
        conversation.id,
        by,
    )
    if done == "UPDATE 0":
        return False
    await enrolments.record_end(connection, conversation.enrolment, Outcome.FINISHED)
    others = await connection.fetchval(
        """
        select exists (
            select from conversations where customer_id = $1 and closed_at is null and alerted_at is not null
        )
        """,
        conversation.customer,
    )
    if not others:
        now = (await customers.clock_of(connection, conversation.customer)).journey_time(datetime.now(UTC))
        await silences.close_dialogue(connection, conversation.customer, now)
    return True


async def heard(
    connection: Connection,
    customer: int,
    channel: Channel,
    text: str,
    *,
    choice: str | None,
    answers: UUID | None,
    conversation: Opened | None,
) -> int:
    """Keep what a customer wrote; return the line's number."""
    number: int = await connection.fetchval(
        """
        insert into conversation_lines (customer_id, conversation_id, channel, text, choice, answers)
        values ($1, $2, $3, $4, $5, $6) returning id
        """,
        customer,
        conversation.id if conversation else None,
        channel,
        text,
        choice,
        answers,
    )
    return number


async def words_in(connection: Connection, enrolment: int) -> int:
    """Return how often a customer has answered a stay's messages in words of their own."""
    count: int = await connection.fetchval(
        """
        select count(*) from conversation_lines l join messages m on m.id = l.answers
        where m.enrolment_id = $1 and l.choice is null
        """,
        enrolment,
    )
    return count


async def answer_until(connection: Connection, conversation: Opened) -> datetime | None:
    """Return when the provider's window closes, wall time; None where there is none, or it never opened."""
    if conversation.channel is not Channel.WHATSAPP:
        return None
    last: datetime | None = await connection.fetchval(
        "select max(at) from conversation_lines where customer_id = $1 and channel = $2 and author is null",
        conversation.customer,
        conversation.channel,
    )
    return last + WINDOW if last else None


@dataclass(frozen=True)
class Answer:
    """What an operator answers.

    Attributes:
        line: Its number.
        message: The message that carries it.
    """

    line: int
    message: UUID
    text: str
    author: str
    at: datetime
    done_at: datetime | None
    refused: str | None


def step_of(line: int, channel: Channel) -> str:
    """Return the step of a conversation's stay an answer is; see `Draft.step`."""
    return f"{template_of(line)}:{channel}"


def template_of(line: int) -> str:
    """Return what stands in the place of a template's name."""
    return f"{CONVERSATION}/{line}"


_ANSWER = "select id, message_id, text, author, at, done_at, refused from conversation_lines"


async def answer(connection: Connection, conversation: Opened, author: str, text: str, request: UUID) -> Answer:
    """Keep what an operator answers, once for each request; it is sent when this has committed."""
    row = await connection.fetchrow(
        f"{_ANSWER} where conversation_id = $1 and request_id = $2", conversation.id, request
    )
    if row is None:
        line = await connection.fetchval(
            """
            insert into conversation_lines (customer_id, conversation_id, channel, author, text, request_id)
            values ($1, $2, $3, $4, $5, $6) returning id
            """,
            conversation.customer,
            conversation.id,
            conversation.channel,
            author,
            text,
            request,
        )
        carrier = message_id(conversation.enrolment, step_of(line, conversation.channel), 1)
        await connection.execute("update conversation_lines set message_id = $2 where id = $1", line, carrier)
        row = await connection.fetchrow(f"{_ANSWER} where id = $1", line)
    assert row is not None
    return Answer(*row.values())


async def answer_of(connection: Connection, line: int) -> tuple[Opened, Answer] | None:
    """Return an answer and its conversation; None if the customer was erased since."""
    row = await connection.fetchrow(f"{_ANSWER} where id = $1", line)
    conversation = await connection.fetchval("select conversation_id from conversation_lines where id = $1", line)
    opened = await find(connection, conversation) if row else None
    return (opened, Answer(*row.values())) if row and opened else None


async def answered(connection: Connection, line: int, refused: str | None) -> None:
    """Record that an answer has left, or why it never will; the tool is told of the latter."""
    done = await connection.fetchval(
        "update conversation_lines set done_at = now(), refused = $2 where id = $1 and done_at is null "
        "returning conversation_id",
        line,
        refused,
    )
    if done is not None and refused is not None:
        await notify(connection, done, Notice.NOT_SENT, line=line)


async def notify(
    connection: Connection, conversation: int, kind: Notice, *, line: int | None = None, alert: bool = False
) -> None:
    """Have the operators' tool told of something, once this has committed."""
    await connection.execute(
        "insert into operator_notices (conversation_id, kind, line_id, alert) values ($1, $2, $3, $4)",
        conversation,
        kind,
        line,
        alert,
    )


@dataclass(frozen=True)
class NoticeRow:
    """Something the operators' tool is to be told.

    Attributes:
        id: What the tool knows it by.
    """

    id: UUID
    kind: Notice
    conversation: int
    alert: bool
    created_at: datetime


async def notice(connection: Connection, number: int) -> NoticeRow | None:
    """Count an attempt to tell something, and return it; None if it was told before."""
    row = await connection.fetchrow(
        """
        update operator_notices set attempts = attempts + 1 where place = $1 and done_at is null
        returning id, kind, conversation_id, alert, created_at
        """,
        number,
    )
    return NoticeRow(row["id"], Notice(row["kind"]), *list(row.values())[2:]) if row else None


async def told(connection: Connection, number: int, answer: str, *, done: bool) -> None:
    """Record what the operators' tool answered."""
    await connection.execute(
        """
        update operator_notices set answer = $2, done_at = case when $3 then now() end
        where place = $1 and done_at is null
        """,
        number,
        answer,
        done,
    )


async def due(connection: Connection, *, tells: bool) -> list[tuple[int, Errand]]:
    """Return the conversations for which errands are to be done.

    Args:
        tells: Whether there is an operators' tool to be told.
    """
    rows = await connection.fetch(
        """
        select distinct conversation_id, $2 from conversation_lines where message_id is not null and done_at is null
        union all
        select distinct conversation_id, $3 from operator_notices where done_at is null and $1
        limit 500
        """,
        tells,
        Errand.ANSWER,
        Errand.TELL,
    )
    return [(conversation, Errand(errand)) for conversation, errand in rows]


async def errands(connection: Connection, conversation: int, errand: Errand) -> list[int]:
    """Return what is to be done for one conversation, by number, the oldest first."""
    todo = {
        Errand.TELL: "select place from operator_notices where done_at is null",
        Errand.ANSWER: "select id from conversation_lines where done_at is null and message_id is not null",
    }
    rows = await connection.fetch(f"{todo[errand]} and conversation_id = $1 order by 1 limit 50", conversation)
    return [row[0] for row in rows]


async def listed(connection: Connection, *, open_only: bool, before: int | None, limit: int) -> list[int]:
    """Return conversations by number, the newest first."""
    rows = await connection.fetch(
        """
        select id from conversations where ($1::bigint is null or id < $1) and (closed_at is null or not $2)
        order by id desc limit $3
        """,
        before,
        open_only,
        limit,
    )
    return [row["id"] for row in rows]


async def read(connection: Connection, conversation: int) -> Conversation | None:
    """Return a conversation with its context; None if there is none, or its customer was erased."""
    row = await connection.fetchrow(
        """
        select v.id, v.channel, v.address, v.reason, v.alerted_at is not null as alerted, v.opened_by, v.opened_at,
               v.closed_by, v.closed_at, c.traits ->> 'first_name' as name, v.customer_id, v.enrolment_id,
               (select value from identities i where i.customer_id = c.id order by kind desc, value limit 1) as user_id
        from conversations v join customers c on c.id = v.customer_id where v.id = $1 and c.erased_at is null
        """,
        conversation,
    )
    if row is None:
        return None
    opened = Opened(row["id"], row["customer_id"], Channel(row["channel"]), row["address"], row["enrolment_id"], None)
    fields: dict[str, Any] = dict(row)
    return Conversation.model_validate(
        {
            **fields,
            "answer_until": await answer_until(connection, opened),
            "lines": await _lines(connection, opened, row["opened_at"] - SHOWN_BEFORE, row["closed_at"]),
            "events": await _events(connection, opened.customer),
        }
    )


async def _lines(connection: Connection, opened: Opened, since: datetime, until: datetime | None) -> list[Said]:
    """What was written on both sides, journeys' messages among it."""
    rows = await connection.fetch(
        """
        select * from (
            select l.at, coalesce(l.author, 'customer') as by, coalesce(pressed.title, l.text) as text,
                   null::jsonb as buttons, l.choice, l.answers, l.message_id as message,
                   case when l.message_id is not null then coalesce(m.status, 'waiting') end as status,
                   coalesce(l.refused, m.reason) as reason
            from conversation_lines l left join messages m on m.id = l.message_id
            left join lateral (
                -- Who wrote a button's number meant its title.
                select button ->> 'title' as title from messages q, jsonb_array_elements(q.content -> 'buttons') button
                where q.id = l.answers and button ->> 'id' = l.choice
            ) pressed on true
            where l.customer_id = $1 and l.channel = $2
            union all
            select m.sending_at, m.journey, m.content ->> 'text', m.content -> 'buttons', null, null, m.id, m.status,
                   m.reason
            from messages m
            where m.customer_id = $1 and m.channel = $2 and m.content is not null and m.journey <> $6
              and m.status not in ('waiting', 'skipped')
        ) said where at >= $3 and ($4::timestamptz is null or at <= $4) order by at desc limit $5
        """,
        opened.customer,
        opened.channel,
        since,
        until,
        MOST_LINES,
        CONVERSATION,
    )
    return [
        Said.model_validate({**dict(row), "buttons": [each["title"] for each in row["buttons"] or ()]})
        for row in reversed(rows)
    ]


async def _events(connection: Connection, customer: int) -> list[Happened]:
    rows = await connection.fetch(
        """
        select "timestamp" as at, name as event, properties from events
        where customer_id = $1 and type in ('track', 'page', 'screen') order by "timestamp" desc limit $2
        """,
        customer,
        MOST_EVENTS,
    )
    return [Happened.model_validate(dict(row)) for row in rows]


async def obstacles(connection: Connection, conversation: Opened) -> tuple[str | None, tuple[str, datetime] | None]:
    """Return why its number must not be written to, and the block the customer is under (until: journey time)."""
    suppression: str | None = await connection.fetchval(
        "select reason from suppressions where channel = $1 and recipient in (lower($2), address_hash($2)) limit 1",
        conversation.channel,
        conversation.address,
    )
    now = (await customers.clock_of(connection, conversation.customer)).journey_time(datetime.now(UTC))
    block = await connection.fetchrow(
        """
        select name, until from blocks
        where customer_id = $1 and lifted_at is null and until > $2 order by until desc limit 1
        """,
        conversation.customer,
        now,
    )
    return suppression, (block["name"], block["until"]) if block else None
