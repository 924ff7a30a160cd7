"""What a dealer group's backend, its call centre and its chat tell us."""

from pydantic import AwareDatetime

from domain.events import Code, Event


class Booking(Event, name="visit_booked"):
    """A visit was agreed, or moved: the newest one of a visit (`visit_id`) counts.

    Attributes:
        at: When; None where nobody has agreed on a time yet.
        centre: Which centre of the group.
    """

    at: AwareDatetime | None = None
    centre: Code | None = None


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
