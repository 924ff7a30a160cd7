"""Campaigns over HTTP: written, counted before, started, paused, stopped, reported on; and the content plan."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from api.context import Context, Ctx, Db, Operator, Reader
from api.problems import RETRY_AFTER_SECONDS, FieldError, Problem, documented
from api.segments import MOST_OF_ALL
from api.texts import problems_for_campaign
from dispatch.campaigns import run_campaign
from dispatch.runs import RPC_TIMEOUT
from domain.campaigns import MAY_BECOME, CampaignForm, CampaignStatus
from domain.comparison import Comparison, compare
from policy.configuration import Weekday
from policy.hours import zones_of
from policy.turns import first_due
from segments.condition import BasisMissing
from store import campaigns, installation, membership, recipients, segments
from store.campaigns import Kept
from store.database import Connection
from workflows.campaigns import run_id

log = structlog.get_logger()
router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])

COUNTED = 20_000
"""Customers a dry count goes through; if there are more, members of the segment are, drawn by lot."""

COUNTED_AT_ONCE = 2_000

Name = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="Name of the campaign.", examples=["winter_tyres"])
]
Month = Annotated[str, Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="Month (UTC) in which campaigns start.")]

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

Standing = Literal["draft", "planning", "running", "paused", "stopped", "finished"]


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


class ChannelReach(BaseModel):
    """What stands between the members and a channel."""

    channel: str
    unreachable: int = Field(description="They have no address for it.")
    suppressed: int = Field(description="Their address bounced, complained or said STOP.")
    forbidden: int = Field(description="They did not agree to it, or forbade it.")


class DryCount(BaseModel):
    """What a campaign would do if it were started now; nothing is kept."""

    members: int
    share: float = Field(description="Of all customers.")
    exact: bool = Field(description=f"False: told from {COUNTED:,} members of the segment, drawn by lot.")
    excluded: int = Field(description="Left out because another campaign wrote to them lately.")
    channels: list[ChannelReach]
    variants: dict[str, int] = Field(description="Recipients of each.")
    first_due: datetime | None = Field(description="When the first turn comes, wall time.")
    last_due: datetime | None
    seconds: float = Field(description="How long it takes at its rate, if all are due at once.")


class VariantReport(BaseModel):
    """What came of a variant, in customers."""

    variant: str
    recipients: int
    sent: int
    delivered: int
    read: int
    clicked: int
    replied: int
    unsubscribed: int
    conversions: int | None = Field(description="They came to the goal in time; None: the campaign has none.")


class HoldoutReport(BaseModel):
    """Those who would have got a message, had they not been held out."""

    recipients: int
    conversions: int | None = Field(description="They came to the goal in time; None: the campaign has none.")


class Difference(BaseModel):
    """How a variant compares with the first one, or with the holdout: a two-proportion z test, two-sided."""

    variant: str
    against: str | None = Field(description="A variant; None: those held out.")
    measure: Literal["clicked", "conversions"]
    difference: float = Field(description="Of the shares.")
    z: float
    confidence: float = Field(description="That they differ at all; less than 0.95 proves nothing.")


class CampaignReport(BaseModel):
    """What came of a campaign."""

    name: str
    status: str
    goal: str | None
    attributed_within: str = Field(description="Journey time after the first message, ISO 8601.", examples=["P7D"])
    variants: list[VariantReport]
    holdout: HoldoutReport | None = Field(description="None: nobody was held out.")
    differences: list[Difference]


class Plan(BaseModel):
    """A content plan: campaigns with their dates and centres, all of them or none."""

    model_config = ConfigDict(extra="forbid")

    campaigns: Annotated[list[CampaignForm], Field(min_length=1, max_length=500)]


class CentrePlan(BaseModel):
    """What a centre sends in a month."""

    centre: str
    campaigns: list[CampaignOverview] = Field(description="By their start.")


_READ = documented(401, 403, 404, 422, 503)
_CHANGE = documented(400, 401, 403, 404, 409, 422, 503)


@router.get("", responses=documented(401, 403, 503))
async def list_campaigns(_: Reader, ctx: Ctx, db: Db) -> list[CampaignOverview]:
    """List the campaigns, the newest first."""
    return [_overview(ctx, each) for each in await campaigns.listed(db)]


@router.put("/plan", responses=documented(400, 401, 403, 422, 503))
async def put_plan(body: Plan, ctx: Ctx, key: Operator) -> list[CampaignOverview]:
    """Keep a content plan: every campaign of it, or none if one cannot be.

    Putting it again changes those that have not been started; those that have must be as they were. Nothing is sent
    until a campaign is started; one that is started before its time waits for it.
    """
    errors: list[FieldError] = []
    kept: list[Kept] = []
    async with ctx.pool.acquire() as connection, connection.transaction():
        for place, form in enumerate(body.campaigns):
            at = f"campaigns.{place}"
            errors += [
                FieldError(field=f"{at}.{name}", rule="is required in a content plan")
                for name in ("starts_at", "centre")
                if getattr(form, name) is None
            ]
            if form.name in {each.form.name for each in kept}:
                errors.append(FieldError(field=f"{at}.name", rule="another campaign of the plan has this name"))
                continue
            known = await campaigns.find(connection, form.name)
            if known and known.started_at and known.form == form:
                kept.append(known)
                continue
            try:
                kept.append(await _put(ctx, connection, form, key.name))
            except Problem as problem:
                given = problem.errors or [FieldError(field="name", rule=problem.message)]
                errors += [FieldError(field=f"{at}.{each.field}", rule=each.rule) for each in given]
        if errors:
            raise _refused(errors)
    return [_overview(ctx, each) for each in kept]


@router.get("/plan", responses=documented(401, 403, 422, 503))
async def read_plan(
    _: Reader, ctx: Ctx, db: Db, month: Month, centre: Annotated[str | None, Query(max_length=63)] = None
) -> list[CentrePlan]:
    """Read the content plan of a month, by centre."""
    by_centre: dict[str, list[Kept]] = {}
    for each in await campaigns.listed(db):
        starts = each.form.starts_at
        if starts and f"{starts.astimezone(UTC):%Y-%m}" == month and centre in (None, each.form.centre):
            by_centre.setdefault(each.form.centre or "", []).append(each)
    return [
        CentrePlan(
            centre=name,
            campaigns=[
                _overview(ctx, each) for each in sorted(found, key=lambda each: each.form.starts_at or each.created_at)
            ],
        )
        for name, found in sorted(by_centre.items())
    ]


@router.get("/{name}", responses=_READ)
async def read_campaign(name: Name, _: Reader, ctx: Ctx, db: Db) -> CampaignDetails:
    """Read a campaign with its numbers."""
    return await _detailed(ctx, db, await _known(db, name))


@router.put("/{name}", responses=_CHANGE)
async def put_campaign(name: Name, body: NewCampaign, ctx: Ctx, key: Operator) -> CampaignOverview:
    """Keep a campaign, or change one that has not been started; nothing is sent until it is started."""
    if body.name != name:
        raise _refused([FieldError(field="name", rule=f"must be {name}, as in the address")])
    async with ctx.pool.acquire() as connection, connection.transaction():
        return _overview(ctx, await _put(ctx, connection, body, key.name))


@router.get("/{name}/progress", responses=_READ)
async def read_progress(name: Name, _: Reader, db: Db) -> CampaignProgress:
    """Tell how far a campaign has come: the part of its numbers that is cheap enough to ask for every second."""
    return await _progress(db, await _known(db, name))


@router.delete("/{name}", status_code=204, responses=_CHANGE)
async def discard_campaign(name: Name, ctx: Ctx, _: Operator) -> None:
    """Forget a campaign that has not been started; one that has is kept with what came of it."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        kept = await _known(connection, name)
        if not await campaigns.discard(connection, name):
            status = (await _known(connection, kept.form.name)).status
            raise Problem(409, "started_already", f"{name} is {status}; only a draft can be discarded")


