"""Recipients of campaigns: whose turn it is, what became of each.

A recipient without an outcome waits; their turn comes at `due_at`, as often as it takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.campaigns import CampaignStatus, Progress
from domain.clock import Clock
from domain.enrolments import Outcome
from domain.messages import Status
from store.database import Connection

CLOCK = "coalesce(c.clock_origin, i.origin) as origin, coalesce(c.speed, i.speed) as speed"
"""SQL: a customer's journey time, from `customers` c and `installation` i."""

HAS_LEFT = """
    exists (
        select from messages m
        where m.enrolment_id = r.enrolment_id and m.status not in ('waiting', 'skipped', 'failed')
    )
"""
"""SQL: whether a message of any step has left to a recipient r, or may have."""


@dataclass(frozen=True)
class Recipient:
    """Somebody whose turn it is.

    Attributes:
        step: Place in the cascade.
        occurrence: Of the step's message.
        expires_at: Journey time.
        failures: How often something unexpected kept us from asking.
    """

    customer: int
    enrolment: int
    variant: str
    step: int
    occurrence: int
    expires_at: datetime
    failures: int
    time_zone: str | None
    phone: str | None
    clock: Clock


async def due(connection: Connection, campaign: int, now: datetime, limit: int) -> list[Recipient]:
    """Return recipients whose turn it is, the longest waiting first; none unless the campaign is running.

    Args:
        now: Wall time.
    """
    rows = await connection.fetch(
        f"""
        select r.customer_id, r.enrolment_id, r.variant, r.step, r.occurrence, r.expires_at, r.failures,
               c.time_zone, c.phone, {CLOCK}
        from campaign_recipients r join campaigns p on p.id = r.campaign_id and p.status = 'running'
        join customers c on c.id = r.customer_id cross join installation i
        where r.campaign_id = $1 and r.outcome is null and r.due_at <= $2 order by r.due_at, r.customer_id limit $3
        """,
        campaign,
        now,
        limit,
    )
    return [
        Recipient(
            customer=row["customer_id"],
            enrolment=row["enrolment_id"],
            variant=row["variant"],
            step=row["step"],
            occurrence=row["occurrence"],
            expires_at=row["expires_at"],
            failures=row["failures"],
            time_zone=row["time_zone"],
            phone=row["phone"],
            clock=Clock(origin=row["origin"], speed=row["speed"]),
        )
        for row in rows
    ]


async def postpone(connection: Connection, recipient: Recipient, due_at: datetime) -> None:
    """Let a recipient's turn come again, as they are now.

    Args:
        due_at: Wall time.
    """
    await connection.execute(
        """
        update campaign_recipients set due_at = $2, step = $3, occurrence = $4, expires_at = $5, failures = $6
        where enrolment_id = $1 and outcome is null
        """,
        recipient.enrolment,
        due_at,
        recipient.step,
        recipient.occurrence,
        recipient.expires_at,
        recipient.failures,
    )


async def put_off(connection: Connection, due_at: Mapping[int, datetime]) -> None:
    """Let the turns of recipients, by their stays, come again, as they are.

    Args:
        due_at: Wall time.
    """
    await connection.execute(
        """
        update campaign_recipients r set due_at = u.due_at
        from unnest($1::bigint[], $2::timestamptz[]) u(enrolment_id, due_at)
        where r.enrolment_id = u.enrolment_id and r.outcome is null
        """,
        list(due_at),
        list(due_at.values()),
    )


async def look_again(connection: Connection, enrolment: int, status: Status) -> None:
    """Let a recipient's turn come now, if what is heard of their message decides how the cascade goes on.

    Nothing happens where the stay is no campaign's.
    """
    await connection.execute(
        """
        update campaign_recipients r set due_at = now() from campaigns p
        where r.enrolment_id = $1 and r.outcome is null and r.due_at > now() and p.id = r.campaign_id
        and ($2 in ('failed', 'read', 'clicked', 'replied') or $2 = p.form ->> 'reached')
        """,
        enrolment,
        status,
    )


@dataclass(frozen=True)
class Done:
    """Nothing more comes to a recipient.

    Attributes:
        outcome: As the campaign counts it, if no message of any step has left.
        stay: How the stay ended, unless that was decided before.
    """

    recipient: Recipient
    outcome: str
    stay: Outcome = Outcome.FINISHED


