"""The new customer: registered and has not applied. Written to often, as long as they are in the segment."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.audience import InSegment
    from workflows.journey import Journey, journey
    from workflows.payday_loans.cascades import Reach, free_first
    from workflows.payday_loans.events import LoanApplicationSubmitted
    from workflows.plan import Moments


class Pauses(Reach):
    """Durations of journey time.

    Attributes:
        after: Since the customer entered the segment, which is when they registered.
        remembered_for: From the last message on; what is done in this time is what it was for.
    """

    after: Moments = Field(default=tuple(timedelta(days=day) for day in (1, 3, 7, 14, 30, 60)), max_length=6)
    remembered_for: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(starts_on=InSegment("new_customers"), ends_on=LoanApplicationSubmitted)
class NewCustomer(Journey[Pauses]):
    """Tells who has registered what a first loan is like: a quick answer, privacy, the money where they want it."""

    LETTERS = (
        free_first("new_customer/quick_answer"),
        free_first("new_customer/privacy"),
        free_first("new_customer/where_the_money_goes"),
        free_first("new_customer/how_to_borrow_well"),
        free_first("new_customer/your_account"),
        free_first("new_customer/still_here"),
    )

    async def steps(self) -> None:
        pauses = self.parameters
        for after, letter in zip(pauses.after, self.LETTERS, strict=False):
            await self.wait_until(self.began + after)
            await self.cascade(*letter, until=pauses.reached_when, within=pauses.dearer_after)
        if workflow.patched("remembered"):
            await self.wait(pauses.remembered_for)
