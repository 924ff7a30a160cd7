"""Firebase Cloud Messaging, HTTP v1: push messages, and the OAuth tokens they need.

Shapes: firebase.google.com/docs/reference/fcm/rest/v1; RFC 7523 for the token endpoint.
What the app on the device reports back is the product's own webhook, not Google's.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.callbacks import Step
from sandbox.configuration import Configuration
from sandbox.faults import ProviderError
from sandbox.ledger import Entry, NewEntry
from sandbox.world import TheWorld, World

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_LIFE = 3600  # seconds, as Google's
_LARGEST_PAYLOAD = 4096  # bytes
_TYPES = "type.googleapis.com"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Notification(_Strict):
    title: str | None = None
    body: str | None = None
    image: str | None = None


class _Android(BaseModel):
    collapse_key: str | None = None


class _Message(_Strict):
    name: str | None = None
    token: str | None = Field(None, min_length=1)
    topic: str | None = None
    condition: str | None = None
    data: dict[str, str] = Field(default_factory=dict)
    notification: _Notification = Field(default_factory=_Notification)
    android: _Android = Field(default_factory=_Android)
    webpush: dict[str, Any] | None = None
    apns: dict[str, Any] | None = None
    fcm_options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> "_Message":
        if sum(target is not None for target in (self.token, self.topic, self.condition)) != 1:
            raise ValueError("exactly one of token, topic or condition is required")
        return self

    @property
    def target(self) -> str:
        return self.token or self.topic or self.condition or ""


class _Send(_Strict):
    validate_only: bool = False
    message: _Message


router = APIRouter(tags=["FCM"])


def _refusal(
    status: int,
    state: str,
    message: str,
    fcm_code: str | None = None,
    violations: list[dict[str, str]] | None = None,
    retry_after: int | None = None,
) -> ProviderError:
    details: list[dict[str, Any]] = []
    if fcm_code:
        kind = f"{_TYPES}/google.firebase.fcm.v1.FcmError"
        details.append({"@type": kind, "errorCode": fcm_code})
    if violations:
        kind = f"{_TYPES}/google.rpc.BadRequest"
        details.append({"@type": kind, "fieldViolations": violations})
    error = {"code": status, "message": message, "status": state} | ({"details": details} if details else {})
    return ProviderError(
        JSONResponse(
            {"error": error},
            status_code=status,
            headers=None if retry_after is None else {"Retry-After": str(retry_after)},
        )
    )


def _refuse(status: int, retry_after: int) -> ProviderError:
    match status:
        case 429:
            return _refusal(
                429,
                "RESOURCE_EXHAUSTED",
                "Quota exceeded for quota metric.",
                "QUOTA_EXCEEDED",
                retry_after=retry_after,
            )
        case 503:
            return _refusal(
                503,
                "UNAVAILABLE",
                "The service is currently unavailable.",
                "UNAVAILABLE",
                retry_after=retry_after,
            )
        case _:
            return _refusal(500, "INTERNAL", "Internal error encountered.", "INTERNAL")


@router.post("/token")
async def issue_token(world: TheWorld, grant_type: str = Form(""), assertion: str = Form("")) -> JSONResponse:
    """Exchange a service account's signed assertion for a bearer token."""
    if grant_type != _GRANT:
        return _no_token("unsupported_grant_type", f"Invalid grant_type: {grant_type}")
    try:
        claims = jwt.decode(assertion, world.configuration.fcm_public_key)  # type: ignore[no-untyped-call]
    except (GoogleAuthError, ValueError):
        return _no_token("invalid_grant", "Invalid JWT Signature.")
    if urlsplit(str(claims.get("aud"))).path != "/token":
        return _no_token("invalid_grant", "Invalid JWT: the audience is not this token endpoint.")
    expires = int(time.time()) + _TOKEN_LIFE
    return JSONResponse(
        {
            "access_token": f"ya29.{expires}.{_token_seal(world.configuration, expires)}",
            "expires_in": _TOKEN_LIFE,
            "token_type": "Bearer",
        }
    )


