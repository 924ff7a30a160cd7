"""The journey as it is when customers begin it."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.car_credit.events import (
        CreditApplicationProgressed,
        CreditApplicationStarted,
        CreditApplicationSubmitted,
    )
    from workflows.drafts import email, sms
    from workflows.journey import Journey, journey


@journey(
    starts_on=CreditApplicationStarted,
    key="application_id",
    ends_on=CreditApplicationSubmitted,
    restarts_on=CreditApplicationProgressed,
)
class Reminder(Journey):
    """Brings a customer back to the application they left."""

    async def steps(self) -> None:
        await self.send(email("abandoned_application/full"))
        await self.wait(timedelta(days=1))
        await self.send(sms("abandoned_application/partly_filled"))
        await self.wait(timedelta(days=30))
