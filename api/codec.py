"""Temporal's codec server: shows operators, in Temporal's own interface and commands, what payload keys have encrypted.

The protocol is Temporal's: payloads as protobuf's JSON to ``…/encode`` and ``…/decode``. The commands send a key with
the scope `decode` (``--codec-auth 'Bearer …'``). The interface can send nothing but cookies, so a page takes such a key
and gives the browser a session: a cookie for these addresses only, never sent from another site.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import APIRouter, Cookie, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials
from google.protobuf import json_format
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payload, Payloads

from api import auditing
from api.context import BEARER, Context, Ctx, recognised
from api.pages import MISSING, PAGE, Pages
from api.problems import Problem, documented
from api.signatures import raw_body
from dispatch.codec import Encryption, PayloadUnreadable
from store import keys
from store.keys import Key

router = APIRouter(tags=["payloads"])

PATH = "/codec"

PAYLOADS_LIMIT = 8 * 1024 * 1024
"""Bytes of payloads: more than Temporal hands out at once (4 MB), in base64."""

COOKIE = "codec_session"
SESSION = timedelta(hours=12)
"""Wall time for which a browser decodes without asking for the key again."""

_SEALED_FOR = b"codec session"
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Sessions:
    """Seals keys into cookies: a stolen cookie opens nothing but the codec, and that not for long."""

    secret: bytes

    def open(self, token: str, now: datetime) -> str:
        """Return the cookie of a session that begins now (wall time)."""
        sealed = orjson.dumps([token, (now + SESSION).timestamp()])
        nonce = token_bytes(_NONCE_BYTES)
        return (nonce + self._cipher.encrypt(nonce, sealed, _SEALED_FOR)).hex()

    def token_in(self, cookie: str, now: datetime) -> str | None:
        """Return the key's token of a session that has not ended now (wall time)."""
        try:
            raw = bytes.fromhex(cookie)
            token, until = orjson.loads(self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _SEALED_FOR))
        except (ValueError, InvalidTag):
            return None
        return str(token) if now.timestamp() < until else None

    @property
    def _cipher(self) -> AESGCM:
        return AESGCM(hmac.digest(self.secret, _SEALED_FOR, sha256))


class Cors:
    """ASGI middleware: lets the pages of Temporal's interface, and no others, read what the codec answers."""

    def __init__(self, app: ASGIApp, *, ui_url: str) -> None:
        self._app = app
        self._codec = CORSMiddleware(
            app,
            allow_origins=[origin_of(ui_url)],
            allow_credentials=True,
            allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Type", "X-Namespace"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"].startswith(f"{PATH}/")
        await (self._codec if asked else self._app)(scope, receive, send)


def origin_of(url: str) -> str:
    """Return the origin of an address (RFC 6454)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _codec(ctx: Ctx) -> Encryption:
    codec = ctx.temporal.data_converter.payload_codec
    if not isinstance(codec, Encryption):
        raise Problem(404, "not_encrypted", "payloads are not encrypted here: JOURNEYS_PAYLOAD_KEYS is not set")
    return codec


async def _decoder(
    request: Request,
    ctx: Ctx,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    session: Annotated[str | None, Cookie(alias=COOKIE, include_in_schema=False)] = None,
) -> Key:
    """The key of whoever may read payloads, from a bearer token or from a browser's session.

    Raises:
        Problem: 401 without a valid key, 403 without the scope or for a session from a foreign page.
    """
    if given:
        token: str | None = given.credentials
    elif session and ctx.settings.ui_url and request.headers.get("origin") == origin_of(str(ctx.settings.ui_url)):
        token = _sessions(ctx).token_in(session, datetime.now(UTC))
    else:
        token = None
    key = await recognised(request, ctx, token or "")
    if key is None:
        raise Problem(
            401,
            "unauthorized",
            f"a valid key is required, as a bearer token, or by way of {ctx.settings.base}{PATH}",
            headers={"WWW-Authenticate": "Bearer"},
        )
    await auditing.enter(request, key)
    if keys.Scope.DECODE not in key.scopes:
        raise Problem(403, "forbidden", "the key lacks the scope decode")
    return key


Codec = Annotated[Encryption, Depends(_codec)]
Decoder = Annotated[Key, Depends(_decoder)]

_PAYLOADS: dict[str, Any] = {
    "type": "object",
    "description": "A `temporal.api.common.v1.Payloads`, as protobuf's JSON.",
    "properties": {
        "payloads": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "metadata": {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
                    "data": {"type": "string", "format": "byte"},
                },
            },
        }
    },
}
_PLAIN = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "NDI="}]}
_PROTOCOL: dict[str, Any] = {
    "responses": {
        200: {"description": "The payloads, in their order.", "content": {"application/json": {"schema": _PAYLOADS}}},
        **documented(400, 401, 403, 404, 413, 503),
    },
    "openapi_extra": {
        "requestBody": {"required": True, "content": {"application/json": {"schema": _PAYLOADS, "example": _PLAIN}}}
    },
    "response_class": Response,
}


@router.post(f"{PATH}/encode", **_PROTOCOL)
async def encode_payloads(request: Request, codec: Codec, _: Decoder) -> Response:
    """Encrypt payloads with the newest key, for inputs given in Temporal's interface or commands."""
    return await _converted(request, codec.encode)


