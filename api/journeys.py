"""Journeys over HTTP: list them, start one by hand, read one live, signal it, pause, resume, stop, skip a wait."""

import asyncio
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api.auditing import Audited
from api.context import Context, Ctx, Db, Operator, Reader
from api.customers import TEXT, existing
from api.intake import Accepted, Duplicate, Erased, accept
from api.problems import RETRY_AFTER_SECONDS, FieldError, Problem, documented
from api.segment import Invalid, read_call
from dispatch.reconciler import STUCK_QUERY
from dispatch.runs import RPC_TIMEOUT
from domain.enrolments import AUDITED, Outcome
from domain.events import JOURNEY_STOPPED
from domain.uncertain import Resolution
from store import customers, enrolments, events, reports
from store.database import Connection
from store.events import NewEvent
from storyboards.story import Storyboard
from workflows.audience import OfSegment, takes_in
from workflows.declaration import Declaration

log = structlog.get_logger()
router = APIRouter(tags=["journeys"])

STARTS_WITHIN = 5.0
"""Wall seconds a caller who starts a journey by hand waits for dispatch."""

Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the enrolment.")]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only what is older than this number.")]
Limit = Annotated[int, Query(ge=1, le=500)]


class MessageKind(BaseModel):
    """A message a journey may send."""

    number: int = Field(description="In its picture; those of one number go out at once.")
    channel: str = Field(examples=["email"])
    template: str = Field(examples=["abandoned_application/full"])
    message_class: str = Field(examples=["marketing"])


class JourneyKind(BaseModel):
    """A journey this deployment runs."""

    name: str = Field(examples=["AbandonedApplication"])
    pack: str = Field(examples=["car_credit"])
    story: str
    starts_on: list[str]
    key: str | None
    ends_on: list[str]
    exits_on: list[str]
    restarts_on: list[str]
    listens_to: list[str]
    segments: list[str] = Field(description="Whom it is for: entering or leaving one of these segments starts it.")
    topic: str = Field(description="What it writes about, as customers choose it.", examples=["offers"])
    priority: int = Field(description="1 (most important) to 5.")
    messages: list[MessageKind] = Field(description="What it may send, seen when its code was rehearsed.")
    page: str = Field(description="Where it is to be seen as a picture.", examples=["/journeys/AbandonedApplication"])
    parameters: dict[str, Any]
    stays: dict[str, int] = Field(description="How many customers are in it (`running`) or left it, by outcome.")


class Enrolment(BaseModel):
    """One customer's one stay in one journey."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    journey: str
    key: str
    workflow_id: str = Field(examples=["AbandonedApplication-c17-e42"])
    customer_id: int
    user_id: str | None
    enrolled_at: datetime = Field(description="Journey time.")
    created_at: datetime
    outcome: str | None
    ended_at: datetime | None
    temporal_ui: str | None = Field(default=None, description="The run in the Temporal UI.")


class SentMessage(BaseModel):
    """What became of one message; no address and no text."""

    id: UUID
    channel: str
    template: str
    template_version: str | None
    locale: str | None
    message_class: str
    status: str
    reason: str | None
    attempt: int
    journey_at: datetime
    created_at: datetime
    delivered_at: datetime | None
    read_at: datetime | None
    clicked_at: datetime | None
    replied_at: datetime | None
    failed_at: datetime | None
    resolution: Resolution | None = Field(
        description="Where nobody knew whether it left: by what that was settled.", examples=["found"]
    )
    evidence: list[dict[str, Any]] | None = Field(
        description="What was asked, found and done about it, in order: codes, the provider's ids, wall times.",
        examples=[
            [
                {"at": "2026-11-22T10:00:00.000+00:00", "fact": "uncertain", "attempt": 1, "code": "ReadTimeout"},
                {
                    "at": "2026-11-22T10:00:12.000+00:00",
                    "fact": "asked",
                    "provider": "twilio",
                    "look": 1,
                    "answer": "found",
                    "provider_id": "SM0123",
                    "status": "delivered",
                },
            ]
        ],
    )
    resolved_at: datetime | None = Field(description="Wall time it was settled at.")


class LiveEnrolment(Enrolment):
    """A stay as it is now."""

    messages: list[SentMessage]
    standing: dict[str, Any] | None = Field(
        description="From the run itself: sent so far, waits for what and until when, paused. None when it is over."
    )


class StartRequest(BaseModel):
    """Starts a journey by hand, as its own starting event would."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=255, pattern=TEXT, examples=["client-4711"])
    event: str | None = Field(
        default=None, description="Which of the journey's starting events; the first if not said."
    )
    properties: dict[str, Any] = Field(default={}, examples=[{"application_id": "A-1", "filled": 4, "total": 40}])


