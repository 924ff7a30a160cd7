"""Leaving a customer alone, over HTTP: blocks for some days, dialogues while a person of ours talks with them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api.context import Ctx, Db, Operator, Reader
from api.customers import UserId, existing, locked
from api.problems import Problem, documented
from store import customers, silences

router = APIRouter(tags=["customers"])

LONGEST_BLOCK = timedelta(days=3660)


class Block(BaseModel):
    """A silence: nothing is sent to the customer until it is over. Times are journey time."""

    id: int
    name: str = Field(examples=["complaint"])
    source: str = Field(description="Who wanted it: an event, or an operator's key.", examples=["operator:crm"])
    begins_at: datetime
    until: datetime
    lifted_at: datetime | None = Field(description="Wall time at which it was ended before its time.")


class NewBlock(BaseModel):
    """A silence an operator wants."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="Why, as a code.", examples=["complaint"])
    lasts: timedelta = Field(
        gt=timedelta(0), le=LONGEST_BLOCK, description="Journey time from now, ISO 8601.", examples=["P7D"]
    )


class Dialogue(BaseModel):
    """A person of ours talks with the customer; no journey writes meanwhile."""

    id: int
    source: str = Field(examples=["operator:crm"])
    opened_at: datetime = Field(description="Journey time.")


_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.get("/v1/customers/{user_id}/blocks", responses=_ERRORS)
async def list_blocks(user_id: UserId, _: Reader, ctx: Ctx, db: Db) -> list[Block]:
    """List a customer's blocks, those that are over too, the newest first."""
    rows = await silences.blocks(db, await existing(ctx, db, user_id))
    return [Block.model_validate(dict(row)) for row in rows]


@router.post("/v1/customers/{user_id}/blocks", status_code=201, responses=_ERRORS)
async def block_customer(user_id: UserId, body: NewBlock, ctx: Ctx, key: Operator) -> Block:
    """Let a customer hear nothing for a while; what becomes due meanwhile is dropped, with the block as its reason."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await locked(ctx, connection, user_id)
        now = (await customers.clock_of(connection, customer)).journey_time(datetime.now(UTC))
        source = f"operator:{key.name}"
        number = await silences.block(connection, customer, body.name, source, now, now + body.lasts)
    return Block(id=number, name=body.name, source=source, begins_at=now, until=now + body.lasts, lifted_at=None)


@router.delete("/v1/customers/{user_id}/blocks/{id}", status_code=204, responses=_ERRORS)
async def lift_block(user_id: UserId, id: Annotated[int, Path(ge=1, le=2**63 - 1)], ctx: Ctx, _: Operator) -> None:
    """End a block before its time."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        if not await silences.lift(connection, await locked(ctx, connection, user_id), id):
            raise Problem(404, "not_found", "the customer has no such block under way")


@router.put("/v1/customers/{user_id}/dialogue", responses=_ERRORS)
async def open_dialogue(user_id: UserId, ctx: Ctx, key: Operator) -> Dialogue:
    """Say that a person talks with the customer: what journeys have to say waits until the dialogue is closed.

    Said again, the time after which a forgotten dialogue ends by itself counts anew.
    """
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await locked(ctx, connection, user_id)
        now = (await customers.clock_of(connection, customer)).journey_time(datetime.now(UTC))
        row = await silences.open_dialogue(connection, customer, f"operator:{key.name}", now)
    return Dialogue.model_validate(dict(row))


@router.get(
    "/v1/customers/{user_id}/dialogue",
    responses={**_ERRORS, 204: {"description": "No dialogue is open."}},
    response_model=Dialogue,
)
async def read_dialogue(user_id: UserId, _: Reader, ctx: Ctx, db: Db) -> Dialogue | Response:
    """Tell whether a person is talking with the customer."""
    row = await silences.dialogue(db, await existing(ctx, db, user_id))
    return Dialogue.model_validate(dict(row)) if row else Response(status_code=204)


@router.delete("/v1/customers/{user_id}/dialogue", status_code=204, responses=_ERRORS)
async def close_dialogue(user_id: UserId, ctx: Ctx, _: Operator) -> None:
    """Say that the dialogue is over; what waited for that is sent within an hour. Saying it again is 204 as well."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await locked(ctx, connection, user_id)
        now = (await customers.clock_of(connection, customer)).journey_time(datetime.now(UTC))
        await silences.close_dialogue(connection, customer, now)
