"""Campaigns over HTTP: written, counted before, started, paused, stopped, reported on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from uuid import uuid4
from zoneinfo import ZoneInfo

import structlog
from fastapi import APIRouter, Body, Path
from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from api.auditing import Audited
from api.campaign_report import CampaignReport, reported
from api.context import Context, Ctx, Db, Operator, Reader
from api.dry_count import DryCount, counted, refuse_odd_audience
from api.problems import RETRY_AFTER_SECONDS, FieldError, Problem, documented
from api.texts import problems_for_campaign
from dispatch.campaigns import run_campaign
from dispatch.runs import RPC_TIMEOUT
from domain.campaigns import MAY_BECOME, CampaignForm, CampaignStatus, Standing
from domain.enrolments import AUDITED
from policy.configuration import Weekday
from store import campaigns, installation, recipients, segments
from store.campaigns import Kept
from store.database import Connection
from workflows.campaigns import run_id

log = structlog.get_logger()
router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])

Name = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="Name of the campaign.", examples=["winter_tyres"])
]

EXAMPLE = {
    "name": "winter_tyres",
    "segment": "not_seen_30_days",
    "cascade": [
        {"channel": "push", "template": "campaigns/winter_tyres"},
        {"channel": "sms", "template": "campaigns/winter_tyres"},
    ],
    "within": "PT6H",
    "weekdays": ["tue", "wed", "thu"],
    "hour": 11,
    "rate_per_second": 50,
    "exclude_contacted_within": "P7D",
    "variants": [
        {"name": "plain", "share": 0.5},
        {"name": "price", "share": 0.5, "templates": {"push": "campaigns/winter_tyres_price"}},
    ],
    "centre": "north",
    "goal": "tyres_ordered",
}


NewCampaign = Annotated[CampaignForm, Body(examples=[EXAMPLE])]


class Command(StrEnum):
    """What an operator can tell a campaign that was started."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


LEADS_TO = {
    Command.PAUSE: CampaignStatus.PAUSED,
    Command.RESUME: CampaignStatus.RUNNING,
    Command.STOP: CampaignStatus.STOPPED,
}


class Confirmation(BaseModel):
    """That something unusual is meant."""

    model_config = ConfigDict(extra="forbid")

    confirm: bool = Field(default=False, description="It is meant for more than half of all customers.")


class CampaignOverview(BaseModel):
    """A campaign; times are wall time."""

    name: str = Field(examples=["winter_tyres"])
    status: Standing = Field(description="`planning`: its recipients are being found, or its start has not come.")
    form: CampaignForm
    created_by: str
    created_at: datetime
    started_by: str | None
    started_at: datetime | None
    planned_at: datetime | None = Field(description="When its last recipient was found.")
    ended_at: datetime | None
    temporal_ui: str | None = Field(description="Its run, where the address of the Temporal UI is known.")


class Messages(BaseModel):
    """What became of messages of a variant by a channel."""

    variant: str
    channel: str
    sent: int = Field(description="They left, or may have.")
    delivered: int
    read: int
    clicked: int
    replied: int
    failed: int
    skipped: int
    held_back: int = Field(description="By the contact policy or the provider; they are asked about again.")


class CampaignProgress(BaseModel):
    """How far a campaign has come, in recipients; times are wall time."""

    status: Standing
    planned: int = Field(description="Recipients found.")
    excluded: int = Field(description="Left out because another campaign had written to them lately.")
    waiting: int = Field(description="Recipients whose turn is still to come, or comes again.")
    done: dict[str, int] = Field(
        description="Recipients it is done with: sent, or why nothing was.", examples=[{"sent": 980, "skipped": 20}]
    )
    next_due: datetime | None = Field(description="When the next turn comes.")
    planned_at: datetime | None
    ended_at: datetime | None


class CampaignDetails(CampaignOverview, CampaignProgress):
    """A campaign with its numbers."""

    messages: list[Messages]
    skipped: dict[str, int] = Field(description="Messages that were not sent, by the rule.", examples=[{"segment": 12}])


_READ = documented(401, 403, 404, 422, 503)
_CHANGE = documented(400, 401, 403, 404, 409, 422, 503)


@router.get("", responses=documented(401, 403, 503))
async def list_campaigns(_: Reader, ctx: Ctx, db: Db) -> list[CampaignOverview]:
    """List the campaigns, the newest first."""
    return [overview(ctx, each) for each in await campaigns.listed(db)]


@router.get("/{name}", responses=_READ)
async def read_campaign(name: Name, _: Reader, ctx: Ctx, db: Db) -> CampaignDetails:
    """Read a campaign with its numbers."""
    return await _detailed(ctx, db, await _known(db, name))


