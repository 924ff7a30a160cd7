"""Push to browsers: RFC 8030 (the request), RFC 8291 (its encryption), RFC 8292 (VAPID: who we are).

Written over `cryptography` and google-auth's JSON web tokens: pywebpush brings clients of its own, which know
nothing of `channels.http`, and http-ece, which it encrypts by, has had no release since 2024.

A subscription is what a page's ``PushManager.subscribe`` returns, as ``toJSON`` writes it. Its endpoint is an address
that whoever sends events could choose, and that we then call: only push services that are named are called.
"""

import base64
import json
import os
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth import jwt
from google.auth.crypt.es256 import ES256Signer
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from channels.http import exchange
from channels.protocol import CannotTell, Finding, Receipt, Refused, Search
from domain.messages import Letter, MessageClass, PushKeys, WebPushContent

ENDPOINT_LIMIT = 1024
"""Most bytes of an endpoint; those of Google, Mozilla, Microsoft and Apple have some two to six hundred."""

PAYLOAD_LIMIT = 4096 - 86 - 17
"""Bytes of a plain text: a push service takes 4096 (RFC 8030, 7.2), of which header, padding and tag take these."""

RECORD_SIZE = 4096

LONGEST_TTL = timedelta(weeks=4)
"""How long a push waits for a browser that is off, unless it is worth nothing before; services keep no longer."""

TOKEN_LASTS = timedelta(hours=12)
"""A VAPID token may last a day at the most (RFC 8292, 2)."""

GONE = (httpx.codes.NOT_FOUND, httpx.codes.GONE)
"""The subscription is no more (RFC 8030, 7.3)."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

KNOWN_SERVICES = (
    "fcm.googleapis.com",
    "jmt17.google.com",
    "*.push.services.mozilla.com",
    "*.notify.windows.com",
    "*.push.apple.com",
)
"""The push services of Chrome, Firefox, Edge and Safari."""

_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")


class NotASubscription(ValueError):
    """What was given is no subscription we push to; the field and the rule, never a value."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


def _services(value: object) -> tuple[str, ...]:
    """Read names of hosts, or whole origins, separated by spaces or commas."""
    if value is KNOWN_SERVICES:
        return KNOWN_SERVICES
    if not isinstance(value, str):
        raise ValueError("must be hosts, such as fcm.googleapis.com or *.push.apple.com")
    names = tuple(re.split(r"[\s,]+", value.strip().lower()))
    for name in names:
        parts = urlsplit(name)
        is_origin = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        if not _HOST.fullmatch(name) and not (is_origin and name == f"{parts.scheme}://{parts.netloc}"):
            raise ValueError("must be hosts, such as *.push.apple.com, or https origins; http only to loopback")
    return names


class PushServices(BaseSettings):
    """Environment variable ``WEB_PUSH_SERVICES``: whom endpoints may belong to.

    A host, where ``*.`` stands for whatever is before it, is reached by https at its usual port. An origin with its
    scheme stands for itself.
    """

    model_config = SettingsConfigDict(env_prefix="WEB_PUSH_", env_ignore_empty=True, hide_input_in_errors=True)

    services: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_services)] = KNOWN_SERVICES

    def allow(self, endpoint: str) -> bool:
        """Whether an endpoint is one of a push service's, so that it may be called."""
        try:
            parts = urlsplit(endpoint)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.username is not None or parts.password is not None or parts.fragment:
            return False
        if f"{parts.scheme}://{parts.netloc}".lower() in self.services:
            return True
        return parts.scheme == "https" and port in (None, 443) and any(_is_host(host, each) for each in self.services)


def _is_host(host: str, service: str) -> bool:
    return host.endswith(service[1:]) if service.startswith("*.") else host == service


class Subscription:
    """A browser that takes pushes, checked."""

    def __init__(self, endpoint: str, keys: PushKeys) -> None:
        self.endpoint = endpoint
        self.keys = keys


def subscription_of(raw: object) -> Subscription:
    """Read a `PushSubscription` as its ``toJSON`` writes it (W3C Push API, 8.1).

    Raises:
        NotASubscription: With the field and the rule.
    """
    if not isinstance(raw, dict):
        raise NotASubscription("", "must be an object with endpoint and keys, as PushSubscription.toJSON() gives it")
    endpoint, keys = raw.get("endpoint"), raw.get("keys")
    if not isinstance(endpoint, str) or not 0 < len(endpoint.encode(errors="replace")) <= ENDPOINT_LIMIT:
        raise NotASubscription("endpoint", f"must be an address of at most {ENDPOINT_LIMIT} bytes")
    if not re.fullmatch(r"https?://[!-~]+", endpoint) or not PushServices().allow(endpoint):
        raise NotASubscription("endpoint", "must be https, and of a push service that WEB_PUSH_SERVICES allows")
    if not isinstance(keys, dict):
        raise NotASubscription("keys", "must be an object with p256dh and auth")
    given = {name: _decoded(keys.get(name)) for name in ("p256dh", "auth")}
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), given["p256dh"])
    except ValueError:
        given["p256dh"] = b""
    if len(given["p256dh"]) != 65:
        raise NotASubscription("keys.p256dh", "must be an uncompressed point of P-256, 65 bytes in base64url")
    if len(given["auth"]) != 16:
        raise NotASubscription("keys.auth", "must be 16 bytes in base64url")
    return Subscription(endpoint, PushKeys(p256dh=encoded(given["p256dh"]), auth=encoded(given["auth"])))


