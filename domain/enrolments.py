"""An enrolment: one customer's one stay in one journey. The row is ours, the run is Temporal's."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class Outcome(StrEnum):
    """How a stay in a journey ended."""

    GOAL = "goal"
    EXIT = "exit"
    FINISHED = "finished"
    STOPPED = "stopped"
    MERGED = "merged"
    ERASED = "erased"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class SeenEvent(BaseModel, frozen=True):
    """An event as a run sees it: its place in the customer's order and its declared fields.

    Attributes:
        sequence: Place in the order of accepted events.
        name: Event name.
        at: When it happened, in journey time, never later than its acceptance.
        fields: Values of the declared model's fields; never anything undeclared.
    """

    sequence: int
    name: str
    at: datetime
    fields: dict[str, Any] = {}


class FormProgress(BaseModel, frozen=True):
    """Signal: the customer filled in more of a form."""

    event: SeenEvent
    filled: int
    total: int


class DeliveryStatus(BaseModel, frozen=True):
    """Signal: a message this run waits for has moved on."""

    sequence: int
    message: str
    status: str


class Reply(BaseModel, frozen=True):
    """Signal: the customer answered a message; the text itself stays in PostgreSQL.

    Attributes:
        choice: Id of the button or option chosen; None for free text.
    """

    sequence: int
    message: str
    choice: str | None


class Departure(BaseModel, frozen=True):
    """Signal: the enrolment is over, decided when the event (or command) was accepted."""

    sequence: int
    outcome: Outcome
    event: str | None = None


AUDITED = "audited-"
"""How the id of a command to a run begins that has an entry in the audit log already."""
