"""The personal-account inbox, pop-ups and banners, as the client's own site and app show them.

Whoever asks has a key, or the pass of the one customer (`api.visitors`), whose browser then needs nobody between.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.context import Context, Ctx, Db
from api.customers import TEXT, UserId, existing
from api.problems import Problem, documented
from api.visitors import AVisitor, Visitor
from dispatch.progress import Report, move
from domain.messages import DEFAULT_TOPIC, OWN, Channel, Status, Surface
from policy.configuration import Placement
from policy.contact import silences
from policy.showing import Candidate, impression, showable
from store import callbacks, contact, customers, inbox, messages, showing
from store.contact import Person, Question
from store.database import Connection

router = APIRouter(tags=["inbox"])


class InboxMessage(BaseModel):
    """A message in the inbox, or a pop-up or banner."""

    id: UUID
    placement: Literal[Channel.INBOX, Channel.POPUP, Channel.BANNER]
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


class Placed(BaseModel):
    """A pop-up or banner that is to be shown now."""

    id: UUID
    title: str = Field(examples=["You can spend 40,000 more"])
    body: str
    link: str | None = Field(description="A tracked address: following it counts as a click.")
    button: str | None = Field(description="What the link is called; None: as the site calls links.")
    delivered_at: datetime
    expires_at: datetime | None = Field(description="Wall time after which it is not to be shown any more.")
    impression: UUID = Field(description="The id of this showing: give it back when it was shown.")


class Placements(BaseModel):
    """What is to be shown now."""

    popup: Placed | None = Field(description="One at a time, as often as the policy's `showing` allows.")
    may_stay: list[UUID] = Field(
        description="Pop-ups that stay if they are on the screen: neither clicked, nor dismissed, nor over."
    )
    banners: list[Placed] = Field(description="The most important first; a page shows as many as it has room for.")


class Deed(StrEnum):
    """What a customer did with a message."""

    SEEN = "seen"
    CLICKED = "clicked"
    DISMISSED = "dismissed"


class Whose(BaseModel):
    """Whose inbox it is: nobody changes another one's message."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(min_length=1, max_length=255, pattern=TEXT, examples=["client-4711"])


class Shown(Whose):
    """That a pop-up or banner was shown."""

    impression: UUID = Field(description="As it was given with what was shown.")
    surface: Surface


_ERRORS = documented(401, 403, 404, 410, 422, 503)

OnSurface = Annotated[Surface, Query(description="Where it is to be shown.")]