@router.get("/{name}/dry", responses=documented(401, 403, 404, 409, 422, 503))
async def count_dry(name: Name, _: Reader, ctx: Ctx) -> DryCount:
    """Count what a campaign would do if it were started now: nothing is kept and nothing sent."""
    async with ctx.pool.acquire() as connection:
        return await _counted(ctx, connection, (await _known(connection, name)).form)


@router.post("/{name}/start", responses=_CHANGE)
async def start_campaign(name: Name, body: Confirmation, ctx: Ctx, key: Operator) -> CampaignDetails:
    """Start a campaign: its recipients are found when its time comes, and written to at its pace.

    Refused without an audience, and, unless it is confirmed, if it is for more than half of all customers.
    """
    async with ctx.pool.acquire() as connection:
        kept = await _known(connection, name)
        if kept.status is not CampaignStatus.DRAFT:
            raise _started_already(kept)
        if errors := await _mistakes(ctx, connection, kept.form):
            raise _refused(errors)
        _refuse_odd_audience(kept, await _counted(ctx, connection, kept.form), confirm=body.confirm)
        if not await campaigns.begin(connection, kept.id, key.name):
            raise _started_already(await _known(connection, name))
        kept = await _known(connection, name)
        log.info("campaign started", campaign=name, by=key.name)
        try:
            await run_campaign(ctx.temporal, kept)
        except RPCError as error:
            log.warning("the campaign's run is started by a worker", campaign=name, status=error.status.name)
        return await _detailed(ctx, connection, kept)


