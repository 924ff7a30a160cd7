"""What a customer reacts to: which channel, at which hour. Pure rules over what became of earlier messages."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.messages import Channel

LOOKS_BACK = timedelta(days=90)
"""Journey time for which it counts how a customer reacted."""

IGNORED = 3
"""Messages of a channel without any reaction after which the customer is taken not to look there."""

REACTIONS = 3
"""Reactions, or acts on the product, from which on they show an hour."""


@dataclass(frozen=True)
class Record:
    """What became of a customer's messages of one channel.

    Attributes:
        reactions: How many were opened, clicked or answered.
    """

    sent: int = 0
    reactions: int = 0

    @property
    def is_ignored(self) -> bool:
        return self.sent >= IGNORED and not self.reactions


def best_channel(declared: Sequence[Channel], records: Mapping[Channel, Record]) -> Channel:
    """Return the channel to write by: the first declared, unless it is ignored and another is reacted to.

    Of several others, the one with the highest share of reactions.
    """
    first = declared[0]
    if not records.get(first, Record()).is_ignored:
        return first
    shares = {each: _share(records.get(each, Record())) for each in declared[1:]}
    best = max(shares, key=lambda each: shares[each], default=first)
    return best if shares.get(best) else first


def best_hour(moments: Iterable[datetime]) -> int | None:
    """Return the hour of the UTC day at which most happened, the earlier of equals; None if too little did."""
    hours = Counter(moment.hour for moment in moments)
    if hours.total() < REACTIONS:
        return None
    return min(hours, key=lambda hour: (-hours[hour], hour))


def _share(record: Record) -> float:
    return record.reactions / record.sent if record.sent else 0.0
