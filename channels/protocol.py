"""What `deliver` asks of a channel, and the three ways a provider can fail."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.messages import Letter, Status

CALL_TIMEOUT = timedelta(seconds=10)
"""Wall time one provider call may take in all; `deliver`'s own time-out is longer."""


@dataclass(frozen=True)
class Receipt:
    """A provider took the letter.

    Attributes:
        provider_id: The provider's id of the message, if it gave one.
        status: How far the provider's answer alone proves the message to be.
    """

    provider_id: str | None
    status: Status = Status.ACCEPTED


class Refused(Exception):
    """The provider refused the letter for good; sending it again would be refused again.

    Attributes:
        code: The provider's own code, such as ``21610`` or ``UNREGISTERED``.
        recipient_is_dead: Whether nothing should be sent to this recipient by this channel again.
        opted_out: Whether it is the customer's wish (a STOP kept by the provider).
    """

    def __init__(self, code: str, *, recipient_is_dead: bool = False, opted_out: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.recipient_is_dead = recipient_is_dead
        self.opted_out = opted_out


class NotProcessed(Exception):
    """The letter certainly did not leave (no connection, rate limit); it may be tried again.

    Attributes:
        retry_after: Wall time the provider asks us to wait, if it said.
    """

    def __init__(self, code: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after


class Uncertain(Exception):
    """The letter may have left: a time-out, a reset after the request was written, a 5xx."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ChannelPort(Protocol):
    """One provider. Messages of its errors hold codes only, never an address, a text or a key."""

    provider: str

    async def send(self, letter: Letter) -> Receipt:
        """Hand a letter to the provider within `CALL_TIMEOUT`.

        Raises:
            Refused: The provider said no for good.
            NotProcessed: It certainly did not take the letter.
            Uncertain: It may have.
        """
        ...
