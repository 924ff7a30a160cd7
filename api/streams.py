"""What a customer's page is told live: new messages, and what is to be shown now (server-sent events)."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import orjson
import structlog
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from api.context import Context, Ctx
from api.customers import UserId, existing
from api.inbox import as_message, placements
from api.problems import documented
from api.visitors import AWatcher, Visitor, later
from domain.messages import Surface
from store import inbox, showing
from store.database import AWAY

log = structlog.get_logger()
router = APIRouter(tags=["inbox"])

HEARTBEAT = 15.0
"""Wall seconds after which something is written into a quiet stream, so that nobody between takes it for dead."""

LOOK_EVERY = 60.0
"""Wall seconds after which a stream looks again without news: something may be over, or be shown again."""

RETRY_MILLISECONDS = 3000
AT_ONCE = 100

_AN_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["ready", "message", "placements", "over"]},
        "id": {"type": "string", "description": "A place among the customer's messages, for `Last-Event-ID`."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "Of `message` what the inbox lists, of `placements` what `GET …/placements` returns.",
        },
    },
}

_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.get(
    "/v1/customers/{user_id}/inbox/live",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "`ready` at first, then `message` for each new one of the inbox, `placements` whenever what "
            "is to be shown changes, `over` when the pass is; a comment every 15 seconds.",
            "content": {
                "text/event-stream": {
                    "schema": _AN_EVENT,
                    "example": 'id: 42\nevent: message\ndata: {"id": "0b9d7a4e-3f52-5c1e-9d2f-1f0e6a7b8c9d"}\n\n',
                }
            },
        },
        **_ERRORS,
    },
)
async def watch_inbox(
    user_id: UserId,
    caller: AWatcher,
    ctx: Ctx,
    surface: Annotated[Surface, Query(description="Where placements are to be shown.")],
    last_event_id: Annotated[str, Header(max_length=20, pattern=r"^\d*$", description="To go on after it.")] = "",
) -> StreamingResponse:
    """Hear of new messages at once (server-sent events, as `EventSource` reads them).

    On `ready`, list the inbox: what comes afterwards is told. A browser that was cut off comes back by itself, with
    `Last-Event-ID`, and is told what it missed. A process holds at most 2,000 streams for a key, 6 for a customer;
    it ends them when it stops.
    """
    async with ctx.pool.acquire() as connection:
        customer = caller.may_see(await existing(ctx, connection, user_id))
        newest = await showing.place(connection, customer)
    after = min(int(last_event_id), newest or 0) if last_event_id else newest or 0
    if not ctx.live.has_room(customer, caller.key):
        raise later("too_many_streams", "there are too many streams already", 5)
    stream = _Stream(ctx, customer, surface, after, caller)
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(stream.events(), media_type="text/event-stream", headers=headers)


class _Stream:
    """One customer watched by one page."""

    def __init__(self, ctx: Context, customer: int, surface: Surface, after: int, caller: Visitor) -> None:
        self._ctx = ctx
        self._customer = customer
        self._surface = surface
        self._after = after
        self._until = caller.held.until if caller.held else None
        self._key = caller.key

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what is written."""
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS
        yield _event("ready", b"{}", self._after)
        try:
            with self._ctx.live.watching(self._customer, self._key) as news:
                async for written in self._told(news):
                    yield written
        except (*AWAY, _Gone) as error:
            # The browser comes back, and is told what it missed, or that there is nobody any more.
            log.info("a stream ended", customer=self._customer, error=type(error).__name__)

    async def _told(self, news: asyncio.Event) -> AsyncIterator[bytes]:
        shown = b""
        while True:
            news.clear()
            async for written in self._missed():
                yield written
            placed = await self._placed()
            if placed != shown:
                yield _event("placements", placed)
                shown = placed
            if self._ctx.live.closing:
                return
            async for written in self._quiet(news):
                yield written
            if self._until and datetime.now(UTC) >= self._until:
                yield _event("over", b"{}")
                return

    async def _missed(self) -> AsyncIterator[bytes]:
        """Yield the messages that have come since the last."""
        while True:
            async with self._ctx.pool.acquire() as connection:
                if await showing.place(connection, self._customer) is None:
                    raise _Gone
                rows = await inbox.after(connection, self._customer, self._after, AT_ONCE)
            for row in rows:
                self._after = row["sequence"]
                yield _event("message", as_message(row).model_dump_json().encode(), self._after)
            if len(rows) < AT_ONCE:
                return

    async def _placed(self) -> bytes:
        async with self._ctx.pool.acquire() as connection:
            found = await placements(self._ctx, connection, self._customer, self._surface)
        return orjson.dumps(found.model_dump(mode="json"))

    async def _quiet(self, news: asyncio.Event) -> AsyncIterator[bytes]:
        """Wait for news, or until it is time to look again; yield a sign of life now and then."""
        ends = time.monotonic() + LOOK_EVERY
        if self._until:
            ends = min(ends, time.monotonic() + (self._until - datetime.now(UTC)).total_seconds())
        while (left := ends - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left, HEARTBEAT)):
                    await news.wait()
                return
            except TimeoutError:
                yield b": still here\n\n"


class _Gone(Exception):
    """The customer was merged with another one, or erased."""


def _event(name: str, data: bytes, id: int | None = None) -> bytes:
    head = b"id: %d\n" % id if id is not None else b""
    return head + b"event: %s\ndata: %s\n\n" % (name.encode(), data)
