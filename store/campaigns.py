"""Campaigns and their recipients. A recipient is placed once, and it is done with each of them once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from domain.campaigns import EVENT_TYPE, MAY_BECOME, CampaignForm, CampaignStatus, Planned, Standing
from domain.clock import Clock
from store import contact, events
from store.database import Connection
from store.events import NewEvent
from store.recipients import CLOCK

SOURCE = "campaigns"

STARTED = (CampaignStatus.RUNNING, CampaignStatus.PAUSED, CampaignStatus.STOPPED)
"""Of these a run is needed as long as they have not ended: it sends, waits, or winds up."""


@dataclass(frozen=True)
class Kept:
    """A campaign as it is kept; times are wall time.

    Attributes:
        cursor: The last customer planning has done with.
        excluded: How many were left out when it was planned, because a campaign had written to them lately.
        planned_at: When the last recipient was found; None until then.
    """

    id: int
    form: CampaignForm
    status: CampaignStatus
    created_by: str
    created_at: datetime
    started_by: str | None
    started_at: datetime | None
    cursor: int
    excluded: int
    planned_at: datetime | None
    ended_at: datetime | None

    @property
    def standing(self) -> Standing:
        """Where it is, for people."""
        return "planning" if self.status is CampaignStatus.RUNNING and self.planned_at is None else self.status.value


_COLUMNS = "id, form, status, created_by, created_at, started_by, started_at, cursor, excluded, planned_at, ended_at"


def _kept(row: asyncpg.Record) -> Kept:
    given = {**row, "form": CampaignForm.model_validate(row["form"]), "status": CampaignStatus(row["status"])}
    return Kept(**given)


# The campaign.


async def put(connection: Connection, form: CampaignForm, by: str) -> Kept | None:
    """Keep a campaign, in place of one of that name that has not begun; None if it has."""
    row = await connection.fetchrow(
        f"""
        insert into campaigns (name, form, created_by) values ($1, $2, $3)
        on conflict (name) do update
        set form = excluded.form, created_by = excluded.created_by, created_at = excluded.created_at
        where campaigns.status = 'draft' returning {_COLUMNS}
        """,
        form.name,
        form.model_dump(mode="json"),
        by,
    )
    return _kept(row) if row else None


async def find(connection: Connection, name: str) -> Kept | None:
    """Return a campaign by its name."""
    row = await connection.fetchrow(f"select {_COLUMNS} from campaigns where name = $1", name)
    return _kept(row) if row else None


async def load(connection: Connection, campaign: int) -> Kept:
    """Return a campaign."""
    row = await connection.fetchrow(f"select {_COLUMNS} from campaigns where id = $1", campaign)
    assert row is not None
    return _kept(row)


async def listed(connection: Connection) -> list[Kept]:
    """Return all campaigns, the newest first."""
    return [_kept(row) for row in await connection.fetch(f"select {_COLUMNS} from campaigns order by id desc")]


async def with_work_left(connection: Connection) -> list[Kept]:
    """Return the campaigns of which a run must be under way."""
    rows = await connection.fetch(
        f"select {_COLUMNS} from campaigns where status = any($1) and ended_at is null order by id", list(STARTED)
    )
    return [_kept(row) for row in rows]


async def for_segment(connection: Connection, segment: str) -> list[str]:
    """Return the campaigns for a segment that are under way, by name; a draft is checked when it is started."""
    rows = await connection.fetch(
        "select name from campaigns where form ->> 'segment' = $1 and status in ('running', 'paused') order by name",
        segment,
    )
    return [row["name"] for row in rows]


async def discard(connection: Connection, name: str) -> bool:
    """Forget a campaign that has not begun; False if it has."""
    done: str = await connection.execute("delete from campaigns where name = $1 and status = 'draft'", name)
    return done != "DELETE 0"


async def begin(connection: Connection, campaign: Kept, by: str) -> bool:
    """Let a campaign begin as it was looked at; False if it has already, or was changed meanwhile."""
    done: str = await connection.execute(
        """
        update campaigns set status = 'running', started_by = $3, started_at = now()
        where id = $1 and status = 'draft' and created_at = $2
        """,
        campaign.id,
        campaign.created_at,
        by,
    )
    return done != "UPDATE 0"


async def move_to(connection: Connection, campaign: int, status: CampaignStatus) -> CampaignStatus:
    """Pause, resume or stop a campaign, if it is where that can be done.

    Returns:
        Where it is now.
    """
    await connection.execute(
        "update campaigns set status = $2 where id = $1 and status = any($3)",
        campaign,
        status,
        list(MAY_BECOME[status]),
    )
    return CampaignStatus(await connection.fetchval("select status from campaigns where id = $1", campaign))


async def end(connection: Connection, campaign: int) -> CampaignStatus:
    """Record that nothing is left to do, and how it ended."""
    status: str = await connection.fetchval(
        """
        update campaigns set ended_at = coalesce(ended_at, now()),
            status = case when status = 'stopped' then status else 'finished' end
        where id = $1 returning status
        """,
        campaign,
    )
    return CampaignStatus(status)


# Whom it is for.


@dataclass(frozen=True)
class Candidate:
    """A member of the segment, as planning sees them.

    Attributes:
        lately: They got a message of another campaign within the time this one leaves alone.
    """

    customer: int
    time_zone: str | None
    phone: str | None
    clock: Clock
    lately: bool


async def candidates(
    connection: Connection, form: CampaignForm, customers: Sequence[int], now: datetime
) -> list[Candidate]:
    """Return what planning has to know of customers.

    Args:
        now: Wall time.
    """
    rows = await connection.fetch(
        f"""
        select c.id, c.time_zone, c.phone, t.origin, t.speed,
               $2::interval is not null and exists (
                   select from messages m where m.customer_id = c.id and starts_with(m.journey, 'campaign:')
                   and m.journey <> $3 and m.status <> all($4)
                   and m.journey_at > t.origin + ($5::timestamptz - t.origin) * t.speed - $2::interval
               ) as lately
        from customers c cross join installation i
        cross join lateral (select {CLOCK}) t
        where c.id = any($1) order by c.id
        """,
        customers,
        form.exclude_contacted_within,
        form.journey,
        list(contact.NOT_SENT),
        now,
    )
    return [
        Candidate(
            row["id"], row["time_zone"], row["phone"], Clock(origin=row["origin"], speed=row["speed"]), row["lately"]
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Place:
    """A recipient about to be placed.

    Attributes:
        due_at: Wall time of their first message.
        expires_at: Journey time after which none is worth sending.
    """

    customer: int
    variant: str
    due_at: datetime
    expires_at: datetime
    enrolled_at: datetime


async def place(connection: Connection, campaign: Kept, places: Sequence[Place], now: datetime) -> int:
    """Place recipients, each with a stay of their own; their customers' rows must be locked.

    Whoever is a recipient already stays as they are.

    Args:
        now: Wall time.

    Returns:
        How many are new.
    """
    known = await connection.fetch(
        "select customer_id from campaign_recipients where campaign_id = $1 and customer_id = any($2)",
        campaign.id,
        [each.customer for each in places],
    )
    new = [each for each in places if each.customer not in {row["customer_id"] for row in known}]
    if not new:
        return 0
    begun = await _begin_stays(connection, campaign, new, now)
    await connection.execute(
        """
        insert into campaign_recipients (campaign_id, customer_id, enrolment_id, variant, due_at, expires_at)
        select $1, * from unnest($2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[])
        """,
        campaign.id,
        [each.customer for each in new],
        [begun[each.customer] for each in new],
        [each.variant for each in new],
        [each.due_at for each in new],
        [each.expires_at for each in new],
    )
    return len(new)


async def _begin_stays(
    connection: Connection, campaign: Kept, places: Sequence[Place], now: datetime
) -> Mapping[int, int]:
    """Give each recipient an event and a stay that no run belongs to; return the stays by customer."""
    form = campaign.form
    trigger = {f"{campaign.id}:{each.customer}": each for each in places}
    kept = await events.keep(
        connection,
        [
            NewEvent(
                customer=each.customer,
                source=SOURCE,
                message_id=message_id,
                type=EVENT_TYPE,
                name=EVENT_TYPE,
                properties={"campaign": form.name, "variant": each.variant},
                context={},
                timestamp=now,
                received_at=now,
                concerns_a_run=False,
            )
            for message_id, each in trigger.items()
        ],
    )
    rows = await connection.fetch(
        """
        insert into enrolments (id, customer_id, journey, key, workflow_id, trigger_event_id, enrolled_at)
        overriding system value
        select n, customer, $1::text, '', $1::text || '-c' || customer || '-e' || n, event, enrolled_at
        from (
            select nextval(pg_get_serial_sequence('enrolments', 'id')) as n, customer, event, enrolled_at
            from unnest($2::bigint[], $3::bigint[], $4::timestamptz[]) as u(customer, event, enrolled_at)
        ) s
        returning customer_id, id
        """,
        form.journey,
        [trigger[message_id].customer for message_id in kept],
        list(kept.values()),
        [trigger[message_id].enrolled_at for message_id in kept],
    )
    return {row["customer_id"]: row["id"] for row in rows}


async def advance_plan(connection: Connection, campaign: int, cursor: int, excluded: int) -> None:
    """Record how far planning has come, in the transaction that places recipients.

    An attempt that Temporal has given up, and that goes on beside the next one, neither leads back nor counts twice.
    """
    await connection.execute(
        "update campaigns set cursor = $2, excluded = excluded + $3 where id = $1 and cursor < $2",
        campaign,
        cursor,
        excluded,
    )


async def planned(connection: Connection, campaign: int) -> None:
    """Record that all recipients are placed."""
    await connection.execute("update campaigns set planned_at = coalesce(planned_at, now()) where id = $1", campaign)


async def how_planned(connection: Connection, campaign: int) -> Planned:
    """Return how far planning has come."""
    row = await connection.fetchrow(
        """
        select status, planned_at is not null as over,
               (select count(*) from campaign_recipients r where r.campaign_id = c.id) as planned
        from campaigns c where id = $1
        """,
        campaign,
    )
    assert row is not None
    return Planned(**row)


# What became of it.


async def numbers(connection: Connection, campaign: Kept) -> list[dict[str, Any]]:
    """Return what became of a campaign's messages, by variant and channel."""
    rows = await connection.fetch(
        """
        select r.variant, m.channel,
               count(*) filter (where m.status <> all($2)) as sent,
               count(m.delivered_at) as delivered, count(m.read_at) as read, count(m.clicked_at) as clicked,
               count(m.replied_at) as replied, count(*) filter (where m.status = 'failed') as failed,
               count(*) filter (where m.status = 'skipped') as skipped,
               count(*) filter (where m.status = 'waiting') as held_back
        from campaign_recipients r join messages m on m.enrolment_id = r.enrolment_id
        where r.campaign_id = $1 group by r.variant, m.channel order by r.variant, m.channel
        """,
        campaign.id,
        list(contact.NOT_SENT),
    )
    return [dict(row) for row in rows]


