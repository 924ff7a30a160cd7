"""The journey that is measured: enter, wait, send, wait, condition, send, leave."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.events import Event
    from workflows.drafts import sms
    from workflows.journey import Journey, journey


class RoundBegun(Event, name="round_begun"):
    """A customer enters."""


class RoundWon(Event, name="round_won"):
    """The goal nobody reaches."""


@journey(starts_on=RoundBegun, ends_on=RoundWon)
class Round(Journey):
    """Waits a second, sends, waits a second, sends if the first has gone, leaves."""

    async def steps(self) -> None:
        await self.wait(timedelta(seconds=1))
        (first,) = await self.send(sms("abandoned_application/almost_empty"))
        await self.wait(timedelta(seconds=1))
        if first.gone:
            await self.send(sms("abandoned_application/partly_filled"))
