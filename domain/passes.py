"""Passes: what a customer's own browser or app may hold, to see what is meant for them and nothing else.

The client's backend asks for one with its key, and hands it to the page. It is signed by us, names one customer by our
number, and ends soon; the key itself never reaches a browser.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

PREFIX = "pass_"
"""By which a pass is told from a key."""

_NUMBERS = 16


class BadPass(Exception):
    """The pass was not made by us, was changed, or is over."""


@dataclass(frozen=True)
class Pass:
    """A pass that was read.

    Attributes:
        customer: Our number.
        until: Wall time, whole seconds.
        key: Name of the key it was asked for with.
    """

    customer: int
    until: datetime
    key: str


@dataclass(frozen=True)
class Passes:
    """Makes and reads passes."""

    secret: bytes

    def write(self, held: Pass) -> str:
        """Return a pass as it is handed out."""
        payload = held.customer.to_bytes(8) + int(held.until.timestamp()).to_bytes(8) + held.key.encode()
        return PREFIX + urlsafe_b64encode(self._mac(payload) + payload).rstrip(b"=").decode()

    def read(self, written: str, now: datetime) -> Pass:
        """Read a pass. Raises `BadPass`."""
        try:
            raw = urlsafe_b64decode(written.removeprefix(PREFIX) + "=" * (-len(written.removeprefix(PREFIX)) % 4))
        except ValueError as error:
            raise BadPass from error
        mac, payload = raw[: sha256().digest_size], raw[sha256().digest_size :]
        if len(payload) < _NUMBERS or not hmac.compare_digest(mac, self._mac(payload)):
            raise BadPass
        until = datetime.fromtimestamp(int.from_bytes(payload[8:_NUMBERS]), UTC)
        if now >= until:
            raise BadPass
        return Pass(int.from_bytes(payload[:8]), until, payload[_NUMBERS:].decode())

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self.secret, b"pass:" + payload, sha256)