@router.put("/{name}", responses=_CHANGE)
async def put_campaign(name: Name, body: NewCampaign, ctx: Ctx, key: Operator, audited: Audited) -> CampaignOverview:
    """Keep a campaign, or change one that has not been started; nothing is sent until it is started."""
    if body.name != name:
        raise refused([FieldError(field="name", rule=f"must be {name}, as in the address")])
    async with ctx.pool.acquire() as connection, connection.transaction():
        kept = await put(ctx, connection, body, key.name)
    audited.facts["campaign"] = name
    return overview(ctx, kept)


@router.get("/{name}/progress", responses=_READ)
async def read_progress(name: Name, _: Reader, db: Db) -> CampaignProgress:
    """Tell how far a campaign has come: the part of its numbers that is cheap enough to ask for every second."""
    return await _progress(db, await _known(db, name))


@router.delete("/{name}", status_code=204, responses=_CHANGE)
async def discard_campaign(name: Name, ctx: Ctx, _: Operator, audited: Audited) -> None:
    """Forget a campaign that has not been started; one that has is kept with what came of it."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        kept = await _known(connection, name)
        audited.facts["campaign"] = name
        if not await campaigns.discard(connection, name):
            status = (await _known(connection, kept.form.name)).status
            raise Problem(409, "started_already", f"{name} is {status}; only a draft can be discarded")


@router.get("/{name}/dry", responses=documented(401, 403, 404, 409, 422, 503))
async def count_dry(name: Name, _: Reader, ctx: Ctx) -> DryCount:
    """Count what a campaign would do if it were started now: nothing is kept and nothing sent."""
    async with ctx.pool.acquire() as connection:
        return await counted(ctx, connection, (await _known(connection, name)).form)


@router.get("/{name}/report", responses=_READ)
async def report_campaign(name: Name, _: Reader, db: Db) -> CampaignReport:
    """Report what came of a campaign, by variant, and whether the variants differ by more than chance."""
    return await reported(db, await _known(db, name))


@router.post("/{name}/start", responses=_CHANGE)
async def start_campaign(name: Name, body: Confirmation, ctx: Ctx, key: Operator, audited: Audited) -> CampaignDetails:
    """Start a campaign: its recipients are found when its time comes, and written to at its pace.

    Refused without an audience, if it is too slow for its messages, and, unless it is confirmed, if it is for more
    than half of all customers.
    """
    async with ctx.pool.acquire() as connection:
        kept = await _known(connection, name)
        audited.facts["campaign"] = name
        if kept.status is not CampaignStatus.DRAFT:
            raise _started_already(kept)
        if errors := await _mistakes(ctx, connection, kept.form):
            raise refused(errors)
        found = await counted(ctx, connection, kept.form)
        clock, zone = await installation.clock(connection), ZoneInfo(ctx.deployment.default_time_zone or "UTC")
        refuse_odd_audience(kept.form, found, clock, zone, confirm=body.confirm)
        if not await campaigns.begin(connection, kept, key.name):
            now = await _known(connection, name)
            if now.status is CampaignStatus.DRAFT:
                raise Problem(409, "changed", f"{name} was changed a moment ago; look at it, and start it again")
            raise _started_already(now)
        kept = await _known(connection, name)
        log.info("campaign started", campaign=name, by=key.name)
        try:
            await run_campaign(ctx.temporal, kept)
        except RPCError as error:
            log.warning("the campaign's run is started by a worker", campaign=name, status=error.status.name)
        return await _detailed(ctx, connection, kept)


@router.post("/{name}/{command}", responses=_CHANGE)
async def command_campaign(name: Name, command: Command, ctx: Ctx, _: Operator, audited: Audited) -> CampaignDetails:
    """Pause a campaign, resume or stop it.

    After `pause` nothing is sent but what is on its way within the second. After `resume` whoever's turn has come
    meanwhile is written to now, or on the next of the campaign's days. A `stop` is for good: whoever still waits
    gets nothing.
    """
    to = LEADS_TO[command]
    async with ctx.pool.acquire() as connection:
        kept = await _known(connection, name)
        audited.facts["campaign"] = name
        if kept.status not in MAY_BECOME[to]:
            before = " or ".join(MAY_BECOME[to])
            raise Problem(
                409, f"not_{before.split()[-1]}", f"{name} is {kept.status}; only one that is {before} can {command}"
            )
        if command is not Command.RESUME:
            # What is to stop stops at once, whether or not its run answers.
            await campaigns.move_to(connection, kept.id, to)
    try:
        await ctx.temporal.get_workflow_handle(run_id(name)).execute_update(
            command.value, id=f"{AUDITED}{uuid4()}", rpc_timeout=RPC_TIMEOUT
        )
    except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
        if command is Command.RESUME:
            raise Problem(
                503,
                "unavailable",
                "Temporal or its workers do not answer now, try again",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from None
        log.warning("the campaign's run hears of it later", campaign=name, command=command)
    except WorkflowUpdateFailedError:
        log.info("the campaign's run knows already", campaign=name, command=command)
        async with ctx.pool.acquire() as connection:
            # It never heard of a pause that is taken back now.
            await campaigns.move_to(connection, kept.id, to)
    async with ctx.pool.acquire() as connection:
        return await _detailed(ctx, connection, await _known(connection, name))


async def put(ctx: Context, connection: Connection, form: CampaignForm, by: str) -> Kept:
    """Keep a campaign, in place of one of that name that has not been started.

    Raises:
        Problem: Something is wrong with it, or it has been started.
    """
    if errors := await _mistakes(ctx, connection, form):
        raise refused(errors)
    kept = await campaigns.put(connection, form, by)
    if kept is None:
        raise _started_already(await _known(connection, form.name))
    return kept


# What can be wrong with a form by what there is around it.


async def _mistakes(ctx: Context, connection: Connection, form: CampaignForm) -> list[FieldError]:
    definitions = await segments.load(connection)
    clock = await installation.clock(connection)
    errors: list[FieldError] = []

    def wrong(field: str, rule: str) -> None:
        errors.append(FieldError(field=field, rule=rule))

    if form.segment not in definitions.by_name:
        there_are = ", ".join(sorted(definitions.by_name)) or "none"
        wrong("segment", f"there is no segment {form.segment}; there are {there_are}")
    if form.topic not in ctx.policy.topics:
        wrong("topic", f"must be one of the policy's topics: {', '.join(sorted(ctx.policy.topics))}")
    if form.starts_at and form.starts_at < clock.journey_time(datetime.now(UTC)):
        wrong("starts_at", "is in the past; name a time to come, or leave it out to start at once")
    for template, channel in form.texts():
        for problem in await problems_for_campaign(ctx, connection, template, channel):
            wrong(f"{template} for {channel}", problem)
    errors += _hours_that_never_come(ctx, form)
    return errors


def _hours_that_never_come(ctx: Context, form: CampaignForm) -> list[FieldError]:
    """The first message would wait for another hour or day than its author wants, or for ever."""
    errors = []
    channel = form.cascade[0].channel
    begin, end = ctx.policy.quiet_hours.get(channel, (0, 24))
    hours = {"hour": form.hour, **{f"variants.{each.name}.hour": each.hour for each in form.variants}}
    for name, hour in hours.items():
        if hour is not None and not begin <= hour < end:
            rule = f"{channel} may be used from {begin} to {end} only; name an hour from {begin} to {end - 1}"
            errors.append(FieldError(field=name, rule=rule))
    allowed = ctx.policy.weekdays.get(channel, tuple(Weekday))
    if not set(form.weekdays) & set(allowed):
        errors.append(FieldError(field="weekdays", rule=f"{channel} may be used on {', '.join(allowed)} only"))
    return errors


# Answers.


async def _known(db: Connection, name: str) -> Kept:
    kept = await campaigns.find(db, name)
    if kept is None:
        raise Problem(404, "not_found", f"there is no campaign {name}")
    return kept


def _started_already(kept: Kept) -> Problem:
    who = f"{kept.started_by} on {kept.started_at:%Y-%m-%d %H:%M} UTC"
    return Problem(
        409, "started_already", f"{kept.form.name} was started by {who}; to send it again, put it under another name"
    )


def refused(errors: Sequence[FieldError]) -> Problem:
    """Return why a form is refused, with the places and what to change."""
    message = "; ".join(f"{each.field}: {each.rule}" for each in errors)
    return Problem(422, "invalid_request", message, list(errors))


def overview(ctx: Context, kept: Kept) -> CampaignOverview:
    """Tell of a campaign what is known without counting."""
    return CampaignOverview(
        name=kept.form.name,
        status=kept.standing,
        form=kept.form,
        created_by=kept.created_by,
        created_at=kept.created_at,
        started_by=kept.started_by,
        started_at=kept.started_at,
        planned_at=kept.planned_at,
        ended_at=kept.ended_at,
        temporal_ui=ctx.run_url(run_id(kept.form.name)) if kept.started_at else None,
    )


async def _progress(db: Connection, kept: Kept) -> CampaignProgress:
    progress = await recipients.progress(db, kept.id)
    return CampaignProgress(
        status=kept.standing,
        planned=progress.planned,
        excluded=kept.excluded,
        waiting=progress.waiting,
        done=progress.done,
        next_due=progress.next_due,
        planned_at=kept.planned_at,
        ended_at=kept.ended_at,
    )


async def _detailed(ctx: Context, db: Connection, kept: Kept) -> CampaignDetails:
    return CampaignDetails(
        **{**overview(ctx, kept).model_dump(), **(await _progress(db, kept)).model_dump()},
        messages=[Messages.model_validate(row) for row in await campaigns.numbers(db, kept)],
        skipped=await campaigns.why_skipped(db, kept),
    )
