"""Conversations, for the operators' tool: read them, answer, open and close them."""

from typing import Annotated, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api.context import Ctx, Db, allowed
from api.customers import locked
from api.problems import Problem, documented
from dispatch.conversations import hurry
from domain.conversations import WINDOW, Conversation, Errand, Notice, Reason
from domain.messages import Channel
from store import contact, conversations, customers
from store.conversations import Opened
from store.database import Connection
from store.keys import Key, Scope
from templates.limits import WHATSAPP_BODY

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])

Talker = Annotated[Key, Depends(allowed(Scope.CONVERSE, Scope.OPERATE))]
Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="The conversation's number.")]

_ERRORS = documented(401, 403, 404, 422, 503)


class Page(BaseModel):
    """Conversations, the newest first."""

    conversations: list[Conversation]
    next_before: int | None = Field(description="The `before` of the next page; null on the last.")


class NewConversation(BaseModel):
    """A conversation a person of ours begins."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=255, examples=["client-4711"])
    channel: Literal[Channel.WHATSAPP, Channel.SMS] = Channel.WHATSAPP


class NewAnswer(BaseModel):
    """What an operator answers."""

    model_config = ConfigDict(extra="forbid")

    id: UUID = Field(description="The tool's own id of it: asked again under the same id, it is not sent again.")
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=WHATSAPP_BODY)] = Field(
        examples=["Good afternoon! Tomorrow at eleven is free. Shall I put you down?"]
    )


class Answered(BaseModel):
    """An answer on its way. What becomes of it is told in the conversation, at its message."""

    message: UUID
    at: AwareDatetime


@router.get("", responses=_ERRORS)
async def list_conversations(
    _: Talker,
    db: Db,
    open: Annotated[bool, Query(description="Only those that are open.")] = True,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page:
    """List conversations with their context."""
    numbers = await conversations.listed(db, open_only=open, before=before, limit=limit + 1)
    found = [await conversations.read(db, number) for number in numbers[:limit]]
    return Page(
        conversations=[each for each in found if each],
        next_before=numbers[limit - 1] if len(numbers) > limit else None,
    )


@router.get("/{number}", responses=_ERRORS)
async def read_conversation(number: Number, _: Talker, db: Db) -> Conversation:
    """Read one: what was written on both sides, what the customer did lately, until when it can be answered."""
    return await _told(db, number)


@router.post(
    "",
    status_code=201,
    responses={**documented(401, 403, 404, 409, 410, 422, 503), 200: {"description": "It is open already."}},
)
async def open_conversation(
    body: NewConversation, ctx: Ctx, key: Talker, response: Response, background: BackgroundTasks
) -> Conversation:
    """Begin to talk with a customer: no journey writes to them meanwhile. One that is open is returned."""
    by = f"operator:{key.name}"
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await locked(ctx, connection, body.user_id)
        address = (await contact.person(connection, customer)).address(body.channel)
        if address is None:
            raise Problem(409, "no_address", f"the customer has no number to be reached at by {body.channel}")
        opened = await conversations.under_way(connection, customer, body.channel)
        if opened:
            response.status_code = 200
        else:
            opened = await conversations.begin(
                connection,
                customer,
                body.channel,
                address,
                Reason.OPERATOR,
                by=by,
                source_id=str(uuid4()),
            )
            await conversations.notify(connection, opened.id, Notice.OPENED)
        await conversations.alert(connection, opened, by)
        told = await _told(connection, opened.id)
    background.add_task(hurry, ctx.temporal, opened.id, Errand.TELL)
    return told


@router.post("/{number}/answers", status_code=202, responses=documented(401, 403, 404, 409, 422, 503))
async def answer_conversation(
    number: Number, body: NewAnswer, ctx: Ctx, key: Talker, background: BackgroundTasks
) -> Answered:
    """Answer the customer. It leaves once, and not after a STOP; outside the provider's window it is refused.

    409 says why: `closed`, `window_closed` (WhatsApp takes free text within 24 hours of the customer's last message),
    `suppressed`, `blocked`.
    """
    async with ctx.pool.acquire() as connection, connection.transaction():
        opened = await _locked(connection, number)
        if opened.closed_at is not None:
            raise Problem(409, "closed", "the conversation is closed; open one to write again")
        await _refuse_what_cannot_leave(connection, opened)
        by = f"operator:{key.name}"
        answer = await conversations.answer(connection, opened, by, body.text, body.id)
        await conversations.alert(connection, opened, by)
    background.add_task(hurry, ctx.temporal, number, Errand.ANSWER)
    return Answered(message=answer.message, at=answer.at)


@router.post("/{number}/close", responses=_ERRORS)
async def close_conversation(number: Number, ctx: Ctx, key: Talker, background: BackgroundTasks) -> Conversation:
    """Say that it is over: journeys may write again. Saying it again changes nothing."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        opened = await _locked(connection, number)
        if await conversations.close(connection, opened, f"operator:{key.name}"):
            await conversations.notify(connection, number, Notice.CLOSED)
        told = await _told(connection, number)
    background.add_task(hurry, ctx.temporal, number, Errand.TELL)
    return told


async def _told(connection: Connection, number: int) -> Conversation:
    found = await conversations.read(connection, number)
    if found is None:
        raise Problem(404, "not_found", "there is no such conversation")
    return found


async def _locked(connection: Connection, number: int) -> Opened:
    while True:
        opened = await conversations.find(connection, number)
        if opened is None or opened.address is None:
            raise Problem(404, "not_found", "there is no such conversation")
        if opened.customer not in await customers.lock(connection, [opened.customer]):
            # Read again, now that nobody else can change it.
            return await conversations.find(connection, number) or opened


async def _refuse_what_cannot_leave(connection: Connection, opened: Opened) -> None:
    now = await connection.fetchval("select now()")
    until = await conversations.answer_until(connection, opened)
    if opened.channel is Channel.WHATSAPP and (until is None or now > until):
        when = f"the last came {until - WINDOW:%d %b %H:%M} UTC" if until else "none has come"
        raise Problem(
            409,
            "window_closed",
            f"WhatsApp takes free text within 24 hours of the customer's last message, and {when}; "
            "a journey's or a campaign's approved template can still reach them",
        )
    suppression, block = await conversations.obstacles(connection, opened)
    if suppression:
        raise Problem(409, "suppressed", f"nothing is sent to this number by {opened.channel}: {suppression}")
    if block:
        raise Problem(409, "blocked", f"the customer hears nothing until {block[1]:%d %b %H:%M} UTC: {block[0]}")
