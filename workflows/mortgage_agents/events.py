"""What a platform for estate agents tells us about them."""

from enum import StrEnum
from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from domain.events import Code, Event, as_code


class Stage(StrEnum):
    """Where an application is."""

    LEAD = "Lead"
    APPROVAL = "Approval"
    DEAL = "Deal"


class LoanType(StrEnum):
    """What is applied for."""

    SECURED = "secured"
    MORTGAGE = "mortgage"
    REFINANCING = "refinancing"


class AgentRegistered(Event, name="agent_registered"):
    """An agent registered; the answers of the survey come with it, unless it was not answered."""

    experienced: bool | None = None
    has_client: bool | None = None


class CuratorGiven(Event, name="curator_assigned"):
    """An agent has a curator; the curator's contacts are among the customer's traits (`curator_name`, …)."""

    curator_id: Annotated[Code, BeforeValidator(as_code)]


class MortgageApplicationSubmitted(Event, name="mortgage_application_submitted"):
    """An application was handed in (property `application_id`)."""


class MortgageApplicationMoved(Event, name="mortgage_application_moved"):
    """An application came to another stage."""

    left: Stage = Field(validation_alias=AliasChoices("from", "left"))
    to: Stage
    loan_type: LoanType | None = None


class DealClosed(Event, name="deal_closed"):
    """A deal was closed (properties `deal_id`, `application_id`, `sum`)."""