async def why_skipped(connection: Connection, campaign: Kept) -> dict[str, int]:
    """Return why messages were not sent, with how many; reasons by the rule they begin with."""
    rows = await connection.fetch(
        """
        select split_part(m.reason, ':', 1) as rule, count(*) as messages
        from campaign_recipients r join messages m on m.enrolment_id = r.enrolment_id
        where r.campaign_id = $1 and m.status = 'skipped' group by 1 order by 2 desc
        """,
        campaign.id,
    )
    return {row["rule"]: row["messages"] for row in rows}


async def unsubscribed(connection: Connection, campaign: Kept) -> dict[str, int]:
    """Return how many recipients forbade something by a message of a campaign, by variant."""
    rows = await connection.fetch(
        """
        select r.variant, count(distinct r.customer_id) as customers
        from campaign_recipients r join messages m on m.enrolment_id = r.enrolment_id
        join consents w on w.customer_id = m.customer_id and not w.given and w.proof ->> 'message' = m.id::text
        where r.campaign_id = $1 group by r.variant
        """,
        campaign.id,
    )
    return {row["variant"]: row["customers"] for row in rows}


async def outcomes(connection: Connection, campaign: Kept, attributed_within: timedelta) -> list[dict[str, Any]]:
    """Return, by variant, how many recipients got a message, did something with it, and came to the goal after it.

    Those held out are a row of their own, of the variant None: who would have got a message, had it not been for
    the comparison.

    Args:
        attributed_within: Wall time from the first message, or the decision not to send one, in which the goal counts.
    """
    rows = await connection.fetch(
        """
        with reached as (
            select case when m.status = 'skipped' then null else r.variant end as variant, r.customer_id,
                   min(coalesce(m.sending_at, m.created_at)) as since,
                   bool_or(m.delivered_at is not null) as delivered,
                   bool_or(m.read_at is not null) as read, bool_or(m.clicked_at is not null) as clicked,
                   bool_or(m.replied_at is not null) as replied
            from campaign_recipients r join messages m on m.enrolment_id = r.enrolment_id
            and (m.status <> all($2) or m.status = 'skipped' and starts_with(m.reason, 'holdout:'))
            where r.campaign_id = $1 group by 1, r.customer_id
        )
        select variant, count(*) as sent, count(*) filter (where delivered) as delivered,
               count(*) filter (where read) as read, count(*) filter (where clicked) as clicked,
               count(*) filter (where replied) as replied,
               count(*) filter (where exists (
                   select from events e where e.customer_id = reached.customer_id and e.name = $3
                   and e.type in ('track', 'page', 'screen')
                   and e."timestamp" >= since and e."timestamp" < since + $4::interval
               )) as conversions
        from reached group by variant
        """,
        campaign.id,
        list(contact.NOT_SENT),
        campaign.form.goal,
        attributed_within,
    )
    return [dict(row) for row in rows]