@router.post(f"{PATH}/decode", **_PROTOCOL)
async def decode_payloads(request: Request, codec: Codec, _: Decoder) -> Response:
    """Decrypt payloads. What no key is known for stays as it is, and so does what was never encrypted."""

    async def decoded(payloads: Sequence[Payload]) -> list[Payload]:
        return [(await codec.decode([each]))[0] if codec.knows_key_of(each) else each for each in payloads]

    return await _converted(request, decoded)


async def _converted(request: Request, convert: Callable[[Sequence[Payload]], Awaitable[list[Payload]]]) -> Response:
    try:
        given = json_format.Parse(await raw_body(request, PAYLOADS_LIMIT), Payloads())
        payloads = Payloads(payloads=await convert(given.payloads))
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "invalid_payloads", "the body must be payloads as protobuf's JSON") from None
    except PayloadUnreadable as error:
        raise Problem(400, "invalid_payloads", str(error)) from None
    return Response(json_format.MessageToJson(payloads, indent=None), media_type="application/json")


@router.get(PATH, response_class=Response, responses={**PAGE, **MISSING})
async def show_session(ctx: Ctx, _: Codec, session: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Response:
    """Show whether this browser may decode, and ask for the key that lets it."""
    return _page(ctx, decodes=bool(session and _sessions(ctx).token_in(session, datetime.now(UTC))))


@router.post(
    PATH,
    status_code=303,
    response_class=Response,
    responses={
        303: {"description": "Back to the page, with or without a session."},
        403: {
            "description": "The key opens nothing here, or the form is not ours: a page.",
            "content": {"text/html": {}},
        },
        **MISSING,
    },
)
async def change_session(
    request: Request,
    ctx: Ctx,
    _: Codec,
    key: Annotated[
        str, Form(max_length=300, description="A key with the scope `decode`; empty ends the session.")
    ] = "",
) -> Response:
    """Begin a session with a key, or end the one there is."""
    # Our own pages keep their address to themselves, so their forms come without an origin.
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return _page(ctx, refused="This form is not ours.", status=403)
    back = RedirectResponse(f"{ctx.settings.base}{PATH}", 303)
    if not key:
        back.delete_cookie(COOKIE, path=_cookie_path(ctx))
        return back
    known = await recognised(request, ctx, key)
    if known is None or keys.Scope.DECODE not in known.scopes:
        return _page(ctx, refused="This is no key with the scope decode.", status=403)
    await auditing.enter(request, known)
    back.set_cookie(
        COOKIE,
        _sessions(ctx).open(key, datetime.now(UTC)),
        max_age=int(SESSION.total_seconds()),
        path=_cookie_path(ctx),
        secure=ctx.settings.public_url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return back


def _sessions(ctx: Context) -> Sessions:
    return Sessions(ctx.settings.secret.get_secret_value().encode())


def _cookie_path(ctx: Context) -> str:
    return urlsplit(ctx.settings.base).path + PATH


def _page(ctx: Context, *, decodes: bool = False, refused: str | None = None, status: int = 200) -> Response:
    return Pages(ctx.deployment.company, "en").codec(
        endpoint=f"{ctx.settings.base}{PATH}", decodes=decodes, refused=refused, status=status
    )
