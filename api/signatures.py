"""Who calls back: every provider signs the raw body, and nothing is looked at before that is proved.

A missing key refuses everything of its provider: fail closed.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, NoReturn
from urllib.parse import parse_qsl

import structlog
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from fastapi import Depends, Request
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from api.context import context
from api.problems import Problem

SENDGRID_LATE = timedelta(hours=25)
"""How old (wall) a signed SendGrid request may be.

SendGrid tries for 24 hours and does not say whether it signs each try anew. With the usual five
minutes, everything it kept for us while we were away could be refused. What this lets through
twice does nothing twice: an event's id is kept for ever.
"""

SENDGRID_EARLY = timedelta(minutes=5)
"""How far (wall) SendGrid's clock may be ahead of ours."""

MOST_FIELDS = 200
"""Fields of a form; Twilio sends some thirty."""

Form = ImmutableMultiDict[str, str]

log = structlog.get_logger()


class Keys(BaseSettings):
    """Environment variables of the keys that prove who calls back; an empty one counts as missing."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    twilio_auth_token: SecretStr | None = None
    sendgrid_webhook_public_key: str | None = None
    call_centre_secret: SecretStr | None = None
    app_webhook_secret: SecretStr | None = None


class Signatures:
    """Verifies callbacks; made once per process.

    Every method raises `Problem` (403) for a signature that is missing, wrong or out of its
    window, and where the key is missing. The answer is always the same, the log says which.
    """

    def __init__(self, base: str, keys: Keys) -> None:
        """Args:
        base: Public address of the API, by which providers know it, without a trailing slash.
        """
        self._base = base
        self._twilio = RequestValidator(keys.twilio_auth_token.get_secret_value()) if keys.twilio_auth_token else None
        self._sendgrid = _public_key(keys.sendgrid_webhook_public_key)
        self._call_centre = _webhook("CALL_CENTRE_SECRET", keys.call_centre_secret)
        self._app = _webhook("APP_WEBHOOK_SECRET", keys.app_webhook_secret)

    def twilio(self, request: Request, body: bytes) -> Form:
        """Return the form of a request Twilio signed (X-Twilio-Signature, HMAC-SHA1).

        The signature covers the public address, which a proxy may have hidden from us, and every
        field, repeated ones too (twilio.com/docs/usage/security).
        """
        if self._twilio is None:
            _refuse("twilio", "TWILIO_AUTH_TOKEN is not configured")
        try:
            form = Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError:
            _refuse("twilio", "the body is no form")
        query = f"?{request.url.query}" if request.url.query else ""
        address = f"{self._base}{request.url.path}{query}"
        if not self._twilio.validate(address, form, request.headers.get("X-Twilio-Signature", "")):
            _refuse("twilio", "the signature is missing or wrong")
        return form

    def sendgrid(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Accept a request SendGrid signed: ECDSA over the timestamp and the raw body.

        Source: twilio.com/docs/sendgrid, "Event Webhook Security Features".
        """
        if self._sendgrid is None:
            _refuse("sendgrid", "SENDGRID_WEBHOOK_PUBLIC_KEY is not configured")
        timestamp = headers.get("X-Twilio-Email-Event-Webhook-Timestamp", "")
        given = headers.get("X-Twilio-Email-Event-Webhook-Signature", "")
        try:
            signature = base64.b64decode(given, validate=True)
            self._sendgrid.verify(signature, timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
            age = now.timestamp() - int(timestamp)
        except (InvalidSignature, ValueError):
            _refuse("sendgrid", "the signature is missing or wrong")
        if not -SENDGRID_EARLY.total_seconds() <= age <= SENDGRID_LATE.total_seconds():
            _refuse("sendgrid", "the request is too old or too new")

    def call_centre(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the id of a request the call centre signed (Standard Webhooks, five minutes)."""
        return _standard("call_centre", "CALL_CENTRE_SECRET", self._call_centre, headers, body)

    def app(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the id of a request the app's backend signed (Standard Webhooks, five minutes)."""
        return _standard("push", "APP_WEBHOOK_SECRET", self._app, headers, body)


def signatures(request: Request) -> Signatures:
    """The process's signatures."""
    state = request.app.state
    if not hasattr(state, "signatures"):
        state.signatures = Signatures(context(request).settings.base, Keys())
    found: Signatures = state.signatures
    return found


Signed = Annotated[Signatures, Depends(signatures)]


async def raw_body(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes.

    Raises:
        Problem: 413.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            raise Problem(413, "too_large", f"the body must not be larger than {limit // 1024} kB")
    return bytes(raw)


def _standard(provider: str, variable: str, webhook: Webhook | None, headers: Mapping[str, str], body: bytes) -> str:
    if webhook is None:
        _refuse(provider, f"{variable} is not configured")
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        _refuse(provider, "the signature is missing, wrong, too old or too new")
    return headers["webhook-id"]


def _refuse(provider: str, reason: str) -> NoReturn:
    log.warning("callback refused", provider=provider, reason=reason)
    raise Problem(403, "bad_signature", "the request is not signed as it must be")


def _public_key(encoded: str | None) -> ec.EllipticCurvePublicKey | None:
    if encoded is None:
        return None
    try:
        key = load_der_public_key(base64.b64decode(encoded, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        log.error("SENDGRID_WEBHOOK_PUBLIC_KEY must be an ECDSA key, base64 of DER, as SendGrid shows it")
        return None
    return key


def _webhook(variable: str, secret: SecretStr | None) -> Webhook | None:
    if secret is None:
        return None
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if prefix != "whsec" or not key:
        log.error(f"{variable} must be whsec_ and the secret in base64")
        return None
    return Webhook(key)
