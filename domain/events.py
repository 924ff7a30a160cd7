"""What customers do, as the backend tells it and as journeys declare it."""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

CUSTOMER_IDENTIFIED = "customer_identified"
CUSTOMER_GROUPED = "customer_grouped"
CUSTOMER_ALIASED = "customer_aliased"
PAGE_VIEWED = "page_viewed"
SCREEN_VIEWED = "screen_viewed"
CUSTOMER_ERASED = "customer_erased"
JOURNEY_STOPPED = "journey_stopped"
SEGMENT_ENTERED = "segment_entered"
SEGMENT_LEFT = "segment_left"
CONVERSATION_OPENED = "conversation_opened"
OF_MESSAGES = "message_"
"""What the names of events about messages begin with: ``message_delivered``."""

_OURS = {
    CUSTOMER_IDENTIFIED,
    CUSTOMER_GROUPED,
    CUSTOMER_ALIASED,
    PAGE_VIEWED,
    SCREEN_VIEWED,
    CUSTOMER_ERASED,
    JOURNEY_STOPPED,
    SEGMENT_ENTERED,
    SEGMENT_LEFT,
    CONVERSATION_OPENED,
}


def is_ours(name: str) -> bool:
    """Whether a name is kept for events we make ourselves: no `track` call of a backend can play their part."""
    return name in _OURS or name.startswith(OF_MESSAGES)


class _IsCode:
    """Marks `Code` among all other annotated strings."""


CODE = r"^[A-Za-z][A-Za-z0-9_.:-]{0,31}$"
Code = Annotated[str, StringConstraints(pattern=CODE), _IsCode()]
"""A short code, such as the name of a bank or a product: a letter, then at most 31 letters, digits and ``_.:-``.

No address, no phone number, no sentence and no token of a device is one.
"""


def as_code(value: Any) -> Any:
    """Return an id that is a `Code` as it is, any other (a number, a UUID, an address) as a code made of its hash.

    For fields that tell things apart and mean nothing else: ``Annotated[Code, BeforeValidator(as_code)]``.
    """
    if not isinstance(value, str | int) or isinstance(value, bool) or (isinstance(value, str) and not value.strip()):
        return value
    given = str(value).strip()
    return given if re.fullmatch(CODE, given) else f"id-{sha256(given.encode()).hexdigest()[:24]}"


class Event(BaseModel):
    """A declaration of an event journeys may see: its name and the fields that may enter a run.

    A run's history is kept by Temporal for ever, so only what is declared here reaches it: numbers,
    truths, dates, enumerations and `Code`, never names, addresses or free text (see `free_fields`).
    Undeclared properties stay in PostgreSQL, where templates can use them.

    Example:
        class CreditIssued(Event, name="credit_issued"):
            bank: Code
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_name: ClassVar[str]

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls.event_name = name

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        """Let pydantic pass the class keyword by."""

    @classmethod
    def free_fields(cls) -> list[str]:
        """Return the fields that could hold what no history may keep; a journey cannot be declared with them."""
        free = [name for name, field in cls.model_fields.items() if not _is_plain(field.annotation, field.metadata)]
        # What is worked out by code, or let in undeclared, is nothing anybody has checked.
        undeclared = ["whatever is undeclared"] if cls.model_config.get("extra") == "allow" else []
        return [*free, *cls.model_computed_fields, *undeclared]


class FormProgressEvent(Event):
    """Progress on a form; reaches a run as the signal `form_progress`.

    Attributes:
        filled: Fields filled in so far.
        total: Fields the form has.
    """

    filled: int = Field(ge=0)
    total: int = Field(gt=0)

    @model_validator(mode="after")
    def _no_more_than_all(self) -> "FormProgressEvent":
        if self.filled > self.total:
            raise ValueError("filled must not exceed total")
        return self

    @property
    def share(self) -> float:
        """How full the form is, 0 to 1."""
        return self.filled / self.total


_PLAIN = (int, float, Decimal, date, timedelta, Enum, NoneType)
"""Types whose values are no words of anybody; bool is an int, datetime a date."""


def _is_plain(annotation: Any, metadata: Sequence[Any] = ()) -> bool:
    """Whether values of a type can be kept in a history."""
    if any(isinstance(each, _IsCode) for each in metadata):
        return annotation is str
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_plain(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return all(map(_is_plain, arguments))
    return origin is Literal or (isinstance(annotation, type) and issubclass(annotation, _PLAIN))