@router.post("/{name}/pause", responses=_CHANGE)
async def pause_campaign(name: Name, ctx: Ctx, _: Operator) -> CampaignDetails:
    """Send nothing until it is resumed; what is on its way within the second still goes."""
    return await _change(ctx, name, CampaignStatus.PAUSED, "pause")


@router.post("/{name}/resume", responses=_CHANGE)
async def resume_campaign(name: Name, ctx: Ctx, _: Operator) -> CampaignDetails:
    """Go on after a pause; whose turn has come meanwhile is written to now."""
    return await _change(ctx, name, CampaignStatus.RUNNING, "resume")


@router.post("/{name}/stop", responses=_CHANGE)
async def stop_campaign(name: Name, ctx: Ctx, _: Operator) -> CampaignDetails:
    """End it now, for good: whoever still waits gets nothing."""
    return await _change(ctx, name, CampaignStatus.STOPPED, "stop")


@router.get("/{name}/report", responses=_READ)
async def report_campaign(name: Name, _: Reader, db: Db) -> CampaignReport:
    """Report what came of a campaign, by variant, and whether the variants differ by more than chance."""
    kept = await _known(db, name)
    form, clock = kept.form, await installation.clock(db)
    found = {
        row["variant"]: row for row in await campaigns.outcomes(db, kept, clock.wall_duration(form.attributed_within))
    }
    of_all, unsubscribed = await campaigns.recipients_by_variant(db, kept), await campaigns.unsubscribed(db, kept)
    nothing = dict.fromkeys(("sent", "delivered", "read", "clicked", "replied", "conversions"), 0)
    variants = []
    for variant in form.variants:
        row = {**nothing, **found.get(variant.name, {}), "variant": variant.name}
        row["conversions"] = row["conversions"] if form.goal else None
        variants.append(
            VariantReport(**row, recipients=of_all.get(variant.name, 0), unsubscribed=unsubscribed.get(variant.name, 0))
        )
    held_out = found.get(None)
    holdout = held_out and HoldoutReport(
        recipients=held_out["sent"], conversions=held_out["conversions"] if form.goal else None
    )
    return CampaignReport(
        name=name,
        status=_standing(kept),
        goal=form.goal,
        attributed_within=form.model_dump(mode="json")["attributed_within"],
        variants=variants,
        holdout=holdout,
        differences=[*_among(variants), *(_against(holdout, variants) if holdout else ())],
    )


def _among(variants: Sequence[VariantReport]) -> Iterable[Difference]:
    first, *others = variants
    for other in others:
        if found := compare(first.clicked, first.sent, other.clicked, other.sent):
            yield _difference(other.variant, first.variant, "clicked", found)
        if first.conversions is None or other.conversions is None:
            continue
        if found := compare(first.conversions, first.sent, other.conversions, other.sent):
            yield _difference(other.variant, first.variant, "conversions", found)


