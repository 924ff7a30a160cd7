"""The repeat customer: repaid a loan, and may have a larger sum for a longer term."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.audience import InSegment
    from workflows.journey import Journey, journey
    from workflows.payday_loans.cascades import Reach, free_first
    from workflows.payday_loans.events import LoanApplicationSubmitted, LoanRepaid
    from workflows.plan import Moments


class Pauses(Reach):
    """Durations of journey time.

    Attributes:
        after: Since the repayment.
        remembered_for: From the last message on; what is done in this time is what it was for.
    """

    after: Moments = Field(default=tuple(timedelta(days=day) for day in (1, 7, 30, 90)), max_length=4)
    remembered_for: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


# Whoever repays again within six months has never left the segment, so it is the repayment that starts it; the
# segment takes in those who repaid before this journey ran here.
@journey(
    starts_on=(LoanRepaid, InSegment("repeat_customers")),
    restarts_on=LoanRepaid,
    ends_on=LoanApplicationSubmitted,
)
class RepeatCustomer(Journey[Pauses]):
    """Offers a customer who has repaid a loan a larger sum and a longer term."""

    LETTERS = (
        free_first("repeat_customer/thank_you"),
        free_first("repeat_customer/larger_sum"),
        free_first("repeat_customer/longer_term"),
        free_first("repeat_customer/whenever_you_need"),
    )

    async def steps(self) -> None:
        pauses = self.parameters
        for after, letter in zip(pauses.after, self.LETTERS, strict=False):
            await self.wait_until(self.stirred + after)
            await self.cascade(*letter, until=pauses.reached_when, within=pauses.dearer_after)
        if workflow.patched("remembered"):
            await self.wait(pauses.remembered_for)
