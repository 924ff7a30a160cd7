"""Customers over HTTP: who they are, their own speed, export, erasure."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.context import Context, Ctx, Db, Operator, Reader
from api.problems import Problem, documented
from store import customers, erasure, export
from store.customers import Identity
from store.database import Connection

log = structlog.get_logger()
router = APIRouter(tags=["customers"])

TEXT = r"^[^\x00]*$"
"""PostgreSQL's texts cannot hold U+0000."""

UserId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=255,
        pattern=TEXT,
        description="The backend's id of the customer, or the anonymous id of one who has no other.",
        examples=["client-4711"],
    ),
]


class KnownAs(BaseModel):
    """An id by which calls name a customer."""

    kind: Literal["user", "anonymous"]
    value: str


class Suppressed(BaseModel):
    """Why nothing is sent to the customer by a channel."""

    channel: str = Field(examples=["sms"])
    reason: str = Field(examples=["opted_out"])
    source: str = Field(examples=["twilio:inbound"])
    created_at: datetime


class Customer(BaseModel):
    """What is known of a customer."""

    id: int = Field(description="Our number of the customer, as the Temporal UI shows it.")
    email: str | None
    phone: str | None
    locale: str | None
    time_zone: str | None
    traits: dict[str, Any]
    created_at: datetime
    identified_at: datetime | None
    devices: int = Field(description="Devices that take pushes.")
    speed: float | None = Field(description="Of a test customer: journey seconds per wall second.")
    identities: list[KnownAs]
    suppressions: list[Suppressed]


class Speed(BaseModel):
    """A test customer's own journey time."""

    model_config = ConfigDict(extra="forbid")

    speed: float = Field(ge=0.001, le=10_000_000, description="Journey seconds per wall second.", examples=[86400])


class ProviderErasure(BaseModel):
    """What became of requests to a provider that are alike."""

    provider: str = Field(examples=["twilio"])
    kind: str = Field(
        description="What it was asked to erase: an `address` and all that was sent there, a `message`; or "
        "`everything`, which it cannot be asked for.",
        examples=["message"],
    )
    answer: str | None = Field(description="The newest answer; null: not asked yet.", examples=["deleted"])
    done: bool = Field(description="Whether it is not asked again.")
    number: int = Field(description="How many such requests there are.", examples=[3])
    attempts: int = Field(description="The most attempts any of them took.")


class Erasure(BaseModel):
    """That a customer was erased here, and what became of it at the providers."""

    customer_id: int = Field(description="Our number of the customer, as in the audit log.")
    requested_by: str = Field(examples=["operator:crm"])
    requested_at: datetime = Field(description="From then on nothing was left here.")
    completed_at: datetime | None = Field(description="When every provider had answered, or was given up.")
    providers: list[ProviderErasure]


class Erasures(BaseModel):
    """A page of erasures, the newest first."""

    entries: list[Erasure]
    next: datetime | None = Field(description="Give it as `before` for what is older; None at the end.")


