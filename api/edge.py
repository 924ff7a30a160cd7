"""The outermost layer: what every request must keep to before anything looks at it, and what every answer carries."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import orjson
import structlog
from fastapi import Request, params
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import auditing
from api.codec import PAYLOADS_LIMIT
from api.problems import Problem, answer, operation_of
from api.segment import BATCH_LIMIT
from api.webhooks import LARGE

log = structlog.get_logger()

BODY_LIMIT = 64 * 1024
"""Bytes of a body, unless its operation is among `LARGER`."""

LARGER = {
    "/v1/batch": BATCH_LIMIT,
    "/webhooks/sendgrid": LARGE,
    "/codec/encode": PAYLOADS_LIMIT,
    "/codec/decode": PAYLOADS_LIMIT,
}
"""Operations that take more bytes."""

BODY_WITHIN = 20.0
"""Wall seconds within which a body must have arrived."""

DEPTH_LIMIT = 32
"""How deep JSON may be nested; events themselves are held to less."""

# A text, which may have no end, is gone through once: what it is made of is never tried in another way.
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # No answer is a page, unless it says so itself.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_FORMS = ["application/x-www-form-urlencoded", "multipart/form-data"]
_ONLY_HTTPS = "max-age=31536000"


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        """Args:
        https: Whether browsers reach the API by https, and are never to try anything else.
        """
        self._app = app
        self._headers = {**_HEADERS, **({"Strict-Transport-Security": _ONLY_HTTPS} if https else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                await auditing.answered(scope, message["status"])
            await send(message)

        try:
            limit = LARGER.get(scope["path"], BODY_LIMIT)
            _check_length(Headers(scope=scope), limit)
            await self._app(scope, _Body(scope, receive, limit).receive, sending)
        except Problem as refused:
            await answer(refused)(scope, receive, sending)
        except ClientDisconnect:
            log.info("request broken off", route=operation_of(scope))
        except Exception:
            log.exception("request failed", method=scope["method"], route=operation_of(scope))
            if started:
                raise
            problem = Problem(500, "internal_error", "something is wrong here; it has been noted")
            await answer(problem)(scope, receive, sending)


async def documented_body(request: Request) -> None:
    """A dependency of every operation: a body comes as the OpenAPI document says, or as nothing in particular.

    Raises:
        Problem: 415, with what would be taken (RFC 9110, 15.5.16).
    """
    route: APIRoute = request.scope["route"]
    extra = route.openapi_extra or {}
    encodings = [
        encoding
        for parameter in extra.get("parameters", ())
        if parameter["name"] == "Content-Encoding"
        for encoding in parameter["schema"]["enum"]
    ]
    encoding = request.headers.get("content-encoding", "").lower()
    if encoding not in ("", "identity", *encodings):
        raise Problem(
            415,
            "unsupported_encoding",
            f"the body's Content-Encoding must be {' or '.join(encodings) or 'left out'}",
            headers={"Accept-Encoding": ", ".join(encodings) or "identity"},
        )
    types = list(extra.get("requestBody", {}).get("content", {}))
    if route.body_field:
        types += _FORMS if _is_form(route) else ["application/json"]
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if types and given and given not in types:
        raise Problem(415, "unsupported_type", f"the body's Content-Type must be {' or '.join(types)}")


class _Body:
    """Hands a request's body on as it comes, as long as it keeps to its limits."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._limit = limit
        self._deadline = time.monotonic() + BODY_WITHIN
        self._size = 0
        self._kept = bytearray()
        self._is_complete = False

    async def receive(self) -> Message:
        """Return the next message of the request.

        Raises:
            Problem: 413, 408; 400 for JSON that is nested too deep, or is none.
        """
        if self._is_complete:
            return await self._receive()
        message = await _within(self._deadline, self._receive)
        if message["type"] == "http.request":
            part = message.get("body", b"")
            self._size += len(part)
            if self._size > self._limit:
                raise _too_large(self._limit)
            self._is_complete = not message.get("more_body", False)
            # Operations that read their bodies themselves also look at them themselves.
            route = self._scope.get("route")
            if isinstance(route, APIRoute) and route.body_field and not _is_form(route):
                self._kept += part
                if self._is_complete:
                    _check_json(bytes(self._kept))
        return message


def _is_form(route: APIRoute) -> bool:
    return route.body_field is not None and isinstance(route.body_field.field_info, params.Form)


def _check_length(headers: Headers, limit: int) -> None:
    """Refuse a body that is announced as too large before any of it has come."""
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)


async def _within(deadline: float, receive: Callable[[], Awaitable[Message]]) -> Message:
    try:
        async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
            return await receive()
    except TimeoutError:
        raise Problem(
            408,
            "too_slow",
            f"the body must arrive within {BODY_WITHIN:g} seconds",
            headers={"Connection": "close"},
        ) from None


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"the body must not be larger than {limit // 1024} kB")


def _check_json(body: bytes) -> None:
    """Let nothing pass that is more than JSON: Python's own reader takes NaN, and halves of surrogate pairs."""
    if _depth(body) > DEPTH_LIMIT:
        raise Problem(400, "invalid_body", f"the body must not be nested deeper than {DEPTH_LIMIT} levels")
    try:
        orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        raise Problem(400, "invalid_body", "the body must be JSON in UTF-8") from None


def _depth(body: bytes) -> int:
    """Return how deep JSON is nested, without reading it."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(body):
        if match[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif match[2]:
            depth -= 1
    return deepest
