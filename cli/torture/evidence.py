"""What is to be judged: what backends heard, our tables, the providers' own ledger, and the runs in Temporal."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from cli.torture.stage import Stage
from domain.clock import Clock
from store import installation

BACKEND = "backend"
"""Name of the write key all events are told with."""

_AT_ONCE = 8


@dataclass(frozen=True)
class Event:
    """An event as the database has it.

    Attributes:
        id: Its place in the order of acceptance.
        call: The `messageId` the backend gave it; None if we made it ourselves.
    """

    id: int
    customer: int
    call: str | None
    name: str
    dispatched: bool
    parked: str | None


@dataclass(frozen=True)
class Stay:
    """An enrolment.

    Attributes:
        decided_by: Place of the event that decided the outcome.
        over: Whether its run's end is recorded.
    """

    id: int
    customer: int
    journey: str
    workflow_id: str
    outcome: str | None
    decided_by: int | None
    over: bool


@dataclass(frozen=True)
class Message:
    """A row of the outbox.

    Attributes:
        sequence: Place of the decision about it among its customer's events; of the claim, if it was claimed.
        at: Journey time of the decision to send.
        claimed_at: Wall time by the database's clock.
        resolution: How an uncertain send was settled.
        sent_again: Whether it is recorded that somebody decided to send it once more.
        asked_by_replacing: Whether it was handed over again to ask about it, as a push is.
    """

    id: str
    customer: int
    stay: int
    channel: str
    marketing: bool
    recipient: str | None
    status: str
    sequence: int | None
    at: datetime
    claimed_at: datetime | None
    resolved: bool
    resolution: str | None
    sent_again: bool
    asked_by_replacing: bool


@dataclass(frozen=True)
class Effect:
    """A provider call that took effect, by the provider's own ledger.

    Attributes:
        id: Number in the ledger.
        message: Our id of the message.
        asked_at: When the call arrived at the provider (wall).
        replaced_at: When further calls arrived that took the effect's own place, as a push with the same key does.
    """

    id: int
    message: str | None
    channel: str
    address: str
    asked_at: datetime
    replaced_at: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Run:
    """The newest run of a workflow.

    Attributes:
        status: Temporal's word, such as ``running``.
        troubles: What keeps it from going on, in words; empty if nothing does.
        looked_at: Wall time.
        waits_until: Journey time at which the first of its waits ends; None if it waits for nothing.
        paused: An operator has paused it.
    """

    workflow_id: str
    status: str
    looked_at: datetime
    troubles: tuple[str, ...] = ()
    waits_until: datetime | None = None
    paused: bool = False


@dataclass(frozen=True)
class Suppression:
    """Nothing is sent to a recipient by a channel any more.

    Attributes:
        since: Wall time by the database's clock.
    """

    channel: str
    recipient: str
    since: datetime


@dataclass(frozen=True)
class Block:
    """A customer hears nothing for a while; times are journey time.

    Attributes:
        event: Place of the event that brought it; None if an operator did.
    """

    customer: int
    event: int | None
    begins: datetime
    until: datetime


@dataclass(frozen=True)
class Evidence:
    """Everything there is to judge by.

    Attributes:
        accepted: Calls that backends believe accepted, by id; when the 200 came, where that is known.
        zones: Time zone of each customer who has one.
        merged: Customers who turned out to be several.
        clock_was_wrong_by: The most the database's clock was ever wrong, seconds.
        answers: How often the API answered what.
        clock: Of the installation.
        read_at: When (wall) the database was read; customers' journeys may still go on then.
        seen_before: Number of the last effect the ledger had before the database was read.
    """

    accepted: Mapping[str, datetime | None]
    events: Sequence[Event]
    stays: Sequence[Stay]
    messages: Sequence[Message]
    effects: Sequence[Effect]
    runs: Sequence[Run]
    suppressions: Sequence[Suppression]
    blocks: Sequence[Block]
    zones: Mapping[int, str]
    merged: frozenset[int]
    clock: Clock
    read_at: datetime
    seen_before: int
    clock_was_wrong_by: float
    answers: Mapping[str, int]
    refused: Sequence[str]
    unfinished: str | None


async def gather(
    stage: Stage,
    accepted: Mapping[str, datetime | None],
    answers: Mapping[str, int],
    refused: Sequence[str],
    unfinished: str | None,
) -> Evidence:
    """Gather everything: the ledger before and after the database, which is read at one moment."""
    runs = await _runs(stage.temporal)
    before = await _effects(stage)
    async with stage.database.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        read_at = datetime.now(UTC)
        clock = await installation.clock(db)
        events = await db.fetch(
            """
            select id, customer_id, case when source = $1 then message_id end, name,
                   dispatched_at is not null, case when parked_at is not null then coalesce(note, 'no reason') end
            from events order by id
            """,
            BACKEND,
        )
        stays = await db.fetch(
            """
            select id, customer_id, journey, workflow_id, outcome, outcome_event_id, ended_at is not null
            from enrolments order by id
            """
        )
        messages = await db.fetch(
            """
            select id::text, customer_id, enrolment_id, channel, message_class = 'marketing', recipient, status,
                   sequence, journey_at, sending_at, resolved_at is not null, resolution,
                   sent_again_at is not null and evidence @> '[{"fact": "sent_again"}]',
                   coalesce(evidence @> '[{"fact": "asked_by_replacing"}]', false)
            from messages order by created_at
            """
        )
        suppressions = await db.fetch("select channel, recipient, created_at from suppressions")
        blocks = await db.fetch("select customer_id, event_id, begins_at, until from blocks where lifted_at is null")
        zones = await db.fetch("select id, time_zone from customers where time_zone is not null")
        merged = await db.fetch("select merged_into from customers where merged_into is not null")
    return Evidence(
        accepted=accepted,
        events=[Event(*row.values()) for row in events],
        stays=[Stay(*row.values()) for row in stays],
        messages=[Message(*row.values()) for row in messages],
        effects=await _effects(stage),
        runs=runs,
        suppressions=[Suppression(*row.values()) for row in suppressions],
        blocks=[Block(*row.values()) for row in blocks],
        zones={row["id"]: row["time_zone"] for row in zones},
        merged=frozenset(row["merged_into"] for row in merged),
        clock=clock,
        read_at=read_at,
        seen_before=before[-1].id if before else 0,
        clock_was_wrong_by=stage.clocks.worst.get("postgres", 0.0) if stage.clocks else 0.0,
        answers=answers,
        refused=refused,
        unfinished=unfinished,
    )


async def _effects(stage: Stage) -> list[Effect]:
    effects: list[Effect] = []
    after: int | None = 0
    while after is not None:
        page = await stage.ask_sandbox("ledger", after=after, limit=1000)
        effects += [
            Effect(
                each["id"],
                each["message_id"],
                each["channel"],
                each["address"],
                datetime.fromisoformat(each["asked_at"]),
                tuple(
                    datetime.fromtimestamp(again["asked_at"], UTC) for again in each["details"].get("replacements", ())
                ),
            )
            for each in page["entries"]
        ]
        after = page["next_after"]
    return effects


async def _runs(temporal: Client) -> list[Run]:
    """Return the newest run of every workflow."""
    found = {run.id async for run in temporal.list_workflows("JourneyName IS NOT NULL")}
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def look(workflow_id: str) -> Run:
        async with at_once:
            return await _run(temporal, workflow_id)

    return await asyncio.gather(*map(look, sorted(found)))


async def _run(temporal: Client, workflow_id: str) -> Run:
    handle = temporal.get_workflow_handle(workflow_id)
    looked_at = datetime.now(UTC)
    described = await handle.describe()
    if described.status is not WorkflowExecutionStatus.RUNNING:
        return Run(workflow_id, described.status.name.lower() if described.status else "unknown", looked_at)
    troubles = []
    raw = described.raw_description
    if raw.HasField("pending_workflow_task") and raw.pending_workflow_task.attempt > 1:
        troubles.append(f"its decision has failed {raw.pending_workflow_task.attempt - 1} times")
    for activity in raw.pending_activities:
        if activity.attempt > 1:
            failure = activity.last_failure.message or "time-out"
            troubles.append(f"{activity.activity_type.name} is tried for the {activity.attempt}. time: {failure}")
    try:
        standing: dict[str, Any] = await handle.query("standing", rpc_timeout=None)
    except RPCError as error:
        return Run(workflow_id, "running", looked_at, (*troubles, f"it does not answer: {error.status.name}"))
    waits = [datetime.fromisoformat(each["until"]) for each in standing["waiting"]]
    return Run(workflow_id, "running", looked_at, tuple(troubles), min(waits, default=None), bool(standing["paused"]))