@router.get("/v1/customers/{user_id}/inbox", responses=_ERRORS)
async def read_inbox(
    user_id: UserId,
    visitor: AVisitor,
    ctx: Ctx,
    db: Db,
    before: Annotated[UUID | None, Query(description="Only what is older than this message.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Inbox:
    """List a customer's inbox, the newest first."""
    customer = await visited(ctx, db, visitor, user_id)
    rows = await inbox.page(db, customer, before, limit + 1)
    shown = [as_message(row) for row in rows[:limit]]
    return Inbox(
        messages=shown,
        unseen=await inbox.unseen(db, customer),
        next=shown[-1].id if len(rows) > limit else None,
    )


# Before the deeds, of which it would be none.
@router.post("/v1/inbox/{message_id}/impressions", responses={**_ERRORS, **documented(409)})
async def report_shown(message_id: Annotated[UUID, Path()], body: Shown, visitor: AVisitor, ctx: Ctx) -> InboxMessage:
    """Tell that a pop-up or banner was shown. Telling the same showing again changes nothing.

    The first showing makes the message `read`. Of pop-ups every showing counts for how often they may be shown.
    """
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await _theirs(ctx, connection, visitor, message_id, body.user_id)
        number = await showing.times_shown(connection, message_id) + 1
        if body.impression == impression(message_id, number):
            now = datetime.now(UTC)
            clock = await customers.clock_of(connection, customer)
            await showing.shown(connection, message_id, number, body.surface, clock.journey_time(now))
            report = Report("inbox", f"{message_id}:shown:{number}", now)
            await move(connection, message_id, Status.READ, report)
        elif body.impression not in (impression(message_id, before) for before in range(1, number)):
            raise Problem(409, "unknown_impression", "impression: must be the one given with what is to be shown now")
        return as_message(await inbox.find(connection, customer, message_id))


@router.post("/v1/inbox/{message_id}/{deed}", responses=_ERRORS)
async def report_deed(
    message_id: Annotated[UUID, Path()], deed: Deed, body: Whose, visitor: AVisitor, ctx: Ctx
) -> InboxMessage:
    """Tell that a customer saw, clicked or dismissed a message. Telling it again changes nothing."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = await _theirs(ctx, connection, visitor, message_id, body.user_id)
        callback_id, now = f"{message_id}:{deed}", datetime.now(UTC)
        if await callbacks.keep(connection, "inbox", callback_id, {}, message=message_id):
            status = Status.CLICKED if deed is Deed.CLICKED else Status.READ
            await move(connection, message_id, status, Report("inbox", callback_id, now))
            if deed is Deed.DISMISSED:
                await messages.dismiss(connection, message_id, now)
        return as_message(await inbox.find(connection, customer, message_id))


@router.get("/v1/customers/{user_id}/placements", responses=_ERRORS)
async def read_placements(user_id: UserId, surface: OnSurface, visitor: AVisitor, ctx: Ctx, db: Db) -> Placements:
    """Return the pop-up and the banners to show to a customer now.

    Ask before each showing: which pop-up, and whether one, depends on what was shown, clicked and dismissed before,
    and on whether its journey has come to its goal since. Asking shows nothing; `shown` does.
    """
    return await placements(ctx, db, await visited(ctx, db, visitor, user_id), surface)


async def placements(ctx: Context, connection: Connection, customer: int, surface: Surface) -> Placements:
    """Return what is to be shown to a customer now."""
    clock = await customers.clock_of(connection, customer)
    now = clock.journey_time(datetime.now(UTC))
    person = await contact.person(connection, customer)

    async def waiting(placement: Placement) -> list[Candidate]:
        found = await showing.candidates(connection, customer, placement, surface, now)
        return [each for each in found if not await _silenced(ctx, connection, person, placement, each, now)]

    async def allowed(placement: Placement, found: list[Candidate]) -> list[Placed]:
        rule = ctx.policy.showing[placement]
        lately = 0
        if rule.at_most is not None:
            lately = await showing.shown_since(connection, customer, placement, now - rule.within)
        return [
            _placed(each, clock.wall_time(each.expires_at) if each.expires_at else None)
            for each in showable(rule, found, lately)
        ]

    popups = await waiting(Channel.POPUP)
    return Placements(
        popup=next(iter(await allowed(Channel.POPUP, popups)), None),
        may_stay=[each.message for each in popups],
        banners=await allowed(Channel.BANNER, await waiting(Channel.BANNER)),
    )


async def _silenced(
    ctx: Context, connection: Connection, person: Person, placement: Placement, waits: Candidate, now: datetime
) -> bool:
    """Whether something has come since it was sent, such as a withdrawn consent, by which it is not to be shown."""
    journey = ctx.catalog.journeys.get(waits.journey)
    question = Question(
        message=waits.message,
        now=now,
        channel=placement,
        message_class=waits.message_class,
        expires_at=waits.expires_at,
        journey=waits.journey,
        topic=waits.topic or (journey.topic if journey else DEFAULT_TOPIC),
        priority=0,
        gives_way=False,
    )
    zone = ctx.deployment.default_time_zone
    return silences(ctx.policy, await contact.facts(connection, ctx.policy, person, question, zone))


async def visited(ctx: Context, connection: Connection, visitor: Visitor, user_id: str) -> int:
    """Return our number of a customer whom the caller may see.

    Raises:
        Problem: 404; 410 if they were erased; 403 if the caller has another one's pass.
    """
    return visitor.may_see(await existing(ctx, connection, user_id))


async def _theirs(ctx: Context, connection: Connection, visitor: Visitor, message: UUID, user_id: str) -> int:
    """Lock the customer whose message it is, and return our number of them."""
    await callbacks.subject(connection, message, tuple(OWN))
    customer = await visited(ctx, connection, visitor, user_id)
    if await inbox.find(connection, customer, message) is None:
        raise Problem(404, "not_found", "there is no such message in this customer's inbox")
    return customer


def _placed(found: Candidate, expires_at: datetime | None) -> Placed:
    given = {name: found.content.get(name) for name in ("title", "body", "link", "button")}
    return Placed.model_validate(
        {
            **given,
            "id": found.message,
            "delivered_at": found.delivered_at,
            "expires_at": expires_at,
            "impression": found.impression,
        }
    )


def as_message(row: Any) -> InboxMessage:
    """Return a message as it is listed."""
    content = row["content"]
    return InboxMessage(**{**row, **{name: content.get(name) for name in ("title", "body", "link")}})
