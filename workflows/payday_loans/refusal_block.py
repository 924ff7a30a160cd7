"""After a refusal: silence for some days, and then a letter that they may apply again."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.declaration import Parameters
    from workflows.drafts import email
    from workflows.journey import Journey, journey
    from workflows.payday_loans.events import LoanApplicationSubmitted, LoanRefused


class Pauses(Parameters):
    """Journey time from the refusal on."""

    silence: timedelta = Field(default=timedelta(days=7), gt=timedelta(0), le=timedelta(days=3660))


@journey(
    starts_on=LoanRefused,
    restarts_on=LoanRefused,  # refused again: silent for as long again
    exits_on=LoanApplicationSubmitted,  # they know that they may
    blocks_for="silence",
)
class RefusalBlock(Journey[Pauses]):
    """Leaves a customer alone who was refused, and then tells them that they may apply again."""

    async def steps(self) -> None:
        await self.until_quiet(self.parameters.silence)
        await self.send(email("refusal_block/apply_again"))