class SignalRequest(BaseModel):
    """A signal to a run; it takes its place in the customer's order of events and is delivered for certain."""

    model_config = ConfigDict(extra="forbid")

    message_id: str = Field(
        default_factory=lambda: str(uuid4()), min_length=1, max_length=255, description="Idempotency key."
    )
    event: str | None = Field(default=None, description="For `event`: the event's name.")
    fields: dict[str, Any] = Field(default={}, examples=[{"filled": 12, "total": 40}])


class SignalName(StrEnum):
    """The signals the API passes on; statuses and replies come from providers only."""

    FORM_PROGRESS = "form_progress"
    EVENT = "event"


class Command(StrEnum):
    """What an operator can tell a run."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    SKIP_WAIT = "skip_wait"


class Done(BaseModel):
    """What a command did."""

    result: str = Field(examples=["paused; timers run on, what becomes due is acted on at resume"])


class DispatchState(BaseModel):
    """How far dispatch is behind."""

    waiting: int
    waiting_since: datetime | None
    parked: int


class ParkedEvent(BaseModel):
    """An event that can never be dispatched as it is."""

    id: int
    customer_id: int
    name: str
    source: str
    message_id: str
    received_at: datetime
    parked_at: datetime
    reason: str | None


@router.get("/v1/journeys", responses=documented(401, 403, 503))
async def list_journeys(_: Reader, ctx: Ctx, db: Db) -> list[JourneyKind]:
    """List the journeys this deployment runs, with how many customers are in each."""
    stays = await reports.journeys(db)
    return [
        _kind(await ctx.board(declaration), stays.get(name, {}))
        for name, declaration in sorted(ctx.catalog.journeys.items())
    ]


@router.post("/v1/journeys/{name}/enrolments", status_code=201, responses=documented(404, 409, 410, 422))
async def start_journey(
    name: Annotated[str, Path(max_length=255)],
    body: StartRequest,
    response: Response,
    ctx: Ctx,
    key: Operator,
    audited: Audited,
) -> Enrolment:
    """Start a journey for a customer by hand; 409 if they are in it already or it would not start.

    The customer must be known: 404 for somebody of whom nothing was told yet.
    """
    declaration = ctx.catalog.journeys.get(name)
    if declaration is None:
        raise Problem(
            404, "unknown_journey", f"there is no journey {name}; there are {', '.join(sorted(ctx.catalog.journeys))}"
        )
    event = _starting_event(declaration, body.event)
    received_at = datetime.now(UTC)
    try:
        declared = ctx.catalog.event(event)
        if declared:
            declared.model_validate(body.properties)
        if declaration.key_of(body.properties) is None:
            raise Invalid(f"properties.{declaration.key}", "is required: it keys this journey")
        async with ctx.pool.acquire() as connection:
            customer = await existing(ctx, connection, body.user_id)
            identity = await customers.any_identity(connection, customer)
            audited.facts["customer"] = customer
            call = read_call(
                {"messageId": f"start:{uuid4()}", **identity, "event": event, "properties": body.properties},
                received_at,
                type="track",
                from_operator=True,
            )
            (answer,) = await accept(connection, ctx.terms, f"operator:{key.name}", [call], received_at)
    except Invalid as error:
        raise Problem(400, "invalid_event", str(error), [FieldError(field=error.field, rule=error.rule)]) from None
    except ValidationError as error:
        raise _wrong_fields("properties", error) from None
    if not isinstance(answer, Accepted):
        raise Problem(410, "customer_erased", "this customer was erased; nothing about them is kept any more")
    enrolment = await _enrolled_by(ctx, answer, name)
    audited.facts["enrolment"] = enrolment.id
    log.info("journey started by hand", journey=name, enrolment=enrolment.id, by=key.name)
    response.headers["Location"] = f"/v1/enrolments/{enrolment.id}"
    return enrolment


@router.get("/v1/enrolments", responses=documented(401, 403, 422, 503))
async def list_enrolments(
    _: Reader,
    ctx: Ctx,
    db: Db,
    journey: Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00]*$")] = None,
    outcome: Outcome | None = None,
    running: bool | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> list[Enrolment]:
    """List enrolments, the newest first."""
    rows = await reports.enrolments(db, journey=journey, outcome=outcome, running=running, before=before, limit=limit)
    return [_enrolment(ctx, row) for row in rows]


@router.get("/v1/enrolments/{number}", responses=documented(401, 403, 404, 422, 503))
async def read_enrolment(number: Number, _: Reader, ctx: Ctx, db: Db) -> LiveEnrolment:
    """Read one enrolment: what was sent, and from the run itself where it stands."""
    enrolment = await _existing(ctx, db, number)
    messages = [SentMessage.model_validate(dict(row)) for row in await reports.messages_of(db, number)]
    standing = None
    if enrolment.ended_at is None:
        try:
            standing = await ctx.temporal.get_workflow_handle(enrolment.workflow_id).query(
                "standing", rpc_timeout=RPC_TIMEOUT
            )
        except RPCError as error:
            log.warning("a run does not answer", run=enrolment.workflow_id, status=error.status.name)
    return LiveEnrolment(**enrolment.model_dump(), messages=messages, standing=standing)


@router.post(
    "/v1/enrolments/{number}/signals/{signal}", status_code=202, responses=documented(400, 401, 403, 404, 409, 422, 503)
)
async def signal_enrolment(
    number: Number, signal: Annotated[str, Path(max_length=100)], body: SignalRequest, ctx: Ctx, key: Operator
) -> Done:
    """Signal a run: `form_progress` with filled and total, or `event` with a declared event's fields."""
    if signal not in {each.value for each in SignalName}:
        raise Problem(404, "unknown_signal", f"there is no signal {signal}; there are {', '.join(SignalName)}")
    async with ctx.pool.acquire() as connection:
        enrolment = await _existing(ctx, connection, number)
        declaration = ctx.catalog.journeys.get(enrolment.journey)
        if enrolment.outcome is not None or declaration is None:
            raise Problem(409, "over", f"the enrolment is over: {enrolment.outcome}")
        event = _signalled_event(declaration, SignalName(signal), body)
        properties = {**body.fields, **({declaration.key: enrolment.key} if declaration.key else {})}
        identity = await customers.any_identity(connection, enrolment.customer_id)
        received_at = datetime.now(UTC)
        try:
            event_model = declaration.events()[event]
            event_model.model_validate(body.fields)
            call = read_call(
                {"messageId": body.message_id, **identity, "event": event, "properties": properties},
                received_at,
                type="track",
                from_operator=True,
            )
        except ValidationError as error:
            raise _wrong_fields("fields", error) from None
        except Invalid as error:
            raise Problem(400, "invalid_event", str(error), [FieldError(field=error.field, rule=error.rule)]) from None
        (answer,) = await accept(connection, ctx.terms, f"operator:{key.name}", [call], received_at)
    if isinstance(answer, Erased):
        raise Problem(409, "over", "the customer was erased")
    if isinstance(answer, Duplicate):
        return Done(result=f"{event} was accepted before under this message_id")
    return Done(result=f"{event} takes its place in the customer's order")


