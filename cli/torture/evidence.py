"""What is to be judged: what backends heard, our tables, the providers' own ledger, and the runs in Temporal."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from cli.torture.backend import Accepted
from cli.torture.stage import Stage
from domain.clock import Clock
from store import installation

BACKEND = "backend"
"""Name of the write key all events are told with."""

_AT_ONCE = 8

_PAGE = 1000


@dataclass(frozen=True)
class Told:
    """What a backend told of a customer.

    Attributes:
        call: Its `messageId`.
        properties: What it said, with the key of the stay it means.
    """

    call: str
    name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Farewell:
    """From a moment on nothing may go to an address by a channel, as whoever told us so knows.

    Attributes:
        address: In lower case.
        since: When we had answered that we know (wall).
        by: How it was said, such as ``stop``.
        marketing_only: Whether what the customer asked for may still come.
    """

    channel: str
    address: str
    since: datetime
    by: str
    marketing_only: bool


@dataclass(frozen=True)
class Dialogue:
    """An operator talked with a customer.

    Attributes:
        user_id: The backend's id.
        opened: When we had answered that it is open (wall).
        closed: When we were first asked to close it (wall).
    """

    user_id: str
    opened: datetime
    closed: datetime


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
        trigger: Place of the event that began it.
    """

    id: int
    customer: int
    journey: str
    workflow_id: str
    outcome: str | None
    decided_by: int | None
    over: bool
    trigger: int


@dataclass(frozen=True)
class Message:
    """A row of the outbox.

    Attributes:
        sequence: Place of the decision about it among its customer's events; of the claim, if it was claimed.
        reason: Why it is as it is, as a code that begins with the rule's name.
        at: Journey time of the decision to send; never later than the claim.
        expires_at: Journey time from which on it is not worth sending.
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
    reason: str | None
    sequence: int | None
    at: datetime
    expires_at: datetime | None
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
        told: What backends told customers did, in the order in which they did it.
        accepted: Calls that backends believe accepted, by id; when the 200 came, or by when it must have come.
        customers: Our numbers of customers by the backend's ids.
        zones: Time zone of each customer who has one.
        merged: Customers who turned out to be several.
        answers: How often the API answered what.
        clock: Of the installation.
        read_at: When (wall) the database was read; customers' journeys may still go on then.
        seen_before: Number of the last effect the ledger had before the database was read.
    """

    told: Sequence[Told]
    accepted: Mapping[str, datetime]
    events: Sequence[Event]
    stays: Sequence[Stay]
    messages: Sequence[Message]
    effects: Sequence[Effect]
    runs: Sequence[Run]
    farewells: Sequence[Farewell]
    dialogues: Sequence[Dialogue]
    blocks: Sequence[Block]
    customers: Mapping[str, int]
    zones: Mapping[int, str]
    merged: frozenset[int]
    clock: Clock
    read_at: datetime
    seen_before: int
    answers: Mapping[str, int]
    refused: Sequence[str]
    unfinished: str | None


async def gather(
    stage: Stage,
    backends: Accepted,
    unsubscribed: Sequence[Farewell],
    dialogues: Sequence[Dialogue],
    unfinished: str | None,
    seen: Sequence[Run] = (),
) -> Evidence:
    """Gather everything: the ledger before and after the database, which is read at one moment.

    Args:
        backends: What they told, and what they heard.
        unsubscribed: Who pressed a letter's one-click button and was answered.
        dialogues: Who was talked with.
        unfinished: What could not be told, in words.
        seen: Runs that were looked at before and need no other look.
    """
    runs = await _runs(stage.temporal, seen)
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
            select id, customer_id, journey, workflow_id, outcome, outcome_event_id, ended_at is not null,
                   trigger_event_id
            from enrolments order by id
            """
        )
        messages = await db.fetch(
            """
            select id::text, customer_id, enrolment_id, channel, message_class = 'marketing', recipient, status,
                   reason, sequence, journey_at, expires_at, sending_at, resolved_at is not null, resolution,
                   sent_again_at is not null and evidence @> '[{"fact": "sent_again"}]',
                   coalesce(evidence @> '[{"fact": "asked_by_replacing"}]', false)
            from messages order by created_at
            """
        )
        customers = await db.fetch("select value, customer_id from identities where kind = 'user'")
        blocks = await db.fetch("select customer_id, event_id, begins_at, until from blocks where lifted_at is null")
        zones = await db.fetch("select id, time_zone from customers where time_zone is not null")
        merged = await db.fetch("select merged_into from customers where merged_into is not null")
    return Evidence(
        told=[
            Told(id, call["event"], call["properties"])
            for id, call in backends.calls.items()
            if call["type"] == "track"
        ],
        accepted=backends.at,
        events=[Event(*row.values()) for row in events],
        stays=[Stay(*row.values()) for row in stays],
        messages=[Message(*row.values()) for row in messages],
        effects=await _effects(stage),
        runs=runs,
        farewells=[*unsubscribed, *await _farewells(stage)],
        dialogues=dialogues,
        blocks=[Block(*row.values()) for row in blocks],
        customers={row["value"]: row["customer_id"] for row in customers},
        zones={row["id"]: row["time_zone"] for row in zones},
        merged=frozenset(row["merged_into"] for row in merged),
        clock=clock,
        read_at=read_at,
        seen_before=before[-1].id if before else 0,
        answers=backends.answers,
        refused=backends.refused,
        unfinished=unfinished,
    )


async def _effects(stage: Stage) -> list[Effect]:
    effects: list[Effect] = []
    after: int | None = 0
    while after is not None:
        page = await stage.ask_sandbox("ledger", after=after, limit=_PAGE)
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


async def _farewells(stage: Stage) -> list[Farewell]:
    """Return what providers told us of addresses, from when we had taken it on: by the sandbox's own clock."""
    found: list[Farewell] = []
    after = 0
    while page := await stage.ask_sandbox("callbacks/answered", after=after, limit=_PAGE):
        found += [each for callback in page if (each := farewell_of(callback))]
        after = page[-1]["id"]
    return found


def farewell_of(callback: Mapping[str, Any]) -> Farewell | None:
    """Return what a callback we have taken says of an address for ever, if it does."""
    said, at = callback["payload"], datetime.fromisoformat(callback["at"])
    match callback["kind"], said:
        case "twilio", {"Body": "STOP", "From": str(number)} if number.startswith("+"):
            return Farewell("sms", number, at, "stop", marketing_only=False)
        case "sendgrid", {"event": "bounce", "type": "bounce", "email": str(address)}:
            return Farewell("email", address.lower(), at, "bounce", marketing_only=False)
        case "sendgrid", {"event": "unsubscribe", "email": str(address)}:
            return Farewell("email", address.lower(), at, "unsubscribe", marketing_only=True)
    return None


async def _runs(temporal: Client, seen: Sequence[Run]) -> list[Run]:
    """Return the newest run of every workflow; to ask them all takes most of the time of a judgement."""
    found = {run.id async for run in temporal.list_workflows("JourneyName IS NOT NULL")}
    found -= {run.workflow_id for run in seen}
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def look(workflow_id: str) -> Run:
        async with at_once:
            return await _run(temporal, workflow_id)

    return [*seen, *await asyncio.gather(*map(look, sorted(found)))]


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