async def recipients_by_variant(connection: Connection, campaign: Kept) -> dict[str, int]:
    """Return how many recipients each variant has."""
    rows = await connection.fetch(
        "select variant, count(*) as recipients from campaign_recipients where campaign_id = $1 group by variant",
        campaign.id,
    )
    return {row["variant"]: row["recipients"] for row in rows}


# What would become of it.


HINDRANCES = ("unreachable", "suppressed", "forbidden")


@dataclass(frozen=True)
class Way:
    """A channel to a customer.

    Attributes:
        hindrance: What stands in it, one of `HINDRANCES`; None if it is open.
    """

    customer: int
    channel: str
    hindrance: str | None


async def ways(
    connection: Connection, customers: Sequence[int], channels: Sequence[str], topic: str, required: Sequence[str]
) -> list[Way]:
    """Return whether channels reach customers, and may be used.

    Args:
        required: Channels that need the customer's consent.
    """
    rows = await connection.fetch(
        """
        select c.id, h.channel, case
                   when a.plain is null then 'unreachable'
                   when s.reason is not null then 'suppressed'
                   when not coalesce(w.given, h.channel <> all($4)) then 'forbidden'
               end as hindrance
        from customers c cross join unnest($2::text[]) h(channel)
        cross join lateral (
            select case h.channel
                when 'email' then lower(c.email)
                when 'push' then (select token from devices d where d.customer_id = c.id and d.dead_at is null
                                  and d.p256dh is null order by added_at desc limit 1)
                when 'web_push' then (select lower(token) from devices d where d.customer_id = c.id
                                      and d.dead_at is null and d.p256dh is not null order by added_at desc limit 1)
                when 'inbox' then c.id::text
                when 'popup' then c.id::text
                when 'banner' then c.id::text
                else c.phone end as plain
        ) a
        left join lateral (
            select reason from suppressions
            where channel = h.channel and recipient in (a.plain, address_hash(a.plain)) limit 1
        ) s on true
        left join lateral (
            select given from (
                (select id, given from consents
                 where customer_id = c.id and channel in (h.channel, '*') and topic in ($3, '*')
                 order by id desc limit 1)
                union all
                (select id, given from consents
                 where address in (a.plain, address_hash(a.plain)) and channel in (h.channel, '*')
                 and topic in ($3, '*') order by id desc limit 1)
            ) wishes order by id desc limit 1
        ) w on true
        where c.id = any($1)
        """,
        customers,
        list(channels),
        topic,
        list(required),
    )
    return [Way(*row.values()) for row in rows]
