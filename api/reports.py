"""Reports over HTTP: what has happened, and what time it is for the customers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field, computed_field

from api.context import Ctx, Db, Reader
from api.problems import FieldError, Problem, documented
from domain.campaigns import PREFIX
from domain.messages import Channel
from store import attribution, installation, reports

router = APIRouter(tags=["reports"])


class Counts(BaseModel):
    """What has happened, counted at one moment."""

    events: int = Field(description="Accepted from backends; what providers called back with is not among them.")
    undispatched: int = Field(description="Of the events, those that have not reached their runs yet.")
    parked: int = Field(description="Of the events, those that can never be dispatched as they are.")
    slowest_dispatch: float | None = Field(description="Longest way of an event to its runs, wall seconds.")
    median_dispatch: float | None = Field(description="The median of those that concerned a run.")
    rejected: int = Field(description="Calls of batches that were not accepted and are kept to be mended.")
    notes: dict[str, int] = Field(
        description="What came of the events, and of how many: what they started or ended, or why they did not.",
        examples=[{"started AbandonedApplication": 200, "AbandonedApplication: already in it": 3}],
    )
    enrolments: dict[str, dict[str, int]] = Field(
        description="Stays by journey and outcome; those not over are `running`.",
        examples=[{"AbandonedApplication": {"goal": 110, "running": 90}}],
    )
    messages: dict[str, dict[str, int]] = Field(
        description="Messages by channel and status.", examples=[{"email": {"delivered": 80, "clicked": 20}}]
    )


Money = Annotated[
    dict[str, Decimal],
    Field(description="Amounts by currency (ISO 4217), as decimal texts.", examples=[{"RUB": "126.00"}]),
]


class CostRow(BaseModel):
    """What the messages of one journey, or campaign, and channel cost."""

    journey: str = Field(examples=["AbandonedApplication", "campaign:spring"])
    channel: Channel
    messages: int = Field(description="Those that left, or may have.")
    estimated: Money = Field(description="By the tariffs at the time of sending.")
    priced: Money = Field(description="By what the provider says it took, as far as it has said.")
    without_estimate: int = Field(description="Of the messages, those no tariff told the price of.")


class Costs(BaseModel):
    """What messages cost."""

    rows: list[CostRow]
    estimated: Money
    priced: Money


class Time(BaseModel):
    """Journey time: ``origin + (wall - origin) * speed``."""

    origin: datetime
    speed: float = Field(description="Journey seconds per wall second; 1 in production.")
    now: datetime = Field(description="The present in journey time.")


@router.get("/v1/reports/counts", responses=documented(401, 403, 422, 503))
async def counts(
    _: Reader,
    db: Db,
    since: Annotated[AwareDatetime | None, Query(description="Only what came or was made from then on.")] = None,
    replay: Annotated[
        str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Only what came of one replay's events.")
    ] = None,
) -> Counts:
    """Count events, stays and messages."""
    return Counts.model_validate(await reports.counts(db, since=since, replay=replay))


@router.get("/v1/reports/costs", responses=documented(401, 403, 422, 503))
async def costs(
    _: Reader,
    db: Db,
    since: Annotated[AwareDatetime | None, Query(description="Only messages decided about from then on.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only messages decided about before.")] = None,
    journey: Annotated[
        str | None, Query(max_length=255, pattern=r"^[^\x00]*$", description="Only this journey, or campaign:NAME.")
    ] = None,
) -> Costs:
    """Add up what messages cost, by journey or campaign and channel."""
    rows: dict[tuple[str, str], CostRow] = {}
    for found in await reports.costs(db, since=since, until=until, journey=journey):
        row = rows.setdefault(
            (found["journey"], found["channel"]),
            CostRow(
                journey=found["journey"],
                channel=found["channel"],
                messages=0,
                estimated={},
                priced={},
                without_estimate=0,
            ),
        )
        row.messages += found["messages"]
        row.without_estimate += found["without_estimate"]
        _add(row.estimated, found["currency"], found["cost"])
        _add(row.priced, found["price_currency"], found["price"])
    estimated: dict[str, Decimal] = {}
    priced: dict[str, Decimal] = {}
    for row in rows.values():
        for currency, amount in row.estimated.items():
            _add(estimated, currency, amount)
        for currency, amount in row.priced.items():
            _add(priced, currency, amount)
    return Costs(rows=list(rows.values()), estimated=estimated, priced=priced)


def _add(amounts: dict[str, Decimal], currency: str | None, amount: Decimal | None) -> None:
    if currency is not None and amount is not None:
        amounts[currency] = amounts.get(currency, Decimal(0)) + amount


class Reach(BaseModel):
    """How far a journey's messages came, and how far they would have come without any that costs."""

    journey: str = Field(examples=["AbandonedFirstLoan"])
    written_to: int = Field(description="Customers to whom anything left.")
    reached: int = Field(description="Of them, those to whom something was delivered.")
    free_alone: int = Field(description="Of these, those to whom no message that costs (SMS, WhatsApp, call) left.")
    texts: int = Field(description="Texts sent, each once a stay whichever channels of its cascade it took.")
    texts_reached: int = Field(description="Of the texts, those that were delivered by any channel.")
    texts_free_alone: int = Field(description="Of these, those for which no message that costs left.")

    @computed_field(description="Share of the customers written to who were reached by the free channels alone.")  # type: ignore[prop-decorator]
    @property
    def free_alone_share(self) -> float:
        """`free_alone` of `written_to`."""
        return round(self.free_alone / self.written_to, 4)


