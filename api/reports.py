"""Reports over HTTP: what has happened, and what time it is for the customers."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from api.context import Db, Reader
from api.problems import documented
from domain.messages import Channel
from store import installation, reports

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


@router.get("/v1/time", responses=documented(401, 403, 503))
async def read_time(_: Reader, db: Db) -> Time:
    """Tell how fast the customers' time runs here, and what it is now."""
    clock = await installation.clock(db)
    return Time(origin=clock.origin, speed=clock.speed, now=clock.journey_time(datetime.now(UTC)))
