"""What a dealer group's backend, its call centre and its chat tell us."""

from datetime import datetime

from pydantic import field_validator

from domain.events import Code, Event


class Booking(Event, name="visit_booked"):
    """A visit was agreed, or moved: the newest one of a visit (`visit_id`) counts.

    Attributes:
        at: When, with its offset from UTC; None where nobody has agreed on a time yet.
        centre: Which centre of the group.
    """

    at: datetime | None = None
    centre: Code | None = None

    @field_validator("at")
    @classmethod
    def _says_where(cls, at: datetime | None) -> datetime | None:
        if at is not None and at.tzinfo is None:
            raise ValueError("must carry its offset from UTC, as in 2026-12-01T11:00:00+03:00")
        return at


class VisitCancelled(Event, name="visit_cancelled"):
    """The customer will not come (property `visit_id`)."""


class VisitMade(Event, name="visit_made"):
    """The customer was there (property `visit_id`)."""


class ContractSigned(Event, name="contract_signed"):
    """The customer bought a car (property `deal_id`)."""


class QuizOpened(Event, name="quiz_opened"):
    """The customer followed the link of the quiz, or wrote its keyword."""


class GalleryOpened(Event, name="model_gallery_opened"):
    """The customer followed the link of the new model's pictures, or wrote its keyword."""