@router.get("/v1/reports/reach", responses=documented(401, 403, 422, 503))
async def reach(
    _: Reader,
    db: Db,
    journey: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Only this one.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Only what was decided about from then on.")] = None,
) -> list[Reach]:
    """Tell, journey by journey, whom the free channels reached alone."""
    return [Reach.model_validate(dict(row)) for row in await reports.reach(db, journey, since)]


@router.get("/v1/time", responses=documented(401, 403, 503))
async def read_time(_: Reader, db: Db) -> Time:
    """Tell how fast the customers' time runs here, and what it is now."""
    clock = await installation.clock(db)
    return Time(origin=clock.origin, speed=clock.speed, now=clock.journey_time(datetime.now(UTC)))


EventName = Annotated[
    str,
    Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$", examples=["mortgage_application_submitted"]),
]
Since = Annotated[AwareDatetime | None, Query(description="Only what happened from then on.")]
Until = Annotated[AwareDatetime | None, Query(description="Only what happened before.")]


class Brought(BaseModel):
    """Conversions attributed to the messages of a journey or a campaign by one channel."""

    journey: str | None = Field(description="None: a campaign.", examples=["WelcomeBySegment"])
    campaign: str | None
    channel: str
    conversions: int
    customers: int
    share: float = Field(description="Of all conversions.", examples=[0.173])


class Attribution(BaseModel):
    """What messages brought, by the last click before it."""

    window: timedelta = Field(description="Journey time from a message's arrival in which it counts.")
    conversions: int
    attributed: int
    share: float | None = Field(description="Of all conversions; None where there are none.", examples=[0.173])
    of_unknown_origin: int = Field(description="Of all conversions, those whose event they should follow is not known.")
    brought: list[Brought] = Field(description="The most first.")


class Tagged(BaseModel):
    """Conversions that came with the same utm tags."""

    source: str | None
    medium: str | None
    campaign: str | None
    content: str | None
    conversions: int
    customers: int


class Group(BaseModel):
    """One of the groups that are compared."""

    customers: int
    came: int = Field(description="Did what is counted, in the time.")
    share: float | None = Field(examples=[0.1566])


