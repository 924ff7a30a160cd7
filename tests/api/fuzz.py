"""Requests made up from the OpenAPI document, given what makes them reach the inside: keys, signatures, known ids."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4
from zlib import crc32

import requests
from standardwebhooks import Webhook
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.api.scene import DECODER, OPERATOR, WRITER, Providers

WITH_WRITE_KEY = {f"/v1/{call}" for call in ("identify", "track", "page", "screen", "group", "alias", "batch")}


@dataclass
class FromEverywhere:
    """The application, asked by another client each time: one that guesses keys is braked."""

    app: ASGIApp
    _numbers: "count[int]" = field(default_factory=count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            number = next(self._numbers)
            scope["client"] = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1)
        await self.app(scope, receive, send)


@dataclass
class Credentials(requests.auth.AuthBase):
    """Signs each request as the operation it is for demands, over what is really sent."""

    providers: Providers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if request.headers.get("Content-Encoding") == "gzip" and crc32(_bytes(request.body)) % 10:
            request.prepare_body(gzip.compress(_bytes(request.body)), None)
        path = request.path_url
        bare = path.partition("?")[0]
        if bare.startswith("/webhooks/"):
            request.headers.update(self._signature(bare, path, _bytes(request.body)))
        elif bare in WITH_WRITE_KEY:
            basic = base64.b64encode(f"{WRITER}:".encode()).decode()
            request.headers["Authorization"] = f"Basic {basic}"
        else:
            token = DECODER if bare.startswith("/codec/") else OPERATOR
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    def _signature(self, bare: str, path: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        if bare.startswith("/webhooks/twilio"):
            form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
            return {"X-Twilio-Signature": self.providers.twilio(path, form)["X-Twilio-Signature"]}
        if bare == "/webhooks/sendgrid":
            return self.providers.sendgrid(body, now)
        secret = self.providers.app_secret if bare == "/webhooks/push" else self.providers.call_centre_secret
        name = uuid4().hex
        return {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(name, now, body.decode(errors="replace")),
        }


Values = dict[str, Sequence[Any]]
"""What there is, by the name of the parameter or field that names it."""


@dataclass(frozen=True)
class Known:
    """What there is.

    Attributes:
        anywhere: For every operation.
        here: For single operations, before what is for every one.
        queries: What single operations are asked with, for they are seldom asked it by chance.
        paths: What they are asked about, where it takes several parameters to name one thing.
        bodies: What they are told, where a whole must agree with itself.
    """

    anywhere: Values
    here: dict[str, Values]
    queries: dict[str, dict[str, str]]
    paths: dict[str, dict[str, Any]]
    bodies: dict[str, Any]

    def instead(self, operation: str, given: Any) -> Any:
        """Put known values in the place of two made up ones out of three."""
        return _instead({**self.anywhere, **self.here.get(operation, {})}, given)

    def body(self, operation: str, given: Any) -> Any:
        """Tell an operation every other time what it is seldom told by chance."""
        told = self.bodies.get(operation)
        return told if told and _chance(given) % 2 else self.instead(operation, given)

    def path(self, operation: str, given: Any) -> Any:
        """Name what there is two times out of three."""
        asked = self.paths.get(operation)
        return asked if asked and _chance(given) % 3 else self.instead(operation, given)

    def query(self, operation: str, given: Any) -> Any:
        """Ask an operation every other time what it is seldom asked by chance."""
        asked = self.queries.get(operation)
        return asked if asked and _chance(given) % 2 else self.instead(operation, given)


def _instead(values: Values, given: Any) -> Any:
    if isinstance(given, list):
        return [_instead(values, each) for each in given]
    if not isinstance(given, dict):
        return given
    return {name: _chosen(values.get(name), value) or _instead(values, value) for name, value in given.items()}


def _chosen(known: Sequence[Any] | None, given: Any) -> Any:
    chance = _chance(given)
    return known[chance // 3 % len(known)] if known and chance % 3 else None


def _chance(given: Any) -> int:
    return crc32(repr(given).encode(errors="replace"))


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else bytes(body)
