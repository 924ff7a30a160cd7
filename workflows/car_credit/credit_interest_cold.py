"""Interest in credit, cold: the customer is choosing a car, and has not thought of a loan."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.audience import Enters
    from workflows.car_credit.events import CreditApplicationSubmitted
    from workflows.declaration import Parameters
    from workflows.drafts import inbox, push
    from workflows.journey import Journey, journey


class Pauses(Parameters):
    """Durations of journey time; `once_in` counts over both journeys of interest in credit."""

    push_after: timedelta = Field(default=timedelta(hours=12), gt=timedelta(0))
    message_after: timedelta = Field(default=timedelta(hours=24), gt=timedelta(0))
    remembered_for: timedelta = Field(default=timedelta(days=7), gt=timedelta(0))
    once_in: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


# Who views less than before still chooses a car: only entering the segment counts, not leaving it.
@journey(
    starts_on=Enters("credit_interest_cold"),
    ends_on=CreditApplicationSubmitted,
    reenter_after=lambda pauses: pauses.once_in,
    limited_with="credit_interest",
)
class CreditInterestCold(Journey[Pauses]):
    """Tells a customer who is choosing a car that they can have it on credit."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.wait(pauses.push_after)
        await self.send(push("credit_interest_cold/on_credit"))
        await self.wait(pauses.message_after)
        await self.send(inbox("credit_interest_cold/on_credit"))
        await self.wait(pauses.remembered_for)