class Effect(BaseModel):
    """A journey against those it leaves out by lot."""

    treated: Group
    control: Group
    difference: float | None = Field(description="Treated less control.", examples=[0.0103])
    won_back: float | None = Field(
        description="How many more of the treated came than would have otherwise.", examples=[296.0]
    )
    confidence: float | None = Field(
        description="That there is a difference at all: 1 less the p-value of the two-sided two-proportion z test.",
        examples=[0.85],
    )


@router.get("/v1/reports/attribution", responses=documented(400, 401, 403, 422, 503))
async def attribute(
    _: Reader,
    ctx: Ctx,
    db: Db,
    event: EventName,
    follows: Annotated[
        str | None,
        Query(
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="An earlier event whose attribution it inherits, as a deal that of its application.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="Property that tells conversions apart, and matches."),
    ] = None,
    since: Since = None,
    until: Until = None,
) -> Attribution:
    """Attribute an event to the message the customer clicked last, within the attribution window of receiving it.

    The window is `attribution_window` in the deployment's file. With `key`, the first event of each counts.
    """
    if follows and not key:
        rule = "is required with follows: the property by which the two belong together"
        raise Problem(400, "invalid_request", f"key: {rule}", [FieldError(field="key", rule=rule)])
    window = ctx.deployment.attribution_window
    clock = await installation.clock(db)
    conversions, unknown, found = await attribution.by_last_click(
        db, event=event, follows=follows, key=key, window=clock.wall_duration(window), since=since, until=until
    )
    brought = [
        Brought(
            journey=None if each["journey"].startswith(PREFIX) else each["journey"],
            campaign=each["journey"].removeprefix(PREFIX) if each["journey"].startswith(PREFIX) else None,
            channel=each["channel"],
            conversions=each["conversions"],
            customers=each["customers"],
            share=each["conversions"] / conversions,
        )
        for each in found
    ]
    attributed = sum(each.conversions for each in brought)
    return Attribution(
        window=window,
        conversions=conversions,
        attributed=attributed,
        share=attributed / conversions if conversions else None,
        of_unknown_origin=unknown,
        brought=brought,
    )


@router.get("/v1/reports/tags", responses=documented(401, 403, 422, 503))
async def count_by_tags(
    _: Reader, ctx: Ctx, db: Db, event: EventName, since: Since = None, until: Until = None
) -> list[Tagged]:
    """Count an event by the utm tags it came with, or those the customer came with last within the attribution window.

    Tags are read from `context.campaign` of the events, where the web libraries put them.
    """
    window = (await installation.clock(db)).wall_duration(ctx.deployment.attribution_window)
    found = await attribution.by_tags(db, event=event, window=window, since=since, until=until)
    return [Tagged.model_validate(each) for each in found]


@router.get("/v1/reports/effect", responses=documented(401, 403, 404, 422, 503))
async def measure_effect(
    _: Reader,
    ctx: Ctx,
    db: Db,
    journey: Annotated[str, Query(max_length=100, examples=["AbandonedApplication"])],
    within: Annotated[
        timedelta,
        Query(gt=timedelta(0), le=timedelta(days=3660), description="Journey time from the first message."),
    ] = timedelta(days=30),
    goal: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="What they are to do; any activity if left out."),
    ] = None,
    since: Since = None,
    until: Until = None,
) -> Effect:
    """Compare those a journey writes to with those it leaves out by lot: how many came, and whether it is chance."""
    if journey not in ctx.catalog.journeys:
        raise Problem(404, "not_found", f"there is no journey {journey}; see GET /v1/journeys")
    clock = await installation.clock(db)
    found = await attribution.effect(
        db, journey=journey, goal=goal, within=clock.wall_duration(within), since=since, until=until
    )
    return Effect(
        treated=_group(found.treated, found.treated_came),
        control=_group(found.control, found.control_came),
        difference=found.comparison.difference if found.comparison else None,
        won_back=found.won_back,
        confidence=found.comparison.confidence if found.comparison else None,
    )


def _group(customers: int, came: int) -> Group:
    return Group(customers=customers, came=came, share=came / customers if customers else None)