_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.get("/v1/customers/erasures", responses=documented(401, 403, 422, 503))
async def list_erasures(
    _: Operator,
    db: Db,
    before: Annotated[AwareDatetime | None, Query(description="Only what was requested earlier.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Erasures:
    """List who was erased, by whom, and how far the providers are with it.

    A provider that does not do it is asked for thirty days. What it refused, or was given up, stays to be seen here:
    it is to be settled with the provider by hand. A page may be longer than its limit: what was requested at the same
    instant stays together.
    """
    found = [Erasure.model_validate(row) for row in await erasure.page(db, before, limit)]
    return Erasures(entries=found, next=found[-1].requested_at if len(found) >= limit else None)


@router.get("/v1/customers/{user_id}", responses=_ERRORS)
async def read_customer(user_id: UserId, _: Reader, ctx: Ctx, db: Db) -> Customer:
    """Read what is known of a customer, and by which channels nothing may be sent to them."""
    return Customer.model_validate(await customers.profile(db, await existing(ctx, db, user_id)))


@router.get(
    "/v1/customers/{user_id}/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Everything that is held on the customer, as it is at one moment.",
            "content": {"application/json": {"schema": export.layout()}},
        },
        **_ERRORS,
    },
)
async def export_customer(user_id: UserId, _: Operator, ctx: Ctx) -> StreamingResponse:
    """Export everything that is held on a customer, to be handed to them (GDPR, articles 15 and 20).

    Other people who share their address or number may have written what stands under `callbacks`: look at it before
    you hand it on. It is streamed: only a body that is whole JSON is a whole export.
    """
    async with ctx.pool.acquire() as connection:
        number = await existing(ctx, connection, user_id)

    async def written() -> AsyncIterator[bytes]:
        async with ctx.pool.acquire() as connection:
            async for piece in export.write(connection, number):
                yield piece

    return StreamingResponse(written(), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.put("/v1/customers/{user_id}/speed", status_code=204, responses=documented(401, 403, 404, 409, 410, 422, 503))
async def set_speed(user_id: UserId, body: Speed, ctx: Ctx, key: Operator) -> None:
    """Make somebody a test customer, for whom journey time runs faster: waits, quiet hours, caps and all."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        number = await locked(ctx, connection, user_id)
        if not await customers.set_speed(connection, number, body.speed):
            raise Problem(409, "in_a_journey", "the customer is in a journey, whose time cannot change under way")
    log.info("test customer", customer=number, speed=body.speed, by=key.name)


@router.delete("/v1/customers/{user_id}", status_code=204, responses=documented(401, 403, 404, 422, 503))
async def erase_customer(user_id: UserId, ctx: Ctx, key: Operator) -> None:
    """Erase a customer: their journeys end, everything personal is removed, their events are refused from now on.

    Nobody who is reached at their addresses is written to until consent is recorded anew. The providers are asked to
    erase what they hold; `GET /v1/customers/erasures` tells how far they are. Erasing again is 204 as well.
    """
    async with ctx.pool.acquire() as connection, connection.transaction():
        number = await _locked(connection, user_id)
        if number is None:
            problem = await _unknown(ctx, connection, user_id)
            if problem.status == 410:
                return
            raise problem
        source, now = f"operator:{key.name}", datetime.now(UTC)
        await erasure.erase(connection, number, ctx.tombstones, source, now, ctx.catalog.roles.keys())
    log.info("customer erased", customer=number, by=key.name)


async def existing(ctx: Context, connection: Connection, user_id: str) -> int:
    """Return our number of a customer.

    Raises:
        Problem: 404; 410 if they were erased.
    """
    number = await _find(connection, user_id)
    if number is None:
        raise await _unknown(ctx, connection, user_id)
    return number


async def locked(ctx: Context, connection: Connection, user_id: str) -> int:
    """Lock a customer and return our number of them.

    Raises:
        Problem: 404; 410 if they were erased.
    """
    number = await _locked(connection, user_id)
    if number is None:
        raise await _unknown(ctx, connection, user_id)
    return number


def _identities(user_id: str) -> list[Identity]:
    return [("user", user_id), ("anonymous", user_id)]


async def _find(connection: Connection, user_id: str) -> int | None:
    found = await customers.find(connection, _identities(user_id))
    return next((found[identity] for identity in _identities(user_id) if identity in found), None)


async def _locked(connection: Connection, user_id: str) -> int | None:
    """Lock a customer; until then they may be merged with another one, or erased."""
    while (number := await _find(connection, user_id)) is not None:
        await customers.lock(connection, [number])
        if await _find(connection, user_id) == number:
            return number
    return None


async def _unknown(ctx: Context, connection: Connection, user_id: str) -> Problem:
    if await customers.erased(connection, _identities(user_id), ctx.tombstones):
        return Problem(410, "customer_erased", "this customer was erased; nothing about them is kept any more")
    return Problem(404, "not_found", "there is no such customer")
