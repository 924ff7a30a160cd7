"""Segments over HTTP: defined, looked at before anybody is in them, explained for one customer, evaluated."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from temporalio.service import RPCError

from api.auditing import Audited
from api.context import Context, Ctx, Db, Operator, Reader
from api.customers import TEXT, UserId, existing
from api.problems import RETRY_AFTER_SECONDS, FieldError, Problem, documented
from dispatch.schedules import begin_scan
from segments.condition import BasisMissing, check
from segments.form import BadForm, Condition, read
from store import campaigns, customers, membership, segments
from store.database import Connection
from store.membership import BROKEN, Explained
from store.segments import Definitions, NewVersion
from store.sizes import EACH_WITHIN, FEW, Size, TooSlow, size
from workflows.audience import journeys_for
from workflows.enabled import segments_of

log = structlog.get_logger()
router = APIRouter(prefix="/v1/segments", tags=["segments"])

MOST_OF_ALL = 0.5
"""Share of all customers above which a segment is taken for a mistake, unless it is confirmed."""

COUNTED_WITHIN = 15.0
"""Wall seconds in which a preview counts everybody, if it is asked to; then it draws some."""

BASIS_LASTS = timedelta(days=1)
"""Wall time for which a preview takes what SQL in the code rests on as it is."""

_PREVIEWS = asyncio.Semaphore(2)
"""Each goes through thousands of customers: a process makes two at a time, so that events do not wait for them."""

Name = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Name of the segment.", examples=["not_seen_30_days"])
]
Sample = Annotated[int, Field(ge=0, le=100, description="How many customers of the segment to name.")]


_FORM = {
    "type": "object",
    "title": "Condition",
    "description": "A form, as `Preview` has it.",
    "examples": [{"event": "*", "not_within": "P30D"}],
}


class Sampled(BaseModel):
    """A customer of a segment."""

    customer_id: int = Field(description="Our number.")
    user_id: str | None = Field(
        description="The backend's id, or the anonymous id of one who has no other; None if there is none.",
        examples=["client-4711"],
    )


class SegmentSize(BaseModel):
    """How many customers a segment would hold now."""

    customers: int = Field(description="Counted; or the best guess, if `exact` is false.")
    least: int = Field(description="At least so many, with 95 percent certainty.")
    most: int = Field(description="At most so many.")
    of: int = Field(description="How many customers there are.")
    share: float = Field(description="Of all customers.", examples=[0.12])
    exact: bool
    sample: list[Sampled] = Field(description="Some of them, drawn by lot.")


class Preview(BaseModel):
    """A form to be looked at; nothing is kept."""

    model_config = ConfigDict(extra="forbid")

    form: Condition = Field(examples=[{"event": "*", "not_within": "P30D"}])
    exact: bool = Field(
        default=False,
        description=f"Count everybody, though there are more than {FEW:,}; "
        f"what takes more than {COUNTED_WITHIN:g} seconds is guessed all the same.",
    )
    sample: Sample = 10


class NewSegment(BaseModel):
    """A segment, or a new version of one."""

    model_config = ConfigDict(extra="forbid")

    story: str = Field(
        max_length=500, pattern=TEXT, description="Who they are, in a sentence.", examples=["Not seen for 30 days."]
    )
    form: Annotated[Condition, WithJsonSchema(_FORM)]
    note: str | None = Field(default=None, max_length=500, pattern=TEXT, description="What was changed, and why.")
    confirm: bool = Field(default=False, description="It is meant to hold most customers, or cannot be looked at yet.")


class Rollback(BaseModel):
    """A version to go back to."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, le=2**31 - 1)
    confirm: bool = Field(default=False, description="It is meant to hold most customers.")


class SegmentVersion(BaseModel):
    """A version of a segment; none is ever changed."""

    version: int
    current: bool
    story: str
    form: dict[str, Any]
    origin: Literal["code", "api"] = Field(description="Where it comes from: a release, or this API.")
    author: str = Field(description="The key; `code` for a release.", examples=["operator:marketing"])
    note: str | None
    created_at: datetime


class Evaluation(BaseModel):
    """A scan of all customers; times are wall time."""

    id: int
    asked_by: str | None = Field(description="The key that wanted it; None if it was time.")
    started_at: datetime
    finished_at: datetime | None
    seconds: float = Field(description="Until it was over, or until now.")
    examined: int
    entered: int
    departed: int
    failed: Literal["redefined", "too_slow", "broken"] | None = Field(
        description="What kept it from its end: the segment was changed meanwhile, takes too long, or its SQL fails."
    )


