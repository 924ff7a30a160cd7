"""Tracked links in messages: they lead where the message pointed, and nowhere else. For people: answers are pages."""

import re
from datetime import UTC, datetime
from uuid import UUID

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from api.context import Context, Ctx
from api.pages import MISSING, Pages
from dispatch.progress import Report, move
from domain.links import BadToken
from domain.messages import Channel, Status
from store import callbacks, messages
from store.database import AWAY
from store.messages import Linked

log = structlog.get_logger()
router = APIRouter(tags=["links"])

# Robots that fetch a link to preview or to check it, before or instead of the reader.
ROBOTS = re.compile(
    r"facebookexternalhit|facebot|whatsapp/|telegrambot|twitterbot|slackbot|linkedinbot|discordbot"
    r"|skypeuripreview|bingpreview|bingbot|googlebot|yandexbot|vkshare",
    re.IGNORECASE,
)


@router.head("/r/{token}", include_in_schema=False)
@router.get(
    "/r/{token}",
    status_code=302,
    response_class=RedirectResponse,
    responses={302: {"description": "To where the message pointed."}, **MISSING},
)
async def follow_link(token: str, request: Request, ctx: Ctx) -> Response:
    """Follow a link of a message to where the message pointed, and nowhere else; the first time is kept as a click."""
    try:
        message, place = ctx.links.read_tracked(token)
        linked = await _linked(ctx, message)
    except BadToken:
        return _pages(ctx).unknown()
    except AWAY:
        return _pages(ctx).away()
    if linked is None or place >= len(linked.links):
        return _pages(ctx, linked).unknown()
    if _is_reader(request):
        try:
            await _record_click(ctx, message, place)
        except AWAY as error:
            # Whoever clicks wants to get there; the next click is counted.
            log.error("a click was not recorded", message=str(message), error=type(error).__name__)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
    return RedirectResponse(linked.links[place], 302, headers=headers)


async def _linked(ctx: Context, message: UUID) -> Linked | None:
    async with ctx.pool.acquire() as connection:
        return await messages.linked(connection, message)


async def _record_click(ctx: Context, message: UUID, place: int) -> None:
    callback_id = f"{message}:{place}"
    async with ctx.pool.acquire() as connection, connection.transaction():
        about = await callbacks.subject(connection, message, tuple(Channel))
        if about is None:
            return
        await callbacks.clicked(connection, message, place)
        if await callbacks.keep(connection, "link", callback_id, {}, message=message):
            await move(connection, message, Status.CLICKED, Report("link", callback_id, datetime.now(UTC)))


def _is_reader(request: Request) -> bool:
    """Whether a person follows the link, as far as a request tells: not a prefetch, not a preview."""
    purpose = " ".join(request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return (
        request.method == "GET"
        and not re.search("prefetch|preview", purpose, re.IGNORECASE)
        and not ROBOTS.search(request.headers.get("user-agent", ""))
    )


def _pages(ctx: Context, linked: Linked | None = None) -> Pages:
    return Pages.of(ctx.deployment.company, (linked.locale if linked else None) or ctx.default_locale)