def _against(holdout: HoldoutReport, variants: Sequence[VariantReport]) -> Iterable[Difference]:
    for each in variants:
        if holdout.conversions is None or each.conversions is None:
            continue
        if found := compare(holdout.conversions, holdout.recipients, each.conversions, each.sent):
            yield _difference(each.variant, None, "conversions", found)


def _difference(
    variant: str, against: str | None, measure: Literal["clicked", "conversions"], found: Comparison
) -> Difference:
    return Difference(
        variant=variant,
        against=against,
        measure=measure,
        difference=round(found.difference, 6),
        z=round(found.z, 3),
        confidence=round(found.confidence, 4),
    )


async def _put(ctx: Context, connection: Connection, form: CampaignForm, by: str) -> Kept:
    if errors := await _mistakes(ctx, connection, form):
        raise _refused(errors)
    kept = await campaigns.put(connection, form, by)
    if kept is None:
        raise _started_already(await _known(connection, form.name))
    return kept


async def _change(ctx: Context, name: str, to: CampaignStatus, update: str) -> CampaignDetails:
    """Have the run change its status, after the row where that stops sending at once."""
    async with ctx.pool.acquire() as connection:
        kept = await _known(connection, name)
        if kept.status not in MAY_BECOME[to]:
            before = " or ".join(MAY_BECOME[to])
            raise Problem(
                409, f"not_{before.split()[-1]}", f"{name} is {kept.status}; only one that is {before} can {update}"
            )
        if to is not CampaignStatus.RUNNING:
            await campaigns.move_to(connection, kept.id, to)
    try:
        await ctx.temporal.get_workflow_handle(run_id(name)).execute_update(update, rpc_timeout=RPC_TIMEOUT)
    except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
        if to is CampaignStatus.RUNNING:
            raise Problem(
                503,
                "unavailable",
                "Temporal or its workers do not answer now, try again",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from None
        log.warning("the campaign's run hears of it later", campaign=name, status=to)
    except WorkflowUpdateFailedError:
        log.info("the campaign's run knows already", campaign=name, status=to)
    async with ctx.pool.acquire() as connection:
        return await _detailed(ctx, connection, await _known(connection, name))


def _refuse_odd_audience(kept: Kept, found: DryCount, *, confirm: bool) -> None:
    form = kept.form
    if found.members - found.excluded <= 0:
        why = "all who are in it were written to lately" if found.members else "nobody is in it"
        raise Problem(409, "no_audience", f"{form.name} has no audience: {why} ({form.segment}); change its segment")
    if found.share > MOST_OF_ALL and not confirm:
        raise Problem(
            409,
            "most_customers",
            f"{form.name} is for {found.members:,} customers, {found.share:.0%} of all; choose a narrower segment than "
            f"{form.segment}, or confirm that this is meant",
        )


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


# The dry count.


@dataclass
class _Count:
    """What has been counted so far."""

    members: int = 0
    excluded: int = 0
    channels: dict[str, Counter[str]] = field(default_factory=dict)
    variants: Counter[str] = field(default_factory=Counter)
    first_due: datetime | None = None
    last_due: datetime | None = None


async def _counted(ctx: Context, connection: Connection, form: CampaignForm) -> DryCount:
    """Go through the customers as planning would.

    Raises:
        Problem: The segment cannot be judged by yet.
    """
    now = datetime.now(UTC)
    definitions = await segments.load(connection)
    definition = definitions.by_name.get(form.segment)
    if definition is None:
        raise Problem(409, "no_audience", f"there is no segment {form.segment} any more")
    of: int = await connection.fetchval(f"select count(*) from customers c where {membership.ALIVE}")
    count = _Count()
    if of <= COUNTED:
        looked_at = await membership.page(connection, 0, COUNTED)
        scale = 1.0
    elif definition.scanned is None:
        raise _not_yet(form.segment)
    else:
        looked_at, there_are = await membership.members(connection, definition.id, COUNTED)
        scale = there_are / len(looked_at) if looked_at else 1.0
    for place in range(0, len(looked_at), COUNTED_AT_ONCE):
        ids = looked_at[place : place + COUNTED_AT_ONCE]
        try:
            within = await membership.inside(connection, definition.form, definitions, ids, now)
        except BasisMissing:
            raise _not_yet(form.segment) from None
        await _count(ctx, connection, form, count, within, now)
    members = round(count.members * scale)
    return DryCount(
        members=members,
        share=round(members / of, 4) if of else 0,
        exact=scale == 1,
        excluded=round(count.excluded * scale),
        channels=[
            ChannelReach(channel=name, **{rule: round(found[rule] * scale) for rule in _RULES})
            for name, found in count.channels.items()
        ],
        variants={each.name: round(count.variants[each.name] * scale) for each in form.variants},
        first_due=count.first_due,
        last_due=count.last_due,
        seconds=round((members - count.excluded * scale) / form.rate_per_second, 1),
    )


def _not_yet(segment: str) -> Problem:
    return Problem(409, "not_yet", f"{segment} has not been scanned yet: it is within a minute, so ask again then")


_RULES = ("unreachable", "suppressed", "forbidden")


async def _count(
    ctx: Context, connection: Connection, form: CampaignForm, count: _Count, within: Sequence[int], now: datetime
) -> None:
    found = await campaigns.candidates(connection, form, within, now)
    chosen = [each for each in found if not each.lately]
    count.members += len(found)
    count.excluded += len(found) - len(chosen)
    for each in chosen:
        begins = max(each.clock.journey_time(now), form.starts_at or each.clock.origin)
        zones = zones_of(each.time_zone, each.phone, ctx.deployment.default_time_zone)
        due = each.clock.wall_time(first_due(form, each.customer, zones, begins))
        count.variants[form.drawn(each.customer).name] += 1
        count.first_due, count.last_due = min(count.first_due or due, due), max(count.last_due or due, due)
    required = [channel for channel, rule in ctx.policy.consent.items() if rule == "required"]
    channels = [step.channel for step in form.cascade]
    for reach in await campaigns.reach(connection, [each.customer for each in chosen], channels, form.topic, required):
        counter = count.channels.setdefault(reach.channel, Counter())
        counter.update({rule: getattr(reach, rule) for rule in _RULES})


# Answers.


async def _known(db: Connection, name: str) -> Kept:
    kept = await campaigns.find(db, name)
    if kept is None:
        raise Problem(404, "not_found", f"there is no campaign {name}")
    return kept


def _started_already(kept: Kept) -> Problem:
    who = f"{kept.started_by} on {kept.started_at:%Y-%m-%d %H:%M} UTC" if kept.started_at else "nobody"
    return Problem(
        409, "started_already", f"{kept.form.name} was started by {who}; to send it again, put it under another name"
    )


def _refused(errors: Sequence[FieldError]) -> Problem:
    message = "; ".join(f"{each.field}: {each.rule}" for each in errors)
    return Problem(422, "invalid_request", message, list(errors))


def _overview(ctx: Context, kept: Kept) -> CampaignOverview:
    return CampaignOverview(
        name=kept.form.name,
        status=_standing(kept),
        form=kept.form,
        created_by=kept.created_by,
        created_at=kept.created_at,
        started_by=kept.started_by,
        started_at=kept.started_at,
        planned_at=kept.planned_at,
        ended_at=kept.ended_at,
        temporal_ui=ctx.run_url(run_id(kept.form.name)) if kept.started_at else None,
    )


def _standing(kept: Kept) -> Standing:
    return "planning" if kept.status is CampaignStatus.RUNNING and kept.planned_at is None else kept.status.value


async def _progress(db: Connection, kept: Kept) -> CampaignProgress:
    progress = await recipients.progress(db, kept.id)
    return CampaignProgress(
        status=_standing(kept),
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
        **{**_overview(ctx, kept).model_dump(), **(await _progress(db, kept)).model_dump()},
        messages=[Messages.model_validate(row) for row in await campaigns.numbers(db, kept)],
        skipped=await campaigns.why_skipped(db, kept),
    )
