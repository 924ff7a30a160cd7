"""Browsers of the sandbox's people, and the keys only they know."""

import base64
import secrets
import sqlite3
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PATH = "/web-push/"
"""Where the push service takes what is for a browser."""


class Browsers:
    """Subscriptions, with the halves of their keys that a browser keeps to itself."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def subscribe(self, base: str, server_key: str | None) -> dict[str, Any]:
        """Make a subscription, as `PushSubscription.toJSON()` writes it.

        Args:
            base: where the push service is reached.
            server_key: the one key that may push there (``applicationServerKey``), if the page names one.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        endpoint, auth = f"{base}{PATH}{secrets.token_urlsafe(24)}", secrets.token_bytes(16)
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        number = key.private_numbers().private_value.to_bytes(32)
        with self._connection:
            self._connection.execute(
                "insert into browsers values (?, ?, ?, ?)", (endpoint, text(number), text(auth), server_key)
            )
        return {
            "endpoint": endpoint,
            "expirationTime": None,
            "keys": {"p256dh": text(point), "auth": text(auth)},
        }

    def at(self, endpoint: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(
            "select * from browsers where endpoint = ?", (endpoint,)
        ).fetchone()
        return row


def text(raw_bytes: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw_bytes).rstrip(b"=").decode()


def raw(encoded: str) -> bytes:
    """Read base64url without padding. Raises `ValueError`."""
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
