"""What is asked of a channel: to send a letter, and to say whether one left; and the three ways a provider can fail."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

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


class TooLate(NotProcessed):
    """The call had not begun when it had to, see `leaving_by`; no byte of it was written."""


LEAVES_BY: ContextVar[float | None] = ContextVar("leaves_by", default=None)
"""By when a call must have begun, see `leaving_by`; None: whenever."""


@contextmanager
def leaving_by(moment: float) -> Iterator[None]:
    """Let no provider call begin after a moment: the claim it is made under holds no longer.

    It is held where the request is written: after a token was fetched, a connection made, or the process
    paused.

    Args:
        moment: Seconds of the process's monotonic clock.
    """
    before = LEAVES_BY.set(moment)
    try:
        yield
    finally:
        LEAVES_BY.reset(before)


class SenderBlocked(NotProcessed):
    """The letter certainly did not leave, because the number it was to go out from is blocked; another may do.

    Attributes:
        sender: The number, E.164.
        lasts: Wall time for which nothing is to be tried from it.
    """

    def __init__(self, code: str, *, sender: str, lasts: timedelta) -> None:
        super().__init__(code)
        self.sender = sender
        self.lasts = lasts


class Uncertain(Exception):
    """The letter may have left: a time-out, a reset after the request was written, a 5xx."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Search:
    """A letter that may have left, to be looked for at its provider.

    Attributes:
        since: Wall time before which the provider cannot have taken it.
        not_these: The provider's ids of our other messages to this recipient.
        twins: How many other messages of ours, uncertain too, look exactly like this one.
    """

    letter: Letter
    since: datetime
    not_these: Collection[str] = ()
    twins: int = 0


@dataclass(frozen=True)
class Price:
    """What a provider says it took for a message.

    Attributes:
        currency: ISO 4217.
    """

    amount: Decimal
    currency: str


@dataclass(frozen=True)
class Found:
    """The provider has it.

    Attributes:
        refusal: Why it did not arrive, if the provider says that.
        price: What it took for it, if it says that yet.
    """

    provider_id: str
    status: Status
    refusal: Refused | None = None
    price: Price | None = None


@dataclass(frozen=True)
class Absent:
    """The provider, asked for certain, does not have it now; it may still be on its way there."""


@dataclass(frozen=True)
class CannotTell:
    """The provider does not say.

    Attributes:
        retry_after: Wall time the provider asks us to wait, if it said.
        later: Whether asking again later may help.
    """

    code: str
    retry_after: timedelta | None = None
    later: bool = True


Finding = Found | Absent | CannotTell


def cannot_tell(error: Refused | NotProcessed | Uncertain) -> CannotTell:
    """Return what a failed question tells: nothing."""
    return CannotTell(error.code, retry_after=error.retry_after if isinstance(error, NotProcessed) else None)


class ChannelPort(Protocol):
    """One provider. Messages of its errors hold codes only, never an address, a text or a key.

    Attributes:
        replaces: Whether a letter handed over again takes the place of the first where it arrives, so
            that this is the way to ask for it.
    """

    provider: str
    replaces: bool

    async def send(self, letter: Letter) -> Receipt:
        """Hand a letter to the provider within `CALL_TIMEOUT`.

        Raises:
            Refused: The provider said no for good.
            NotProcessed: It certainly did not take the letter.
            Uncertain: It may have.
        """
        ...

    async def find(self, search: Search) -> Finding:
        """Ask the provider whether it has a letter. Changes nothing there, and does not raise."""
        ...


@dataclass(frozen=True)
class Review:
    """What a provider's reviewers say of a template.

    Attributes:
        status: submitted, pending, approved, rejected, paused or disabled.
        reason: Why, in the reviewers' words, where they refuse it.
    """

    status: str
    reason: str | None = None


@runtime_checkable
class Templates(Protocol):
    """A provider whose templates are reviewed before they may be sent. Every call is within `CALL_TIMEOUT`.

    Each raises `Refused`, or `NotProcessed` and `Uncertain` where it is to be tried again.
    """

    async def make(self, name: str, resource: Mapping[str, Any]) -> str:
        """Make a template that nobody reviews yet; returns the provider's id of it."""
        ...

    async def submit(self, sid: str, name: str, category: str) -> Review:
        """Have a template reviewed."""
        ...

    async def review(self, sid: str) -> Review | None:
        """Return what reviewers say of a template; None if it was never submitted."""
        ...


@runtime_checkable
class Eraser(Protocol):
    """A provider that can be asked to erase what it holds of somebody. Asking again does no harm."""

    provider: str

    async def erase(self, subject: str) -> str:
        """Ask to erase what the provider holds, within `CALL_TIMEOUT`.

        Args:
            subject: What the provider knows it by: an address, or its own id of a message.

        Returns:
            What it answered, as a code.

        Raises:
            Refused: The provider said no for good.
            NotProcessed, Uncertain: It is to be asked again.
        """
        ...
