"""Signed addresses in messages: tracked links, one-click unsubscribing, the page of preferences and its form."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import UUID

MAC_BYTES = 12

FORM_LASTS = timedelta(hours=2)
"""Wall time a page may lie open before its form is refused: what it showed may not be so any more."""


class BadToken(Exception):
    """The token was not made by us, was changed, or is too old."""


@dataclass(frozen=True)
class Links:
    """Makes and reads our addresses.

    A token holds a message's number and a link's place, nothing personal, and no address: the
    redirect goes only where the message itself pointed, so it cannot be turned to another site.
    A token made for one purpose is none for another.
    """

    base: str
    secret: bytes

    def tracked(self, message: UUID, place: int) -> str:
        """Return the address that stands for the message's link at a place (0 to 65535)."""
        return f"{self.base}/r/{self._token(b'r', message.bytes + place.to_bytes(2, 'big'))}"

    def unsubscribe(self, message: UUID) -> str:
        """Return the address at which the reader of a message unsubscribes (RFC 8058)."""
        return f"{self.base}/u/{self._token(b'u', message.bytes)}"

    def preferences(self, message: UUID) -> str:
        """Return the address of the page on which the reader of a message chooses what to hear of."""
        return f"{self.base}/p/{self._token(b'p', message.bytes)}"

    def form(self, message: UUID, now: datetime) -> str:
        """Return what the form of that page carries: proof that the page was asked for, and when (wall time)."""
        return self._token(b"f", message.bytes + int(now.timestamp()).to_bytes(8, "big"))

    def read_tracked(self, token: str) -> tuple[UUID, int]:
        """Return message and place. Raises `BadToken`."""
        payload = self._payload(b"r", token, 18)
        return UUID(bytes=payload[:16]), int.from_bytes(payload[16:], "big")

    def read_unsubscribe(self, token: str) -> UUID:
        """Return the message. Raises `BadToken`."""
        return UUID(bytes=self._payload(b"u", token, 16))

    def read_preferences(self, token: str) -> UUID:
        """Return the message. Raises `BadToken`."""
        return UUID(bytes=self._payload(b"p", token, 16))

    def check_form(self, token: str, message: UUID, now: datetime) -> None:
        """Accept a form of a message's page for `FORM_LASTS`. Raises `BadToken`."""
        payload = self._payload(b"f", token, 24)
        asked_at = datetime.fromtimestamp(int.from_bytes(payload[16:], "big"), UTC)
        if payload[:16] != message.bytes or now - asked_at > FORM_LASTS:
            raise BadToken

    def _mac(self, kind: bytes, payload: bytes) -> bytes:
        return hmac.digest(self.secret, b"link:" + kind + payload, sha256)[:MAC_BYTES]

    def _token(self, kind: bytes, payload: bytes) -> str:
        return urlsafe_b64encode(payload + self._mac(kind, payload)).rstrip(b"=").decode()

    def _payload(self, kind: bytes, token: str, size: int) -> bytes:
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError as error:
            raise BadToken from error
        payload, mac = raw[:size], raw[size:]
        if not hmac.compare_digest(mac, self._mac(kind, payload)):
            raise BadToken
        return payload


def tagged(url: str, source: str, medium: str, campaign: str, content: str) -> str:
    """Return an address with utm tags; those it has already stay, and so does everything else in it."""
    parts = urlsplit(url)
    has = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    tags = {"utm_source": source, "utm_medium": medium, "utm_campaign": campaign, "utm_content": content}
    added = urlencode({name: value for name, value in tags.items() if name not in has})
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, added)))))