@router.post("/v1/enrolments/{number}/{command}", responses=documented(401, 403, 404, 409, 422, 503))
async def command_enrolment(number: Number, command: Command, ctx: Ctx, key: Operator) -> Done:
    """Pause, resume, stop a run, or skip its wait; 409 with the reason where it makes no sense."""
    async with ctx.pool.acquire() as connection:
        enrolment = await _existing(ctx, connection, number)
        if command is Command.STOP and enrolment.outcome is None:
            await _stop(connection, enrolment, key.name)
    if enrolment.outcome is not None:
        raise Problem(409, "refused", f"the journey is over ({enrolment.outcome})")
    log.info("command to a run", command=command, enrolment=number, by=key.name)
    if command is Command.STOP:
        return Done(result="stopped")
    try:
        result: str = await ctx.temporal.get_workflow_handle(enrolment.workflow_id).execute_update(
            command.value, id=f"{AUDITED}{uuid4()}", result_type=str, rpc_timeout=RPC_TIMEOUT
        )
    except WorkflowUpdateFailedError as error:
        reason = error.cause.message if isinstance(error.cause, ApplicationError) else "the run refused"
        raise Problem(409, "refused", reason) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise Problem(
            503,
            "not_confirmed",
            "the run does not answer now; it may still carry this out",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Problem(409, "refused", "the run is over, or has not begun yet") from None
        raise _temporal_away() from None
    return Done(result=result)


@router.get("/v1/dispatch", responses=documented(401, 403, 503), tags=["operations"])
async def dispatch_state(_: Reader, db: Db) -> DispatchState:
    """Tell how many events have not reached their runs yet, since when, and how many are parked."""
    return DispatchState.model_validate(await reports.dispatch_state(db))


@router.get("/v1/stuck", responses=documented(401, 403, 503), tags=["operations"])
async def list_stuck(_: Reader, ctx: Ctx, db: Db) -> list[Enrolment]:
    """List stays whose steps fail again and again: they wait, unharmed, for a release that mends them."""
    try:
        runs = [run.id async for run in ctx.temporal.list_workflows(STUCK_QUERY, limit=100, rpc_timeout=RPC_TIMEOUT)]
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise _temporal_refuses() from None
        raise _temporal_away() from None
    return [_enrolment(ctx, row) for row in await reports.enrolments_of_runs(db, runs)]


@router.get("/v1/events/parked", responses=documented(401, 403, 422, 503), tags=["operations"])
async def list_parked(_: Reader, db: Db, before: Before = None, limit: Limit = 100) -> list[ParkedEvent]:
    """List events that can never be dispatched as they are, with the reason."""
    return [ParkedEvent.model_validate(dict(row)) for row in await reports.parked(db, before, limit)]


@router.post(
    "/v1/events/parked/{id}/retry", status_code=202, responses=documented(401, 403, 404, 422, 503), tags=["operations"]
)
async def retry_parked(id: Annotated[int, Path(ge=1, le=2**63 - 1)], ctx: Ctx, key: Operator) -> Done:
    """Dispatch a parked event again, after a release that can; it goes to the end of its customer's order."""
    async with ctx.pool.acquire() as connection:
        if not await events.unpark(connection, id):
            raise Problem(404, "not_found", "there is no such parked event")
    log.info("parked event dispatched again", number=id, by=key.name)
    return Done(result="is dispatched again")


async def _stop(connection: Connection, enrolment: Enrolment, by: str) -> None:
    """Decide the stop before the run hears of it, so that nothing is claimed meanwhile."""
    now = datetime.now(UTC)
    async with connection.transaction():
        customer = await enrolments.lock_customer(connection, enrolment.id)
        assert customer is not None
        kept = await events.keep(
            connection,
            [
                NewEvent(
                    customer=customer,
                    source=f"operator:{by}",
                    message_id=f"stop:{enrolment.id}",
                    type="command",
                    name=JOURNEY_STOPPED,
                    properties={"enrolment": enrolment.id},
                    context={},
                    timestamp=now,
                    received_at=now,
                    concerns_a_run=True,
                )
            ],
        )
        for event in kept.values():
            await enrolments.decide_outcome(connection, [enrolment.id], Outcome.STOPPED, event)


async def _existing(ctx: Context, connection: Connection, number: int) -> Enrolment:
    row = await reports.enrolment(connection, number)
    if row is None:
        raise Problem(404, "not_found", f"there is no enrolment {number}")
    return _enrolment(ctx, row)


async def _enrolled_by(ctx: Context, answer: Accepted, journey: str) -> Enrolment:
    """Wait for dispatch, as a caller who starts by hand wants to know what came of it."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        async with ctx.pool.acquire() as connection:
            note = await events.outcome_of(connection, answer.event)
            if note is not None:
                made = (await enrolments.started_by(connection, answer.event)).get(journey)
                if made is None:
                    raise Problem(409, "not_started", f"it did not start: {note}")
                return await _existing(ctx, connection, made[0])
        if time.monotonic() > deadline:
            raise Problem(
                503,
                "not_dispatched_yet",
                "accepted, and will start when dispatch gets to it",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        # No connection is held meanwhile: events need them.
        await asyncio.sleep(0.02)


def _starting_event(declaration: Declaration, given: str | None) -> str:
    names = [rule.event.event_name for rule in takes_in(declaration)]
    if not names:
        raise Problem(409, "closed", f"{declaration.name} takes nobody in any more")
    if given is not None and given not in names:
        raise Problem(
            400,
            "invalid_event",
            f"event: must be one of {', '.join(names)}",
            [FieldError(field="event", rule=f"must be one of {', '.join(names)}")],
        )
    return given or names[0]


def _signalled_event(declaration: Declaration, signal: SignalName, body: SignalRequest) -> str:
    heard = {event.event_name: event for event in (*declaration.restarts_on, *declaration.listens_to)}
    if signal is SignalName.FORM_PROGRESS:
        for name, event in heard.items():
            if "filled" in event.model_fields and "total" in event.model_fields:
                return name
        raise Problem(409, "not_heard", f"{declaration.name} does not hear of form progress")
    if body.event not in heard:
        rule = f"must be one of {', '.join(heard) or 'none: it hears of nothing'}"
        raise Problem(400, "invalid_event", f"event: {rule}", [FieldError(field="event", rule=rule)])
    return body.event


def _wrong_fields(where: str, error: ValidationError) -> Problem:
    wrong = [
        FieldError(field=".".join([where, *map(str, e["loc"])]), rule=e["msg"])
        for e in error.errors(include_input=False)
    ]
    return Problem(400, "invalid_event", "; ".join(f"{each.field}: {each.rule}" for each in wrong), wrong)


def _temporal_refuses() -> Problem:
    rule = "Temporal cannot look for stuck runs: it must know JourneyName and TemporalReportedProblems"
    return Problem(503, "temporal_refuses", rule, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _temporal_away() -> Problem:
    return Problem(503, "temporal_away", "Temporal does not answer", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _kind(board: Storyboard, stays: dict[str, int]) -> JourneyKind:
    declaration = board.declaration
    return JourneyKind(
        name=declaration.name,
        pack=declaration.pack,
        story=declaration.story,
        starts_on=[rule.event.event_name for rule in declaration.starts_on],
        key=declaration.key,
        ends_on=[rule.event.event_name for rule in declaration.ends_on],
        exits_on=[rule.event.event_name for rule in declaration.exits_on],
        restarts_on=[event.event_name for event in declaration.restarts_on],
        listens_to=[event.event_name for event in declaration.listens_to],
        segments=[rule.segment for rule in declaration.starts_on if isinstance(rule, OfSegment)],
        topic=declaration.topic,
        priority=declaration.priority,
        messages=[
            MessageKind(
                number=sent.number,
                channel=draft.channel,
                template=draft.template,
                message_class=draft.message_class,
            )
            for sent in board.messages
            for draft in sent.drafts
        ],
        page=f"/journeys/{declaration.name}",
        parameters=declaration.parameters.model_dump(mode="json"),
        stays=stays,
    )


def _enrolment(ctx: Context, row: Any) -> Enrolment:
    return Enrolment(**dict(row), temporal_ui=ctx.run_url(row["workflow_id"]))
