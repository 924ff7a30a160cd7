"""A push service, and the browsers that subscribe with it.

The push service speaks RFC 8030 with VAPID (RFC 8292); the browser makes the keys of a subscription itself and decrypts
what comes for it (RFC 8291, RFC 8188). What the page's service worker saw goes to the product by the page's backend.
"""

import json
import secrets
import sqlite3
import struct
import time
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sandbox.browsers import PATH, raw
from sandbox.faults import ProviderError
from sandbox.fcm import app_step
from sandbox.ledger import Entry, NewEntry
from sandbox.world import TheWorld, World

_LARGEST = 4096  # bytes of a body
_LONGEST_TOKEN = 24 * 3600  # seconds

router = APIRouter(tags=["Web push"])


@router.post(PATH + "{name}", status_code=201)
async def take_push(name: str, request: Request, world: TheWorld) -> Response:
    endpoint = f"{_base(request)}{PATH}{name}"
    browser = world.browsers.at(endpoint)
    body = await request.body()
    async with world.faults.around("web_push", [endpoint], request, _refuse):
        if browser is None or world.people.at(endpoint).delivery == "unregistered":
            raise _refusal(410, "push subscription has unsubscribed or expired")
        _authenticate(request, browser["server_key"])
        if len(body) > _LARGEST:
            raise _refusal(413, "the body must not be larger than 4096 bytes")
        _check_headers(request)
        entry = _record(world, endpoint, request, _opened(browser, body))
        if entry.message_id and world.people.at(endpoint).delivery != "never":
            world.callbacks.plan(entry, [app_step(world, entry, "received", 1.0)])
        await world.callbacks.before_answer([entry])
    place = f"{_base(request)}/web-push-messages/{entry.provider_id}"
    return Response(status_code=201, headers={"Location": place, "TTL": request.headers["TTL"]})


def _refusal(status: int, message: str, retry_after: int | None = None) -> ProviderError:
    return ProviderError(
        JSONResponse(
            {"code": status, "message": message},
            status_code=status,
            headers=None if retry_after is None else {"Retry-After": str(retry_after)},
        )
    )


def _refuse(status: int, retry_after: int) -> ProviderError:
    return _refusal(status, "try again later", retry_after)


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _authenticate(request: Request, server_key: str | None) -> None:
    """Let only who the token proves to be push, and where the subscription says who, nobody else (RFC 8292, 2 to 4)."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in given.split(","))
    if scheme.lower() != "vapid" or not {"t", "k"} <= parts.keys():
        raise _refusal(401, "Authorization must be vapid, with t and k")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw(parts["k"]))
        signed, _, signature = parts["t"].rpartition(".")
        header, claims = (json.loads(raw(part)) for part in signed.split("."))
        half = [int.from_bytes(each) for each in (raw(signature)[:32], raw(signature)[32:])]
        key.verify(encode_dss_signature(*half), signed.encode(), ec.ECDSA(hashes.SHA256()))
        genuine = header["alg"] == "ES256"
    except (InvalidSignature, ValueError, KeyError, TypeError):
        genuine, claims = False, {}
    if not genuine:
        raise _refusal(403, "the token is not signed by k")
    if claims.get("aud") != _base(request):
        raise _refusal(403, "the token's aud must be the origin of this push service")
    expires = claims.get("exp")
    if not isinstance(expires, int) or not time.time() < expires <= time.time() + _LONGEST_TOKEN:
        raise _refusal(403, "the token's exp must be within the next 24 hours")
    if urlsplit(str(claims.get("sub"))).scheme not in ("mailto", "https"):
        raise _refusal(403, "the token's sub must be mailto: or https:")
    if server_key is not None and server_key != parts["k"]:
        raise _refusal(403, "the subscription is another server's")


def _check_headers(request: Request) -> None:
    headers = request.headers
    if not headers.get("TTL", "").isdecimal():
        raise _refusal(400, "TTL is required, in seconds")
    if headers.get("Content-Encoding") != "aes128gcm":
        raise _refusal(415, "Content-Encoding must be aes128gcm")
    topic = headers.get("Topic", "t")
    if not 0 < len(topic) <= 32 or not topic.replace("-", "").replace("_", "").isalnum():
        raise _refusal(400, "Topic must be at most 32 characters of base64url")
    if headers.get("Urgency", "normal") not in ("very-low", "low", "normal", "high"):
        raise _refusal(400, "Urgency must be very-low, low, normal or high")


def _opened(browser: sqlite3.Row, body: bytes) -> dict[str, Any]:
    """Decrypt a message as its browser does; a push service itself could not."""
    ours = ec.derive_private_key(int.from_bytes(raw(browser["private_key"])), ec.SECP256R1())
    point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    try:
        salt, (size, length) = body[:16], struct.unpack("!LB", body[16:21])
        theirs, record = body[21 : 21 + length], body[21 + length :]
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs)
        material = _hkdf(raw(browser["auth"]), ours.exchange(ec.ECDH(), key), b"WebPush: info\0" + point + theirs, 32)
        content_key = _hkdf(salt, material, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _hkdf(salt, material, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(content_key).decrypt(nonce, record, None).rstrip(b"\0")
        if len(record) > size or not padded.endswith(b"\2"):
            raise ValueError("not one last record")
        shown = json.loads(padded[:-1])
    except (InvalidTag, ValueError, struct.error):
        raise _refusal(400, "the browser cannot decrypt this, or it is not what its service worker reads") from None
    if not isinstance(shown, dict) or not isinstance(shown.get("title"), str):
        raise _refusal(400, "the service worker shows nothing without a title")
    return shown


def _record(world: World, endpoint: str, request: Request, shown: dict[str, Any]) -> Entry:
    """Write the push down; the service worker shows it in the place of an unread one of the same tag."""
    name, tag, message_id = secrets.token_urlsafe(16), shown.get("tag"), shown.get("message_id")
    for earlier in world.ledger.of_addresses([endpoint]):
        if tag and earlier.status in ("accepted", "received") and earlier.details.get("tag") == tag:
            if message_id and earlier.message_id == message_id:
                return world.ledger.replace(earlier.id, name)
            world.ledger.advance(earlier.id, "replaced")
    return world.ledger.record(
        NewEntry(
            provider="web_push",
            channel="web_push",
            provider_id=name,
            message_id=message_id,
            address=endpoint,
            sender="browser",
            status="accepted",
            subject=shown["title"],
            text=str(shown.get("body", "")),
            details={
                "data": {"link": str(shown.get("link", ""))},
                "tag": tag,
                "topic": request.headers.get("Topic"),
                "ttl": int(request.headers["TTL"]),
            },
        )
    )


def _hkdf(salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)
