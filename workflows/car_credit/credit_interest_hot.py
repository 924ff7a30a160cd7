"""Interest in credit, hot: the customer looked at what a loan is, and did not apply."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_credit.events import (
        CreditApplicationSubmitted,
        CreditCalculatorUsed,
        CreditLinkClicked,
        CreditPromoViewed,
    )
    from workflows.declaration import Parameters
    from workflows.drafts import inbox, push
    from workflows.journey import Journey, journey


class Pauses(Parameters):
    """Durations of journey time; `once_in` counts over both journeys of interest in credit."""

    push_after: timedelta = Field(default=timedelta(minutes=30), gt=timedelta(0))
    message_after: timedelta = Field(default=timedelta(hours=24), gt=timedelta(0))
    remembered_for: timedelta = Field(default=timedelta(days=7), gt=timedelta(0))
    once_in: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=(CreditPromoViewed, CreditCalculatorUsed, CreditLinkClicked),
    ends_on=CreditApplicationSubmitted,
    reenter_after=lambda pauses: pauses.once_in,
    limited_with="credit_interest",
)
class CreditInterestHot(Journey[Pauses]):
    """Invites a customer who looked at what a loan is to apply for one."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.wait(pauses.push_after)
        await self.send(push("credit_interest_hot/apply"))
        await self.wait(pauses.message_after)
        await self.send(inbox("credit_interest_hot/apply"))
        await self.wait(pauses.remembered_for)