async def done_with(connection: Connection, done: Sequence[Done]) -> None:
    """Record what became of recipients, and that their stays are over; their customers' rows must be locked."""
    enrolments = [each.recipient.enrolment for each in done]
    await connection.execute(
        f"""
        update campaign_recipients r set step = d.step, outcome = case when {HAS_LEFT} then 'sent' else d.outcome end
        from unnest($1::bigint[], $2::int[], $3::text[]) d(enrolment_id, step, outcome)
        where r.enrolment_id = d.enrolment_id and r.outcome is null
        """,
        enrolments,
        [each.recipient.step for each in done],
        [each.outcome for each in done],
    )
    await _end_stays(connection, enrolments, [each.stay for each in done])


@dataclass(frozen=True)
class Doubt:
    """A message in the middle of whose sending a process died.

    Attributes:
        open: Nobody has found out yet whether it left.
        not_taken: Its provider, asked again and again, does not know it.
    """

    open: bool
    not_taken: bool


async def interrupted(connection: Connection, message: UUID) -> Doubt:
    """Return what is known of a message in the middle of whose sending a process may have died."""
    row = await connection.fetchrow(
        """
        select status = 'unknown' and resolved_at is null as open, status = 'failed' and resolution = 'not_taken'
        from messages where id = $1 and evidence @> '[{"code": "interrupted"}]'
        """,
        message,
    )
    return Doubt(*row.values()) if row else Doubt(open=False, not_taken=False)


async def progress(connection: Connection, campaign: int) -> Progress:
    """Return how far a campaign has come."""
    status: str = await connection.fetchval("select status from campaigns where id = $1", campaign)
    rows = await connection.fetch(
        """
        select outcome, count(*) as recipients, min(due_at) as next_due
        from campaign_recipients where campaign_id = $1 group by outcome
        """,
        campaign,
    )
    waiting = next((row for row in rows if row["outcome"] is None), None)
    return Progress(
        status=CampaignStatus(status),
        waiting=waiting["recipients"] if waiting else 0,
        done={row["outcome"]: row["recipients"] for row in rows if row["outcome"] is not None},
        next_due=waiting["next_due"] if waiting else None,
    )


async def waiting(connection: Connection, campaign: int, limit: int) -> list[tuple[int, int]]:
    """Return recipients it is not done with: customer and stay."""
    rows = await connection.fetch(
        """
        select customer_id, enrolment_id from campaign_recipients
        where campaign_id = $1 and outcome is null order by customer_id limit $2
        """,
        campaign,
        limit,
    )
    return [(row["customer_id"], row["enrolment_id"]) for row in rows]


async def withdraw(connection: Connection, enrolments: Sequence[int]) -> None:
    """Let recipients of a stopped campaign get nothing more; their customers' rows must be locked."""
    await connection.execute(
        f"""
        update campaign_recipients r set outcome = case when {HAS_LEFT} then 'sent' else 'stopped' end
        where r.enrolment_id = any($1) and r.outcome is null
        """,
        enrolments,
    )
    await _end_stays(connection, enrolments, [Outcome.STOPPED] * len(enrolments))


async def _end_stays(connection: Connection, enrolments: Sequence[int], outcomes: Sequence[Outcome]) -> None:
    await connection.execute(
        """
        update enrolments e set outcome = coalesce(e.outcome, o.outcome), ended_at = coalesce(e.ended_at, now())
        from unnest($1::bigint[], $2::text[]) o(id, outcome) where e.id = o.id
        """,
        enrolments,
        outcomes,
    )


# Two customers who are one.


async def merge(connection: Connection, loser: int, winner: int) -> None:
    """Make the places of one customer those of another; both rows must be locked.

    Where both are recipients of a campaign one place is left: of whoever has been written to already, else the
    winner's. The other one's stay ends.
    """
    rows = await connection.fetch(
        """
        select l.enrolment_id as losing, w.enrolment_id as winning,
               exists (select from messages where enrolment_id = l.enrolment_id and sending_at is not null)
               and not exists (select from messages where enrolment_id = w.enrolment_id and sending_at is not null)
               as begun
        from campaign_recipients l join campaign_recipients w using (campaign_id)
        where l.customer_id = $1 and w.customer_id = $2
        """,
        loser,
        winner,
    )
    given_up = [row["winning"] if row["begun"] else row["losing"] for row in rows]
    await connection.execute("delete from campaign_recipients where enrolment_id = any($1)", given_up)
    await _end_stays(connection, given_up, [Outcome.MERGED] * len(given_up))
    await connection.execute("update campaign_recipients set customer_id = $2 where customer_id = $1", loser, winner)