def _decoded(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[\w-]{1,200}={0,2}", value, re.ASCII):
        return b""
    try:
        return decoded(value.rstrip("="))
    except ValueError:
        return b""


def encoded(raw: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Read base64url without padding. Raises `ValueError`."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _private_key(value: object) -> ec.EllipticCurvePrivateKey:
    raw = _decoded(value)
    if len(raw) == 32:
        number = int.from_bytes(raw)
        try:
            return ec.derive_private_key(number, ec.SECP256R1())
        except ValueError:
            pass
    raise ValueError("must be a private key of P-256, 32 bytes in base64url: journeys web-push-keys makes one")


def _contact(value: str) -> str:
    if not re.fullmatch(r"(mailto:[^@\s]+@[^@\s]+|https://\S+)", value):
        raise ValueError("must be mailto: and an address, or an https address, at which push services find you")
    return value


class WebPushSettings(PushServices):
    """Environment variables ``WEB_PUSH_…``."""

    model_config = SettingsConfigDict(
        env_prefix="WEB_PUSH_", env_ignore_empty=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    private_key: Annotated[ec.EllipticCurvePrivateKey, NoDecode, BeforeValidator(_private_key)]
    contact: Annotated[str, AfterValidator(_contact)]

    @property
    def public_key(self) -> str:
        """What pages subscribe with (``applicationServerKey``), base64url."""
        return encoded(_point(self.private_key.public_key()))


def new_private_key() -> str:
    """Return a new private key, as ``WEB_PUSH_PRIVATE_KEY`` takes it."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return encoded(number.to_bytes(32))


def public_key_of(private_key: str) -> str:
    """Return the public key of a private one, both base64url. Raises `ValueError`."""
    return encoded(_point(_private_key(private_key).public_key()))


class WebPush:
    """Pushes to browsers. There are no callbacks: the page's service worker tells what was shown and clicked."""

    provider = "web_push"
    replaces = True

    def __init__(self, settings: WebPushSettings, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._signer: Any = ES256Signer(settings.private_key)

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`. A service that has it is not asked whether the browser got it."""
        assert isinstance(letter.content, WebPushContent)
        if not self._settings.allow(letter.recipient):
            # It was allowed when it came: the setting has changed, and nobody is to be called any more.
            raise Refused("service_not_allowed")
        if letter.push_keys is None:
            raise Refused("subscription_gone")
        payload = json.dumps(_payload(letter, letter.content), ensure_ascii=False).encode()
        if len(payload) > PAYLOAD_LIMIT:
            raise Refused("payload_too_large")
        keep = min(letter.valid_for if letter.valid_for is not None else LONGEST_TTL, LONGEST_TTL)
        request = self._client.build_request(
            "POST",
            letter.recipient,
            content=encrypt(payload, letter.push_keys),
            headers={
                "Authorization": f"vapid t={self._token(letter.recipient)}, k={self._settings.public_key}",
                "Content-Encoding": "aes128gcm",
                "Content-Type": "application/octet-stream",
                "TTL": str(max(0, int(keep.total_seconds()))),
                # 32 characters of base64url at the most: handed over again, it replaces what still waits.
                "Topic": letter.message_id.hex,
                "Urgency": "high" if letter.message_class is MessageClass.TRANSACTIONAL else "normal",
            },
        )
        response = await exchange(self._client, request, _refusal)
        place = urlsplit(response.headers.get("Location", "")).path.rpartition("/")[2]
        return Receipt(provider_id=place if re.fullmatch(r"[\w.:%-]{1,255}", place, re.ASCII) else None)

    async def find(self, search: Search) -> Finding:
        """See `ChannelPort.find`. A push service tells of no message; handed over again, it replaces the first."""
        return CannotTell("no_lookup", later=False)

    def _token(self, endpoint: str) -> str:
        """Return the proof of who we are to the endpoint's push service (RFC 8292, 2)."""
        parts = urlsplit(endpoint)
        expires = datetime.now(UTC) + TOKEN_LASTS
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": int(expires.timestamp()),
            "sub": self._settings.contact,
        }
        token: bytes = jwt.encode(self._signer, claims)  # type: ignore[no-untyped-call]
        return token.decode()


def _payload(letter: Letter, content: WebPushContent) -> dict[str, str]:
    """What the page's service worker is given: `tag` makes a second one take the first one's place on the screen."""
    shown = {"message_id": str(letter.message_id), "title": content.title, "body": content.body}
    return {
        **shown,
        "tag": str(letter.message_id),
        "lang": letter.locale,
        **({"link": content.link} if content.link else {}),
    }


def encrypt(
    plain: bytes, keys: PushKeys, *, ours: ec.EllipticCurvePrivateKey | None = None, salt: bytes = b""
) -> bytes:
    """Encrypt for one browser, one record of aes128gcm (RFC 8291, 3; RFC 8188, 2).

    Args:
        ours: The key of this message alone, and its `salt` of 16 bytes; made anew, but for tests.
    """
    ours, salt = ours or ec.generate_private_key(ec.SECP256R1()), salt or os.urandom(16)
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(keys.p256dh))
    own_point, their_point = _point(ours.public_key()), _point(theirs)
    shared = ours.exchange(ec.ECDH(), theirs)
    key_material = _hkdf(decoded(keys.auth), shared, b"WebPush: info\0" + their_point + own_point, 32)
    key = _hkdf(salt, key_material, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(salt, key_material, b"Content-Encoding: nonce\0", 12)
    header = salt + struct.pack("!LB", RECORD_SIZE, len(own_point)) + own_point
    # 2 ends the padding of the last record.
    return header + AESGCM(key).encrypt(nonce, plain + b"\2", None)


def _hkdf(salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _refusal(response: httpx.Response) -> Refused:
    """Push services word their refusals each in its own way; the status is all they have in common."""
    return Refused(f"http_{response.status_code}", recipient_is_dead=response.status_code in GONE)
