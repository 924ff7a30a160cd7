"""A browser that takes pushes: it reads what was encrypted to it, by its own reading of RFC 8291 and RFC 8188."""

import base64
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.messages import PushKeys


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _hmac(key: bytes, data: bytes) -> bytes:
    digest = HMAC(key, hashes.SHA256())
    digest.update(data)
    return digest.finalize()


@dataclass
class Browser:
    """Its subscription, and the halves of the keys that never leave it."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def keys(self) -> PushKeys:
        return PushKeys(p256dh=base64url(self.point), auth=base64url(self.auth))

    @property
    def subscription(self) -> dict[str, Any]:
        """As `PushSubscription.toJSON()` writes it."""
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": self.keys.model_dump()}

    def read(self, body: bytes) -> dict[str, Any]:
        """Decrypt a message of one record."""
        salt, size, length = body[:16], *struct.unpack("!LB", body[16:21])
        theirs, record = body[21 : 21 + length], body[21 + length :]
        assert len(body) <= 4096
        assert len(record) <= size
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
        material = _hmac(_hmac(self.auth, shared), b"WebPush: info\0" + self.point + theirs + b"\1")
        pseudorandom = _hmac(salt, material)
        key = _hmac(pseudorandom, b"Content-Encoding: aes128gcm\0\1")[:16]
        nonce = _hmac(pseudorandom, b"Content-Encoding: nonce\0\1")[:12]
        plain = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\0")
        assert plain.endswith(b"\2")
        read: dict[str, Any] = json.loads(plain[:-1])
        return read