class SegmentOverview(BaseModel):
    """A segment as it is defined now."""

    name: str = Field(examples=["not_seen_30_days"])
    version: int
    story: str
    form: dict[str, Any]
    origin: Literal["code", "api"]
    author: str
    created_at: datetime = Field(description="Of the version, wall time.")
    members: int = Field(description="As last looked at.")
    scanned_at: datetime | None = Field(
        description="When all customers were last looked at by it, wall time; whoever does something is looked at "
        "within a minute. None: not yet."
    )
    journeys: list[str] = Field(description="Journeys that are for it.")
    segments: list[str] = Field(description="Segments that name it.")


class SegmentDetails(SegmentOverview):
    """A segment with its history."""

    versions: list[SegmentVersion] = Field(description="The newest first.")
    evaluations: list[Evaluation] = Field(description="The last scans, the newest first.")


class Kept(BaseModel):
    """What became of a version."""

    name: str
    version: int
    new: bool = Field(description="False: the current version says the same already.")
    size: SegmentSize | None = Field(description="How many it holds now; None if it could not be looked at yet.")
    scan: str | None = Field(
        description="Workflow that lets customers enter and leave by it; None: one begins within a minute."
    )


class Member(Sampled):
    """A customer who is in a segment."""

    entered_at: datetime = Field(description="Wall time.")


class Members(BaseModel):
    """A page of a segment."""

    members: list[Member]
    next: int | None = Field(description="Give it as `after` for those that follow; None at the end.")


class Explanation(BaseModel):
    """What a condition says of a customer."""

    path: str = Field(description="Its place in the form.", examples=["form.any.0"])
    says: str = Field(examples=["listing_viewed at least 20 times in 14 days"])
    holds: bool
    actual: Any = Field(description="What it looks at; None for those made of others.", examples=[17])
    parts: list["Explanation"]


class Standing(BaseModel):
    """A customer and a segment."""

    segment: str
    customer_id: int
    holds: bool = Field(description="Whether they are in by the definition, now. This is what a send asks.")
    member_since: datetime | None = Field(description="Since when they are a member, as last looked at; wall time.")
    because: Explanation


class Begun(BaseModel):
    """A scan that has begun."""

    workflow_id: str = Field(examples=["segment-scan-not_seen_30_days"])
    temporal_ui: str | None


_ERRORS = documented(401, 403, 404, 422, 503)
_CHANGE = documented(400, 401, 403, 404, 409, 422, 503)


@router.get("", responses=documented(401, 403, 503))
async def list_segments(_: Reader, ctx: Ctx, db: Db) -> list[SegmentOverview]:
    """List the segments, with how many customers are in each."""
    definitions = await segments.load(db)
    return [_overview(ctx, definitions, dict(row)) for row in await segments.overview(db)]


@router.post("/preview", responses=documented(400, 401, 403, 422, 503))
async def preview_segment(body: Preview, ctx: Ctx, _: Operator) -> SegmentSize:
    """Tell how many customers a form would hold now, and name some. Nothing is kept."""
    return await _previewed(ctx, body.form, sample=body.sample, count_within=COUNTED_WITHIN if body.exact else 0.0)


@router.get("/{name}", responses=_ERRORS)
async def read_segment(name: Name, _: Reader, ctx: Ctx, db: Db) -> SegmentDetails:
    """Read a segment with its versions and its last scans."""
    definitions = await segments.load(db)
    found = await segments.overview(db, name)
    if not found:
        raise _unknown(definitions, name)
    return SegmentDetails(
        **_overview(ctx, definitions, dict(found[0])).model_dump(),
        versions=[SegmentVersion.model_validate(dict(each)) for each in await segments.versions(db, name)],
        evaluations=[Evaluation.model_validate(dict(each)) for each in await segments.evaluations(db, name, 5)],
    )


@router.put("/{name}", responses={**_CHANGE, 201: {"description": "The segment is new.", "model": Kept}})
async def put_segment(
    name: Name, body: NewSegment, response: Response, ctx: Ctx, key: Operator, audited: Audited
) -> Kept:
    """Define a segment, or give it a new version; then all customers are looked at by it.

    One that would hold more than half of all customers is refused unless it is confirmed.
    """
    new = NewVersion(name, body.story, body.form, "api", f"operator:{key.name}", body.note)
    kept = await _keep(ctx, new, confirm=body.confirm)
    audited.facts.update(segment=name, version=kept.version)
    if kept.new and kept.version == 1:
        response.status_code = 201
    return kept


