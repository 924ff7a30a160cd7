"""The contact policy over HTTP: what holds, what held, and what it would say about a message now."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from api.context import Context, Ctx, Db, Reader
from api.customers import UserId, existing
from api.problems import FieldError, Problem, documented
from domain.messages import Channel, MessageClass
from policy.contact import RULES, Delay, Drop, Facts, Ruling, decide, explain
from store import contact, customers
from store.contact import Question
from store.database import Connection

router = APIRouter(tags=["policy"])

T = TypeVar("T")

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Journey times that can be asked about: rules look back and ahead from them, and there is time to look at."""


class RuleSays(BaseModel):
    """A rule of the policy."""

    name: str = Field(description="What reasons begin with.", examples=["quiet_hours"])
    says: str = Field(examples=["not at this hour or on this day of the customer's: delays"])
    transactional: bool = Field(description="Whether transactional messages are held to it too.")


class PolicyVersion(BaseModel):
    """The rules as they were configured."""

    version: str = Field(description="The same rules have the same version.", examples=["3a4176aafb4b"])
    first_used_at: datetime
    body: dict[str, Any]


class CurrentPolicy(BaseModel):
    """What holds."""

    version: str = Field(examples=["3a4176aafb4b"])
    body: dict[str, Any] = Field(description="The section `[policy]` of the deployment's file, with all defaults.")
    rules: list[RuleSays] = Field(description="In the order in which they are asked; the first that objects decides.")


class Verdict(BaseModel):
    """What one rule says."""

    rule: str = Field(examples=["cap"])
    says: str
    verdict: Literal["passes", "delays", "drops", "exempt"]
    reason: str | None = Field(examples=["cap:sms 3 in 7 days"])
    until: datetime | None = Field(description="Journey time.")


class DryDecision(BaseModel):
    """What the policy would decide; nothing is sent, and nothing is kept."""

    verdict: Literal["send", "delay", "drop"]
    reason: str | None = Field(description="Begins with the name of the rule.", examples=["quiet_hours"])
    until: datetime | None = Field(description="When to ask again, journey time.")
    now: datetime = Field(description="The moment decided for, journey time.")
    policy: str = Field(description="Version of the rules.", examples=["3a4176aafb4b"])
    time_zones: list[str] = Field(description="Where the customer may be.", examples=[["Europe/Berlin"]])
    sent_recently: int = Field(description="Messages within the longest window of any cap.")
    rules: list[Verdict]


@router.get("/v1/policy", responses=documented(401, 403, 503))
async def read_policy(_: Reader, ctx: Ctx) -> CurrentPolicy:
    """Read the rules that hold: whom we may write to, and when."""
    return CurrentPolicy(
        version=ctx.policy.version,
        body=ctx.policy.model_dump(mode="json"),
        rules=[RuleSays(name=rule.name, says=rule.says, transactional=rule.transactional) for rule in RULES],
    )


@router.get("/v1/policy/versions", responses=documented(401, 403, 503))
async def list_policies(_: Reader, db: Db) -> list[PolicyVersion]:
    """List every version of the rules decisions were made by, the newest first."""
    return [PolicyVersion.model_validate(dict(row)) for row in await contact.policies(db)]


@router.get("/v1/customers/{user_id}/decision", responses=documented(400, 401, 403, 404, 410, 422, 503))
async def decide_dry(
    user_id: UserId,
    _: Reader,
    ctx: Ctx,
    db: Db,
    channel: Annotated[Channel | None, Query(description="Required unless `message` is given.")] = None,
    journey: Annotated[
        str | None, Query(max_length=255, description="Who writes; required unless `message` is given.")
    ] = None,
    message_class: MessageClass = MessageClass.MARKETING,
    message: Annotated[UUID | None, Query(description="A message of the customer's, to be decided about anew.")] = None,
    at: Annotated[
        AwareDatetime | None,
        Query(ge=EARLIEST, lt=LATEST, description="Journey time, of the years 1970 to 8999; now, if not given."),
    ] = None,
) -> DryDecision:
    """Ask what the policy would say about a message to a customer now, or at another time, rule by rule."""
    customer = await existing(ctx, db, user_id)
    now = at or (await customers.clock_of(db, customer)).journey_time(datetime.now(UTC))
    question = (
        await _about(ctx, db, customer, message, now)
        if message
        else _imagined(ctx, _given("journey", journey), _given("channel", channel), message_class, now)
    )
    person = await contact.person(db, customer)
    facts = await contact.facts(db, ctx.policy, person, question, ctx.deployment.default_time_zone)
    return _answer(ctx, facts)


def _answer(ctx: Context, facts: Facts) -> DryDecision:
    decision = decide(ctx.policy, facts)
    objection = decision if isinstance(decision, Drop | Delay) else None
    return DryDecision(
        verdict="delay" if isinstance(decision, Delay) else "drop" if isinstance(decision, Drop) else "send",
        reason=objection.reason if objection else None,
        until=objection.until if isinstance(objection, Delay) else None,
        now=facts.now,
        policy=ctx.policy.version,
        time_zones=[zone.key for zone in facts.zones],
        sent_recently=len(facts.sent),
        rules=[_verdict(ruling) for ruling in explain(ctx.policy, facts)],
    )


def _verdict(ruling: Ruling) -> Verdict:
    objection = ruling.objection
    return Verdict(
        rule=ruling.rule.name,
        says=ruling.rule.says,
        verdict="exempt"
        if ruling.exempt
        else "drops"
        if isinstance(objection, Drop)
        else "delays"
        if isinstance(objection, Delay)
        else "passes",
        reason=objection.reason if objection else None,
        until=objection.until if isinstance(objection, Delay) else None,
    )


def _given(name: str, value: T | None) -> T:
    if value is None:
        rule = "is required, unless message is given"
        raise Problem(400, "invalid_request", f"{name}: {rule}", [FieldError(field=name, rule=rule)])
    return value


def _imagined(ctx: Context, journey: str, channel: Channel, message_class: MessageClass, now: datetime) -> Question:
    declaration = ctx.catalog.journeys.get(journey)
    if declaration is None:
        rule = f"must be one of {', '.join(sorted(ctx.catalog.journeys))}"
        raise Problem(400, "invalid_request", f"journey: {rule}", [FieldError(field="journey", rule=rule)])
    return Question(
        message=None,
        now=now,
        channel=channel,
        message_class=message_class,
        expires_at=None,
        journey=journey,
        topic=declaration.topic,
        priority=declaration.priority,
        gives_way=declaration.gives_way,
        exclusive=ctx.catalog.exclusive,
    )


async def _about(ctx: Context, db: Connection, customer: int, message: UUID, now: datetime) -> Question:
    row = await contact.asked_before(db, customer, message)
    if row is None:
        raise Problem(404, "not_found", "the customer has no such message")
    declaration = ctx.catalog.journeys.get(row["journey"])
    if declaration is None:
        raise Problem(404, "not_found", f"the message is of {row['journey']}, which does not run here any more")
    return Question(
        message=message,
        now=now,
        channel=Channel(row["channel"]),
        message_class=MessageClass(row["message_class"]),
        expires_at=row["expires_at"],
        journey=row["journey"],
        topic=declaration.topic,
        priority=declaration.priority,
        gives_way=declaration.gives_way,
        exclusive=ctx.catalog.exclusive,
    )
