"""Reports over HTTP: what has happened, and what time it is for the customers."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field, computed_field

from api.context import Db, Reader
from api.problems import documented
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
