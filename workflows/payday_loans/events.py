"""What a lender's backend tells us about registrations, applications and loans."""

from enum import StrEnum

from domain.events import Event


class Step(StrEnum):
    """The steps of the registration, in their order."""

    PHONE = "phone"
    PASSPORT = "passport"
    ADDRESS = "address"
    INCOME = "income"
    PAYOUT = "payout"
    AGREEMENT = "agreement"


class RegistrationStarted(Event, name="registration_started"):
    """The customer began to register."""


class RegistrationStepCompleted(Event, name="registration_step_completed"):
    """The customer did one of the steps of the registration."""

    step: Step


class RegistrationCompleted(Event, name="registration_completed"):
    """The customer has an account."""


class LoanApplicationStarted(Event, name="loan_application_started"):
    """The customer opened the application for a loan (property `application_id`)."""


class LoanApplicationSubmitted(Event, name="loan_application_submitted"):
    """The customer sent it (property `application_id`)."""


class LoanRefused(Event, name="loan_refused"):
    """The loan was not approved."""


class LoanApproved(Event, name="loan_approved"):
    """The money waits to be taken (property `loan_id`)."""


class LoanIssued(Event, name="loan_issued"):
    """The customer took it (property `loan_id`)."""


class LoanRepaid(Event, name="loan_repaid"):
    """A loan was repaid in full."""
