"""A run of a journey: what it begins with, and what it hands on when it has grown too long."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from domain.clock import Clock
from domain.enrolments import Reply, SeenEvent
from domain.messages import Delivery, Status

MOST_MESSAGES = 100
"""Messages of which the next run knows itself what became of them. Of older ones the outbox knows, and is asked."""

MOST_UNREAD = 1000
"""Events nobody has waited for yet, the newest; more would not fit into one of Temporal's payloads."""

MOST_LINES = 50
"""Lines of what was sent, for people to read."""


class Continuation(BaseModel, frozen=True):
    """What a run that has grown long hands to the one that goes on in its place (Temporal's continue-as-new).

    That is everything it knows but where it stands in `steps()`, which no run can hand on. What the first run began
    with, its parameters too, travels beside it.

    Attributes:
        began: When the stay began; journey time, as are all times here.
        place: Of the journey's own plan, see `Journey.reached`.
        sequence: Of the newest event that was heard.
        stirred: When the customer last did anything the journey hears of.
        counts_from: What the next wait counts from; None: from when it begins.
        best_hour: At which the customer reacts most, as far as that is known.
        occurrences: How often each draft has gone.
        awaited: Statuses the run was to be told, by step.
        untold: Lines of the log that are left out.
    """

    began: datetime
    place: int
    sequence: int
    stirred: datetime
    counts_from: datetime | None
    best_hour: int | None
    latest: dict[str, SeenEvent]
    unread: tuple[SeenEvent, ...]
    replies: dict[str, Reply]
    statuses: dict[str, Status]
    deliveries: dict[str, Delivery]
    occurrences: dict[str, int]
    awaited: dict[str, frozenset[Status]]
    log: tuple[str, ...]
    untold: int
    paused: bool


class Start(BaseModel, frozen=True):
    """Input of a run: numbers, declared fields and parameters; nothing personal.

    Attributes:
        enrolment: Our number of the enrolment.
        customer: Our number of the customer.
        trigger: The event that began it.
        parameters: The journey's parameters, already validated.
        clock: Journey time of this customer.
        edition: Of the base class's own commands, see `workflows.journey.EDITION`.
        before: What the run before this one handed on, if it had grown too long.
    """

    enrolment: int
    customer: int
    trigger: SeenEvent
    parameters: dict[str, Any] = {}
    clock: Clock = Clock()
    edition: int = 1
    before: Continuation | None = None
