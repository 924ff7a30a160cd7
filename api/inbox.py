"""The personal-account inbox: the client's own site lists a customer's messages and tells what they did with them."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.context import Ctx, Db, InboxReader
from api.customers import TEXT, UserId, existing
from api.problems import Problem, documented
from dispatch.progress import Report, move
from domain.messages import Channel, Status
from store import callbacks, inbox, messages

router = APIRouter(tags=["inbox"])


class InboxMessage(BaseModel):
    """A message in the inbox."""

    id: UUID
    title: str = Field(examples=["Your application is waiting"])
    body: str
    link: str | None = Field(description="A tracked address: following it counts as a click.")
    delivered_at: datetime
    seen_at: datetime | None
    clicked_at: datetime | None
    dismissed_at: datetime | None


class Inbox(BaseModel):
    """Messages of an inbox, the newest first."""

    messages: list[InboxMessage]
    unseen: int = Field(description="How many in all are neither seen nor dismissed.")
    next: UUID | None = Field(description="Give it as `before` for what is older; None at the end.")


class Deed(StrEnum):
    """What a customer did with a message."""

    SEEN = "seen"
    CLICKED = "clicked"
    DISMISSED = "dismissed"


class Whose(BaseModel):
    """Whose inbox it is: nobody changes another one's message."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=255, pattern=TEXT, examples=["client-4711"])


_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.get("/v1/customers/{user_id}/inbox", responses=_ERRORS)
async def read_inbox(
    user_id: UserId,
    _: InboxReader,
    ctx: Ctx,
    db: Db,
    before: Annotated[UUID | None, Query(description="Only what is older than this message.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Inbox:
    """List a customer's inbox, the newest first."""
    customer = await existing(ctx, db, user_id)
    rows = await inbox.page(db, customer, before, limit + 1)
    shown = [_message(row) for row in rows[:limit]]
    return Inbox(
        messages=shown,
        unseen=await inbox.unseen(db, customer),
        next=shown[-1].id if len(rows) > limit else None,
    )


@router.post("/v1/inbox/{message_id}/{deed}", responses=_ERRORS)
async def report_deed(
    message_id: Annotated[UUID, Path()], deed: Deed, body: Whose, _: InboxReader, ctx: Ctx
) -> InboxMessage:
    """Tell that a customer saw, clicked or dismissed a message. Telling it again changes nothing."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        await callbacks.subject(connection, message_id, (Channel.INBOX,))
        customer = await existing(ctx, connection, body.user_id)
        if await inbox.find(connection, customer, message_id) is None:
            raise Problem(404, "not_found", "there is no such message in this customer's inbox")
        callback_id, now = f"{message_id}:{deed}", datetime.now(UTC)
        if await callbacks.keep(connection, "inbox", callback_id, {}, message=message_id):
            status = Status.CLICKED if deed is Deed.CLICKED else Status.READ
            await move(connection, message_id, status, Report("inbox", callback_id, now))
            if deed is Deed.DISMISSED:
                await messages.dismiss(connection, message_id, now)
        return _message(await inbox.find(connection, customer, message_id))


def _message(row: Any) -> InboxMessage:
    content = row["content"]
    return InboxMessage(**{**row, **{name: content.get(name) for name in ("title", "body", "link")}})