@router.post("/{name}/rollback", responses=_CHANGE)
async def roll_back_segment(name: Name, body: Rollback, ctx: Ctx, key: Operator, audited: Audited) -> Kept:
    """Go back to an earlier version: it becomes the newest once more.

    If it is the one of the release, later releases change it again.
    """
    async with ctx.pool.acquire() as connection:
        versions = await segments.versions(connection, name)
        if not versions:
            raise _unknown(await segments.load(connection), name)
    row = next((each for each in versions if each["version"] == body.version), None)
    if row is None:
        raise Problem(404, "not_found", f"{name} has no version {body.version}; the newest is {versions[0]['version']}")
    note = f"back to version {body.version}"
    new = NewVersion(name, row["story"], _read(row["form"]), row["origin"], f"operator:{key.name}", note)
    kept = await _keep(ctx, new, confirm=body.confirm)
    audited.facts.update(segment=name, version=kept.version)
    return kept


@router.delete("/{name}", status_code=204, responses=_CHANGE)
async def delete_segment(name: Name, ctx: Ctx, _: Operator, audited: Audited) -> None:
    """Forget a segment, its versions and members. Refused while something is for it, or names it."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        definitions = await segments.load(connection)
        if name not in definitions.by_name and name not in definitions.unreadable:
            raise _unknown(definitions, name)
        if journeys := journeys_for(ctx.catalog, name):
            raise Problem(409, "in_use", f"{name} is whom {', '.join(journeys)} is for; change the journey first")
        if naming := definitions.naming(name):
            raise Problem(409, "in_use", f"{name} is named by {', '.join(naming)}; change that first")
        if waiting := await campaigns.for_segment(connection, name):
            raise Problem(409, "in_use", f"{name} is whom the campaign {', '.join(waiting)} is for; stop that first")
        if name in {each.name for each in segments_of(ctx.catalog)}:
            raise Problem(409, "in_use", f"{name} comes with the release and would be back at the next start")
        await segments.delete(connection, name)
        audited.facts["segment"] = name


@router.get("/{name}/members", responses=_ERRORS)
async def list_members(
    name: Name,
    _: Reader,
    db: Db,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only those with greater numbers.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Members:
    """List who is in a segment, as last looked at, in the order of our numbers."""
    await _known(db, name)
    rows = await segments.members(db, name, after, limit + 1)
    ids = await customers.known_as(db, [row["customer_id"] for row in rows])
    members = [Member(**row, user_id=ids.get(row["customer_id"])) for row in rows[:limit]]
    return Members(members=members, next=members[-1].customer_id if len(rows) > limit else None)


@router.get("/{name}/customers/{user_id}", responses=documented(401, 403, 404, 409, 410, 422, 503))
async def explain_membership(name: Name, user_id: UserId, _: Reader, ctx: Ctx, db: Db) -> Standing:
    """Explain whether a customer is in a segment now: every condition, with what it looks at."""
    definitions = await _known(db, name)
    customer = await existing(ctx, db, user_id)
    form = definitions.by_name[name].form
    try:
        because = await membership.explain(db, form, definitions, customer, datetime.now(UTC))
    except BasisMissing:
        raise _not_yet() from None
    except BROKEN as error:
        raise _broken(error) from None
    return Standing(
        segment=name,
        customer_id=customer,
        holds=because.holds,
        member_since=await segments.entered_at(db, name, customer),
        because=_explained(because),
    )


@router.post("/{name}/evaluate", status_code=202, responses=documented(401, 403, 404, 409, 422, 503))
async def evaluate_segment(name: Name, ctx: Ctx, key: Operator, audited: Audited) -> Begun:
    """Look at all customers by a segment now; 409 if that is under way."""
    async with ctx.pool.acquire() as connection:
        await _known(connection, name)
    audited.facts["segment"] = name
    try:
        workflow_id = await begin_scan(ctx.temporal, name, f"operator:{key.name}")
    except RPCError:
        raise Problem(
            503,
            "unavailable",
            "Temporal does not answer now, try again",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from None
    if workflow_id is None:
        raise Problem(409, "under_way", f"all customers are being looked at by {name} already")
    return Begun(workflow_id=workflow_id, temporal_ui=ctx.run_url(workflow_id))


@router.get("/{name}/evaluations", responses=_ERRORS)
async def list_evaluations(
    name: Name, _: Reader, db: Db, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[Evaluation]:
    """List the scans of a segment, the newest first."""
    await _known(db, name)
    return [Evaluation.model_validate(dict(row)) for row in await segments.evaluations(db, name, limit)]


async def _keep(ctx: Context, new: NewVersion, *, confirm: bool) -> Kept:
    """Keep a version that has been looked at, and have all customers looked at by it."""
    try:
        found = await _previewed(ctx, new.form, sample=0, name=new.name)
    except Problem as problem:
        if problem.code != "not_yet" or not confirm:
            raise
        found = None
    if found and found.share > MOST_OF_ALL and not confirm:
        raise Problem(
            409,
            "most_customers",
            f"{new.name} would hold {found.customers:,} of all {found.of:,} customers ({found.share:.0%}); "
            "narrow its form, or confirm that this is meant",
        )
    try:
        async with ctx.pool.acquire() as connection, connection.transaction():
            await segments.lock_definitions(connection)
            version, is_new = await segments.put(connection, new)
    except BadForm as error:
        raise _bad(error) from None
    scan = None
    if is_new:
        log.info("segment defined", segment=new.name, version=version, by=new.author)
        try:
            scan = await begin_scan(ctx.temporal, new.name, new.author)
        except RPCError as error:
            log.warning("the scan begins with the next look", segment=new.name, status=error.status.name)
    return Kept(name=new.name, version=version, new=is_new, size=found, scan=scan)


async def _previewed(
    ctx: Context, form: Condition, *, sample: int, count_within: float = 0.0, name: str | None = None
) -> SegmentSize:
    now = datetime.now(UTC)
    async with _PREVIEWS, ctx.pool.acquire() as connection:
        definitions = await segments.load(connection)
        others = {other: each for other, each in definitions.forms.items() if other != name}
        try:
            check(form, others, name)
            await membership.work_out_bases(
                connection, form, definitions.forms, now, fresh=BASIS_LASTS, within=2 * EACH_WITHIN
            )
            found = await size(connection, form, definitions, now, sample=sample, count_within=count_within)
            ids = await customers.known_as(connection, found.sample)
        except BadForm as error:
            raise _bad(error) from None
        except TimeoutError:
            raise _not_yet() from None
        except BROKEN as error:
            raise _broken(error) from None
        except TooSlow:
            rule = "takes too long: some thousand customers could not be looked at in time; use fewer events"
            raise Problem(422, "too_slow", f"form: {rule}", [FieldError(field="form", rule=rule)]) from None
    return _sized(found, ids)


async def _known(db: Connection, name: str) -> Definitions:
    definitions = await segments.load(db)
    if name in definitions.unreadable:
        raise Problem(409, "unreadable", f"{name} cannot be read by this release: {definitions.unreadable[name]}")
    if name not in definitions.by_name:
        raise _unknown(definitions, name)
    return definitions


def _unknown(definitions: Definitions, name: str) -> Problem:
    there_are = ", ".join(sorted(definitions.by_name)) or "none"
    return Problem(404, "not_found", f"there is no segment {name}; there are {there_are}")


def _broken(error: Exception) -> Problem:
    rule = f"what of it is SQL in the code fails: {type(error).__name__}; a release has to mend it"
    return Problem(422, "broken", f"form: {rule}", [FieldError(field="form", rule=rule)])


def _not_yet() -> Problem:
    return Problem(
        409,
        "not_yet",
        "what it rests on has not been worked out yet, and takes longer than a request can wait; its scan does it",
    )


def _bad(error: BadForm) -> Problem:
    return Problem(
        422, "invalid_request", str(error), [FieldError(field=path, rule=rule) for path, rule in error.errors]
    )


def _read(form: dict[str, Any]) -> Condition:
    try:
        return read(form)
    except BadForm as error:
        raise _bad(error) from None


def _overview(ctx: Context, definitions: Definitions, row: dict[str, Any]) -> SegmentOverview:
    return SegmentOverview(
        **row, journeys=journeys_for(ctx.catalog, row["name"]), segments=definitions.naming(row["name"])
    )


def _sized(found: Size, ids: Mapping[int, str]) -> SegmentSize:
    return SegmentSize(
        customers=found.customers,
        least=found.least,
        most=found.most,
        of=found.of,
        share=round(found.share, 4),
        exact=found.exact,
        sample=[Sampled(customer_id=number, user_id=ids.get(number)) for number in found.sample],
    )


def _explained(found: Explained) -> Explanation:
    return Explanation(
        path=found.path,
        says=found.says,
        holds=found.holds,
        actual=found.actual,
        parts=[_explained(part) for part in found.parts],
    )
