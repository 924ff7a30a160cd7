"""A segment: customers who have something in common, by name; and the two events there are about it."""

from typing import Annotated

from pydantic import BaseModel, StringConstraints

from domain.events import SEGMENT_ENTERED, SEGMENT_LEFT, Code, Event

SegmentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""A segment's name; it enters runs, so it is a `Code`."""


class SegmentEntered(Event, name=SEGMENT_ENTERED):
    """The customer is in a segment from now on."""

    segment: Code


class SegmentLeft(Event, name=SEGMENT_LEFT):
    """The customer is in a segment no more."""

    segment: Code


class Scan(BaseModel, frozen=True):
    """What a run of `SegmentScan` is told.

    Attributes:
        asked_by: Name of the key that wants it; None if it is time.
        evaluation: Number of the record it goes on with; None for the first run of a scan.
    """

    segment: str
    asked_by: str | None = None
    evaluation: int | None = None


class ScanProgress(BaseModel, frozen=True):
    """How far a scan has come."""

    over: bool
    examined: int = 0
    entered: int = 0
    departed: int = 0


class Look(BaseModel, frozen=True):
    """What came of looking at the customers something happened to, or for whom time may have changed something.

    Attributes:
        more: There are more of them.
        to_scan: Segments by which all customers are to be looked at.
    """

    examined: int
    more: bool
    to_scan: tuple[str, ...] = ()
