"""The uncollected loan: the money is approved, get the customer to take it."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.declaration import Rule
    from workflows.journey import Journey, journey
    from workflows.payday_loans.cascades import Reach, free_first
    from workflows.payday_loans.events import LoanApproved, LoanIssued
    from workflows.plan import Moments


class Pauses(Reach):
    """Durations of journey time.

    Attributes:
        after: Since the approval.
        remembered_for: From the last message on; what is done in this time is what it was for.
    """

    after: Moments = Field(
        default=(timedelta(hours=2), timedelta(days=1), timedelta(days=2), timedelta(days=5)), max_length=4
    )
    remembered_for: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=Rule(LoanApproved, if_done=LoanIssued),
    key="loan_id",
    ends_on=LoanIssued,
)
class UncollectedLoan(Journey[Pauses]):
    """Reminds a customer who has had loans before of the one that is approved and waits."""

    REMINDERS = (
        free_first("uncollected_loan/approved"),
        free_first("uncollected_loan/ways_to_take_it"),
        free_first("uncollected_loan/still_waiting"),
        free_first("uncollected_loan/last_reminder"),
    )

    async def steps(self) -> None:
        pauses = self.parameters
        for after, reminder in zip(pauses.after, self.REMINDERS, strict=False):
            await self.wait_until(self.began + after)
            await self.cascade(*reminder, until=pauses.reached_when, within=pauses.dearer_after)
        if workflow.patched("remembered"):
            await self.wait(pauses.remembered_for)
