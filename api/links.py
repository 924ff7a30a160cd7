"""Addresses in messages: tracked links, and unsubscribing with one click (RFC 8058). For people: answers are pages."""

import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from typing import Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.context import Context, Ctx
from api.problems import RETRY_AFTER_SECONDS
from api.progress import Report, move
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

_STYLE = (
    "body{margin:15vh auto;max-width:26rem;padding:0 1.5rem;font:1.125rem/1.5 system-ui,sans-serif;color:#1d2939}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#175cd3;color:#fff}"
)
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}

_TEXTS = {
    "en": {
        "ask": ("Unsubscribe?", "You will get no more letters from us at this address."),
        "button": "Unsubscribe",
        "done": ("You are unsubscribed", "No more letters will be sent to this address."),
        "unknown": ("There is nothing here", "The address is not complete, or is not valid any more."),
        "away": ("One moment, please", "We cannot answer right now. Try again in a few seconds."),
    },
    "ru": {
        "ask": ("Отписаться?", "Мы больше не будем писать вам на этот адрес."),
        "button": "Отписаться",
        "done": ("Вы отписаны", "На этот адрес больше не придёт ни одного письма."),
        "unknown": ("Здесь ничего нет", "Адрес неполон или уже не действует."),
        "away": ("Одну минуту", "Сейчас мы не можем ответить. Попробуйте ещё раз через несколько секунд."),
    },
}

_PAGES: dict[int | str, dict[str, Any]] = {200: {"description": "A page.", "content": {"text/html": {}}}}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"description": "Not an address of ours: a page.", "content": {"text/html": {}}},
    503: {"description": "PostgreSQL does not answer: a page, with Retry-After.", "content": {"text/html": {}}},
}


@router.head("/r/{token}", include_in_schema=False)
@router.get(
    "/r/{token}",
    status_code=302,
    response_class=RedirectResponse,
    responses={302: {"description": "To where the message pointed."}, **_MISSING},
)
async def follow_link(token: str, request: Request, ctx: Ctx) -> Response:
    """Follow a link of a message to where the message pointed, and nowhere else; the first time is kept as a click."""
    try:
        message, place = ctx.links.read_tracked(token)
        linked = await _linked(ctx, message)
    except BadToken:
        return _page(ctx.default_locale, "unknown", 404)
    except AWAY:
        return _away(ctx)
    if linked is None or place >= len(linked.links):
        return _page(linked.locale if linked else None, "unknown", 404)
    if _is_reader(request):
        try:
            await _record_click(ctx, message, place)
        except AWAY as error:
            # Whoever clicks wants to get there; the next click is counted.
            log.error("a click was not recorded", message=str(message), error=type(error).__name__)
    return RedirectResponse(linked.links[place], 302, headers={"Cache-Control": "no-store"})


@router.get("/u/{token}", response_class=HTMLResponse, responses={**_PAGES, **_MISSING})
async def ask_to_unsubscribe(token: str, ctx: Ctx) -> Response:
    """Show a page with a button. Changes nothing: scanners follow every link of a letter (RFC 8058, 3.1)."""
    return await _about_unsubscribing(ctx, token, "ask")


@router.post("/u/{token}", response_class=HTMLResponse, responses={**_PAGES, **_MISSING})
async def unsubscribe(token: str, ctx: Ctx) -> Response:
    """Unsubscribe the reader of a message, at once: the mail program's one click, or the page's button."""
    return await _about_unsubscribing(ctx, token, "done")


async def _about_unsubscribing(ctx: Context, token: str, page: str) -> Response:
    try:
        message = ctx.links.read_unsubscribe(token)
        linked = await _linked(ctx, message)
        if linked and page == "done":
            await _record_wish(ctx, message)
    except BadToken:
        linked = None
    except AWAY:
        return _away(ctx)
    if linked is None:
        return _page(ctx.default_locale, "unknown", 404)
    return _page(linked.locale or ctx.default_locale, page)


async def _linked(ctx: Context, message: UUID) -> Linked | None:
    async with ctx.pool.acquire() as connection:
        return await messages.linked(connection, message)


async def _record_click(ctx: Context, message: UUID, place: int) -> None:
    callback_id = f"{message}:{place}"
    async with ctx.pool.acquire() as connection, connection.transaction():
        about = await callbacks.subject(connection, message, tuple(Channel))
        if about and await callbacks.keep(connection, "link", callback_id, {}, message=message):
            await move(connection, message, Status.CLICKED, Report("link", callback_id, datetime.now(UTC)))


async def _record_wish(ctx: Context, message: UUID) -> None:
    async with ctx.pool.acquire() as connection, connection.transaction():
        about = await callbacks.subject(connection, message, tuple(Channel))
        if about and about.recipient:
            await messages.suppress(connection, about.channel, about.recipient, "unsubscribed", f"link:{message}")


def _is_reader(request: Request) -> bool:
    """Whether a person follows the link, as far as a request tells: not a prefetch, not a preview."""
    purpose = " ".join(request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return (
        request.method == "GET"
        and not re.search("prefetch|preview", purpose, re.IGNORECASE)
        and not ROBOTS.search(request.headers.get("user-agent", ""))
    )


def _away(ctx: Context) -> Response:
    page = _page(ctx.default_locale, "away", 503)
    page.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return page


def _page(locale: str | None, page: str, status: int = 200) -> Response:
    language = "ru" if (locale or "").lower().startswith("ru") else "en"
    texts = _TEXTS[language]
    title, text = (escape(each) for each in texts[page])
    button = f'<form method="post"><button>{texts["button"]}</button></form>' if page == "ask" else ""
    html = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1><p>{text}</p>{button}</main></body></html>"
    )
    return HTMLResponse(html, status, headers=_HEADERS)
