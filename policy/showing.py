"""What a customer is shown on the client's site or app now: pure rules over what waits for them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from domain.messages import MessageClass
from policy.configuration import Showing

IMPRESSIONS = UUID("0d6a2f0e-6f64-5c6a-8f0f-3a5f0d9a1b27")


@dataclass(frozen=True)
class Candidate:
    """A pop-up or banner that may be shown.

    Attributes:
        shown: How often it has been.
        expires_at: Journey time; None: never.
        delivered_at: Wall time.
        topic: What its campaign writes about; None of what a journey has sent: the journey declares it.
    """

    message: UUID
    content: dict[str, Any]
    shown: int
    expires_at: datetime | None
    delivered_at: datetime
    journey: str
    message_class: MessageClass
    topic: str | None

    @property
    def impression(self) -> UUID:
        """The id of its next showing: two pages that show it at once show the same one."""
        return impression(self.message, self.shown + 1)


def impression(message: UUID, number: int) -> UUID:
    """Return the id of one showing of a message, counted from 1."""
    return uuid5(IMPRESSIONS, f"{message}/{number}")


def showable(rule: Showing, candidates: Sequence[Candidate], lately: int) -> list[Candidate]:
    """Return what may be shown, in the order it is to be.

    Args:
        candidates: The most important first.
        lately: How often any message of the placement was shown within the rule's window.
    """
    if rule.at_most is not None and lately >= rule.at_most:
        return []
    return [each for each in candidates if rule.each_at_most is None or each.shown < rule.each_at_most]
