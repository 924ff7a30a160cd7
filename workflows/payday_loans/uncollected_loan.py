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
    """Durations of journey time since the approval."""

    after: Moments = Field(
        default=(timedelta(hours=2), timedelta(days=1), timedelta(days=2), timedelta(days=5)), max_length=4
    )


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
