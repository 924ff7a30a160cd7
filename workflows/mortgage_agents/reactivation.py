"""An agent has not been seen for a month: two letters, and every month the next round with that month's texts."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.audience import InSegment
    from workflows.declaration import Parameters
    from workflows.drafts import email
    from workflows.journey import Journey, journey


class Rounds(Parameters):
    """Durations of journey time; `rounds` is how many months somebody is written to at most."""

    second_letter_after: timedelta = Field(default=timedelta(days=3), gt=timedelta(0))
    next_round_after: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
    rounds: int = Field(default=12, ge=1, le=60)


@journey(
    starts_on=InSegment("agents_away_for_a_month", won_back=True),
    holdout=0.10,
)
class Reactivation(Journey[Rounds]):
    """Brings back an agent who has not been on the platform for a month."""

    async def steps(self) -> None:
        pauses = self.parameters
        for _ in range(pauses.rounds):
            month = self.month
            (letter,) = await self.send(email("reactivation/first", edition=month, once=True))
            # No texts this month, or none that is new to them: then the round is left out.
            if letter.gone:
                await self.wait(pauses.second_letter_after)
                await self.send(email("reactivation/second", edition=month, once=True))
            await self.wait(pauses.next_round_after)
