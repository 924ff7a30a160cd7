"""Winning back: who has not been here for long hears nothing, and then this chain alone."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.audience import InSegment
    from workflows.journey import Journey, journey
    from workflows.payday_loans.cascades import Reach, free_first
    from workflows.plan import Moments


class Pauses(Reach):
    """Durations of journey time.

    Attributes:
        silence: From entering the segment to the chain.
        after: Since the silence ended.
        forgotten_after: From the last message to the end of the stay, when others may write again.
    """

    silence: timedelta = Field(default=timedelta(days=14), gt=timedelta(0))
    after: Moments = Field(default=(timedelta(0), timedelta(days=7), timedelta(days=30)), max_length=3)
    forgotten_after: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=InSegment("churned_customers", won_back=True),  # any activity is the goal
    exclusive=True,  # all other communication stops
)
class WinBack(Journey[Pauses]):
    """Wins back a customer who has not been here for long."""

    LETTERS = (
        free_first("win_back/we_are_here"),
        free_first("win_back/what_is_new"),
        free_first("win_back/goodbye"),
    )

    async def steps(self) -> None:
        pauses = self.parameters
        for after, letter in zip(pauses.after, self.LETTERS, strict=False):
            await self.wait_until(self.began + pauses.silence + after)
            await self.cascade(*letter, until=pauses.reached_when, within=pauses.dearer_after)
        await self.wait(pauses.forgotten_after)
