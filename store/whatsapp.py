"""WhatsApp: what its reviewers say of our templates, who wrote to which sender, and which senders are blocked.

All times are wall time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from store.database import Connection

SUBMITTABLE = "requested"
"""The status of a template Twilio has not been told of."""

FIRST_LOOKS, LATER_LOOKS = timedelta(seconds=30), timedelta(minutes=30)
"""How long after a look the next one is: the first, and at most. Reviews take minutes to a day."""

APPROVED_LOOKS = timedelta(hours=1)
"""How often an approved or paused template is looked at: customers' complaints pause one."""


LONGEST_REST = timedelta(days=1)
"""For which a sender that is blocked again and again is left alone at most: WhatsApp counts its limits by the day."""


@dataclass(frozen=True)
class Reviewed:
    """A template as WhatsApp's reviewers know it.

    Attributes:
        version: What its form hashes to.
        form: See `templates.whatsapp.Form`.
        submissions: How often this version was submitted.
    """

    id: int
    template: str
    locale: str
    edition: str
    version: str
    category: str
    form: dict[str, Any]
    status: str
    content_sid: str | None
    looks: int
    submissions: int


_REVIEWED = "id, template, locale, edition, version, category, form, status, content_sid, looks, submissions"


async def request(
    connection: Connection,
    *,
    template: str,
    locale: str,
    edition: str,
    version: str,
    category: str,
    form: dict[str, Any],
    by: str,
) -> str:
    """Have a template submitted, unless just this one was; one that was rejected is submitted again.

    Returns:
        Its status now.
    """
    status: str = await connection.fetchval(
        """
        insert into whatsapp_templates as t (template, locale, edition, version, category, form, requested_by)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (template, locale, edition, version) do update set
            status = case when t.status = 'rejected' then 'requested' else t.status end,
            content_sid = case when t.status = 'rejected' then null else t.content_sid end,
            submissions = t.submissions + case when t.status = 'rejected' then 1 else 0 end,
            looks = 0, look_after = now()
        returning status
        """,
        template,
        locale,
        edition,
        version,
        category,
        form,
        by,
    )
    return status


async def submitted_before(connection: Connection, template: str, locale: str, edition: str) -> bool:
    """Whether any version of a text was ever submitted."""
    found: bool = await connection.fetchval(
        "select exists (select from whatsapp_templates where template = $1 and locale = $2 and edition = $3)",
        template,
        locale,
        edition,
    )
    return found


async def reviewed(connection: Connection, template: str, locale: str, edition: str) -> list[Reviewed]:
    """Return every version of a text that was submitted, what was approved last first."""
    rows = await connection.fetch(
        f"""
        select {_REVIEWED} from whatsapp_templates where template = $1 and locale = $2 and edition = $3
        order by approved_at desc nulls last, id desc
        """,
        template,
        locale,
        edition,
    )
    return [Reviewed(*row.values()) for row in rows]


async def take_due(connection: Connection) -> Reviewed | None:
    """Take the template that has been due longest; nobody else gets it for a while."""
    row = await connection.fetchrow(
        f"""
        update whatsapp_templates t set looks = looks + 1,
            look_after = now() + case when status in ('approved', 'paused') then $3::interval
                else least($1::interval * power(2, least(looks, 10)), $2::interval) end
        from (
            select id as due_id from whatsapp_templates where look_after <= now() and status <> 'rejected'
            order by look_after limit 1 for update skip locked
        ) due
        where id = due_id returning {_REVIEWED}
        """,
        FIRST_LOOKS,
        LATER_LOOKS,
        APPROVED_LOOKS,
    )
    return Reviewed(*row.values()) if row else None


async def due(connection: Connection) -> bool:
    """Whether Twilio is to be told or asked about any template now."""
    found: bool = await connection.fetchval(
        "select exists (select from whatsapp_templates where look_after <= now() and status <> 'rejected')"
    )
    return found


async def look_now(connection: Connection) -> int:
    """Have Twilio asked about every template that is not rejected; returns how many."""
    rows = await connection.fetch(
        "update whatsapp_templates set look_after = now() where status <> 'rejected' returning id"
    )
    return len(rows)


async def made(connection: Connection, id: int, content_sid: str) -> None:
    """Record Twilio's id of a template: it exists there, and nobody reviews it yet."""
    await connection.execute("update whatsapp_templates set content_sid = $2 where id = $1", id, content_sid)


