"""What customers do, as the backend tells it and as journeys declare it."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Event(BaseModel):
    """A declaration of an event journeys may see: its name and the fields that may enter a run.

    A run's history is kept by Temporal for ever, so only what is declared here reaches it: numbers
    and short codes, never names, addresses or free text. Undeclared properties stay in PostgreSQL,
    where templates can use them.

    Example:
        class CreditIssued(Event, name="credit_issued"):
            bank: str
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
