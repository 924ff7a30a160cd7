"""Sends of which nobody knows whether they left, and how that was settled."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class Resolution(StrEnum):
    """By what an uncertain send was settled, the strongest evidence first.

    A stronger one takes the place of `NOT_TAKEN` and `ASSUMED_SENT` whenever it comes.
    """

    CALLBACK = "callback"
    """The provider reported on it by our id, or the customer acted on it."""
    ANSWERED = "answered"
    """The provider's own answer came after all."""
    FOUND = "found"
    """The provider was asked, and knows it."""
    NOT_TAKEN = "not_taken"
    """The provider was asked, and does not know it: it never left."""
    SENT_AGAIN = "sent_again"
    """It is transactional: it was sent once more, and that was answered."""
    ASSUMED_SENT = "assumed_sent"
    """Nobody can tell: it is taken to have left, and never sent again."""


NOT_TAKEN = Resolution.NOT_TAKEN.value
"""Reason of a message that failed because its provider never took it."""

Fact = dict[str, Any]
"""A piece of evidence: when (wall), what, and codes, provider ids, counts; no address and no text."""


def fact(what: str, **details: Any) -> Fact:
    """Return a piece of evidence found now; details that are None are left out."""
    known = {name: value for name, value in details.items() if value is not None}
    return {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "fact": what, **known}


class Round(BaseModel, frozen=True):
    """What one round of settling uncertain sends did.

    Attributes:
        looked: How many messages were looked into.
        settled: How many of them are settled by now, by `Resolution`.
        more: Whether the round ended by its time, with messages still due.
    """

    looked: int
    settled: dict[Resolution, int]
    more: bool