async def moved(connection: Connection, id: int, status: str, reason: str | None = None) -> None:
    """Record what the reviewers say."""
    await connection.execute(_MOVED.format("id = $3"), status, reason, id)


async def judged(connection: Connection, content_sid: str, status: str, reason: str) -> None:
    """Record what a failed message says of its template."""
    await connection.execute(_MOVED.format("content_sid = $3"), status, reason, content_sid)


_MOVED = """
    update whatsapp_templates set status = $1, reason = $2,
        submitted_at = case when $1 <> 'requested' then coalesce(submitted_at, now()) end,
        approved_at = case when $1 = 'approved' then coalesce(approved_at, now()) else approved_at end,
        looks = case when status = $1 then looks else 0 end,
        changed_at = case when status = $1 then changed_at else now() end
    where {}
"""


async def templates(connection: Connection) -> list[asyncpg.Record]:
    """Return every template that was submitted, the newest version of each text first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select id, template, locale, edition, version, category, form, status, reason, content_sid, requested_by,
               requested_at, submitted_at, approved_at, changed_at
        from whatsapp_templates order by template, locale, edition, id desc
        """
    )
    return rows


@dataclass(frozen=True)
class Conversation:
    """A sender of ours, as seen from one customer.

    Attributes:
        wrote_at: When the customer last wrote to it.
        sent_at: When we last wrote to them from it.
        blocked_until: Until when it is known not to get through.
    """

    sender: str
    wrote_at: datetime | None
    sent_at: datetime | None
    blocked_until: datetime | None


async def conversations(connection: Connection, address: str, senders: Sequence[str]) -> list[Conversation]:
    """Return all senders as a customer knows them, in the order given."""
    rows = await connection.fetch(
        """
        select s.sender, c.wrote_at, c.sent_at, b.until
        from unnest($2::text[]) with ordinality as s (sender, place)
        left join whatsapp_conversations c on c.address = $1 and c.sender = s.sender
        left join sender_blocks b on b.sender = s.sender and b.until > now()
        order by place
        """,
        address,
        list(senders),
    )
    return [Conversation(*row.values()) for row in rows]


async def heard(connection: Connection, address: str, sender: str) -> None:
    """Record that a customer has written to a sender just now: the customer-service window begins anew.

    Of an address of somebody erased nothing is kept.
    """
    await connection.execute(
        """
        insert into whatsapp_conversations (address, sender, wrote_at)
        select $1, $2, now() where kept_address($1) = lower($1)
        on conflict (address, sender) do update set wrote_at = excluded.wrote_at
        """,
        address,
        sender,
    )


async def spoke(connection: Connection, address: str, sender: str) -> None:
    """Record that a message to a customer is about to go out from a sender."""
    await connection.execute(
        """
        insert into whatsapp_conversations (address, sender, sent_at) values ($1, $2, now())
        on conflict (address, sender) do update set sent_at = excluded.sent_at
        """,
        address,
        sender,
    )


async def block_sender(
    connection: Connection, sender: str, code: str, lasts: timedelta, reported_of: UUID | None = None
) -> None:
    """Send nothing from a sender for a while; of two blocks the longer one holds.

    One that is blocked again soon after such a while rests twice as long, a day at the most: nobody tells when a block
    ends, and each try costs a message.

    Args:
        reported_of: The message that was reported to have failed. If it left before a block for the same reason was
            over, it says nothing new.
    """
    await connection.execute(
        """
        insert into sender_blocks as b (sender, code, until) values ($1, $2, now() + $3::interval)
        on conflict (sender) do update set
            code = excluded.code,
            since = case when b.until > now() then b.since else now() end,
            until = case
                when b.until <= now() and now() < b.until + (b.until - b.since)
                then now() + greatest($3::interval, least(2 * (b.until - b.since), $4::interval))
                else excluded.until
            end
        where b.until < excluded.until and not (
            b.code = excluded.code and exists (select from messages where id = $5 and sending_at < b.until)
        )
        """,
        sender,
        code,
        lasts,
        LONGEST_REST,
        reported_of,
    )


async def blocked_senders(connection: Connection) -> list[asyncpg.Record]:
    """Return the senders that are blocked now: sender, code, since, until."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select sender, code, since, until from sender_blocks where until > now() order by sender"
    )
    return rows


async def lift_sender_block(connection: Connection, sender: str) -> bool:
    """Let a sender be used again; False if it is not blocked."""
    row = await connection.fetchval("delete from sender_blocks where sender = $1 and until > now() returning 1", sender)
    return bool(row)
