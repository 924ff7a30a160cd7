"""What a credit service's backend tells us about its applications."""

from pydantic import Field

from domain.events import Event, FormProgressEvent


class CreditApplicationStarted(Event, name="credit_application_started"):
    """The customer opened the form; it may come with what was filled in for them."""

    filled: int = Field(default=0, ge=0)
    total: int = Field(default=1, gt=0)

    @property
    def share(self) -> float:
        """How full the form is, 0 to 1."""
        return min(self.filled / self.total, 1)


class CreditApplicationProgressed(FormProgressEvent, name="credit_application_progressed"):
    """The customer filled in more fields."""


class CreditApplicationSubmitted(Event, name="credit_application_submitted"):
    """The form was sent to a bank (property `bank`, where the backend knows it)."""


class CreditApplicationRefused(Event, name="credit_application_refused"):
    """A bank refused (property `bank`)."""


class CreditPromoViewed(Event, name="credit_promo_viewed"):
    """The customer saw the promotion of credit."""


class CreditCalculatorUsed(Event, name="credit_calculator_used"):
    """The customer reckoned what a loan would cost them."""


class CreditLinkClicked(Event, name="credit_link_clicked"):
    """The customer followed a link to credit."""


class CreditIssued(Event, name="credit_issued"):
    """The customer has the money."""
