"""The abandoned first loan: four reminders in a week, by the free channels as far as these reach."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.declaration import Rule
    from workflows.journey import Journey, journey
    from workflows.payday_loans.cascades import Reach, free_first
    from workflows.payday_loans.events import LoanApplicationStarted, LoanApplicationSubmitted, LoanIssued
    from workflows.plan import Moments


class Pauses(Reach):
    """Durations of journey time.

    Attributes:
        after: Since the application was begun.
        remembered_for: From the last message on; what is done in this time is what it was for.
    """

    after: Moments = Field(
        default=(timedelta(hours=1), timedelta(days=1), timedelta(days=3), timedelta(days=7)), max_length=4
    )
    remembered_for: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=Rule(LoanApplicationStarted, unless_done=LoanIssued),
    key="application_id",
    ends_on=LoanApplicationSubmitted,
)
class AbandonedFirstLoan(Journey[Pauses]):
    """Brings a customer back to the application for their first loan."""

    REMINDERS = (
        free_first("abandoned_first_loan/saved"),
        free_first("abandoned_first_loan/what_is_left"),
        free_first("abandoned_first_loan/questions"),
        free_first("abandoned_first_loan/last_reminder"),
    )

    async def steps(self) -> None:
        pauses = self.parameters
        for after, reminder in zip(pauses.after, self.REMINDERS, strict=False):
            await self.wait_until(self.began + after)
            await self.cascade(*reminder, until=pauses.reached_when, within=pauses.dearer_after)
        if workflow.patched("remembered"):
            await self.wait(pauses.remembered_for)
