"""The content plan over HTTP: which campaigns start when, by centre; all of them are kept, or none."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.campaigns import CampaignOverview, overview, put, refused
from api.context import Ctx, Db, Operator, Reader
from api.problems import FieldError, Problem, documented
from domain.campaigns import CampaignForm
from store import campaigns
from store.campaigns import Kept

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])

Month = Annotated[
    str,
    Query(
        pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
        description="Month in which campaigns start, by the clock their `starts_at` is written by.",
    ),
]


class Plan(BaseModel):
    """A content plan: campaigns with their dates and centres, all of them or none."""

    model_config = ConfigDict(extra="forbid")

    campaigns: Annotated[list[CampaignForm], Field(min_length=1, max_length=500)]


class CentrePlan(BaseModel):
    """What a centre sends in a month."""

    centre: str
    campaigns: list[CampaignOverview] = Field(description="By their start.")


@router.put("/plan", responses=documented(400, 401, 403, 422, 503))
async def put_plan(body: Plan, ctx: Ctx, key: Operator) -> list[CampaignOverview]:
    """Keep a content plan: every campaign of it, or none if one cannot be.

    Putting it again changes those that have not been started; those that have must be as they were, and whatever is
    as it was stays, also where its time has passed. Nothing is sent until a campaign is started; one that is started
    before its time waits for it.
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
            if known and known.form == form:
                kept.append(known)
                continue
            try:
                kept.append(await put(ctx, connection, form, key.name))
            except Problem as problem:
                given = problem.errors or [FieldError(field="name", rule=problem.message)]
                errors += [FieldError(field=f"{at}.{each.field}", rule=each.rule) for each in given]
        if errors:
            raise refused(errors)
    return [overview(ctx, each) for each in kept]


@router.get("/plan", responses=documented(401, 403, 422, 503))
async def read_plan(
    _: Reader, ctx: Ctx, db: Db, month: Month, centre: Annotated[str | None, Query(max_length=63)] = None
) -> list[CentrePlan]:
    """Read the content plan of a month, by centre."""
    by_centre: dict[str, list[Kept]] = {}
    for each in await campaigns.listed(db):
        starts = each.form.starts_at
        if starts and f"{starts:%Y-%m}" == month and centre in (None, each.form.centre):
            by_centre.setdefault(each.form.centre or "", []).append(each)
    return [
        CentrePlan(
            centre=name,
            campaigns=[
                overview(ctx, each) for each in sorted(found, key=lambda each: each.form.starts_at or each.created_at)
            ],
        )
        for name, found in sorted(by_centre.items())
    ]