@router.post("/v1/projects/{project}/messages:send")
async def send_push(project: str, request: Request, world: TheWorld) -> JSONResponse:
    _authenticate(request, world.configuration)
    order = _order(await request.body())
    message = order.message
    name = f"projects/{project}/messages/0:{int(time.time() * 1e6)}%{secrets.token_hex(8)}"
    async with world.faults.around("fcm", [message.target], request, _refuse):
        person = world.people.at(message.target)
        if person.delivery == "unregistered":
            raise _refusal(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED")
        if not order.validate_only:
            entry = _record(world, project, name, message)
            if entry.message_id and person.delivery != "never":
                world.callbacks.plan(entry, [app_step(world, entry, "received", 1.0)])
            await world.callbacks.before_answer([entry])
    return JSONResponse({"name": name})


def app_step(world: World, entry: Entry, event: str, after: float = 0.0) -> Step:
    """What the app on the device reports to the product's push webhook."""
    payload = {
        "message_id": entry.message_id,
        "event": event,
        "at": datetime.now(UTC).isoformat(),
    }
    return Step("push", world.product("/webhooks/push"), payload, event, after)


def _record(world: World, project: str, name: str, message: _Message) -> Entry:
    """Write the push down; on the phone it replaces an unread one of the same collapse key.

    The same message again in its own place is no second effect.
    """
    collapse_key, message_id = message.android.collapse_key, message.data.get("message_id")
    if collapse_key:
        for earlier in world.ledger.of_addresses([message.target]):
            unread = earlier.status in ("accepted", "received")
            if unread and earlier.details.get("collapse_key") == collapse_key:
                if message_id and earlier.message_id == message_id:
                    return world.ledger.replace(earlier.id, name)
                world.ledger.advance(earlier.id, "replaced")
    return world.ledger.record(
        NewEntry(
            provider="fcm",
            channel="push",
            provider_id=name,
            message_id=message_id,
            address=message.target,
            sender=project,
            status="accepted",
            subject=message.notification.title,
            text=message.notification.body or "",
            details={"data": message.data, "collapse_key": collapse_key},
        )
    )


def _order(body: bytes) -> _Send:
    try:
        order = _Send.model_validate_json(body)
    except ValidationError as error:
        violations = [
            {
                "field": ".".join(str(part) for part in fault["loc"]),
                "description": fault["msg"],
            }
            for fault in error.errors(include_input=False)
        ]
        raise _invalid(violations) from None
    payload = order.message.model_dump_json(include={"data", "notification"}, exclude_none=True)
    if len(payload.encode()) > _LARGEST_PAYLOAD:
        raise _invalid([{"field": "message", "description": "Message is too big: more than 4096 bytes"}])
    return order


def _invalid(violations: list[dict[str, str]]) -> ProviderError:
    return _refusal(
        400,
        "INVALID_ARGUMENT",
        "Request contains an invalid argument.",
        "INVALID_ARGUMENT",
        violations,
    )


def _authenticate(request: Request, configuration: Configuration) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    prefix, _, rest = token.partition(".")
    expires, _, seal = rest.partition(".")
    valid = (
        scheme == "Bearer"
        and prefix == "ya29"
        and expires.isdecimal()
        and hmac.compare_digest(seal.encode(), _token_seal(configuration, int(expires)).encode())
        and int(expires) > time.time()
    )
    if not valid:
        raise _refusal(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
        )


def _token_seal(configuration: Configuration, expires: int) -> str:
    """Seals a token's expiry; without a stored list, so tokens outlive a restart."""
    key = hashlib.sha256(configuration.app_webhook_secret.get_secret_value().encode()).digest()
    digest = hmac.new(key, json.dumps(["fcm", expires]).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _no_token(error: str, description: str) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status_code=400)
