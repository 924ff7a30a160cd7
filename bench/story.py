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


class RoundDisturbed(Event, name="round_disturbed"):
    """What is waited for in vain."""


class CustomerCalled(Event, name="customer_called"):
    """A customer enters the journey that sends at once."""


SECOND = timedelta(seconds=1)


@journey(starts_on=RoundBegun, ends_on=RoundWon, listens_to=RoundDisturbed)
class Round(Journey):
    """Waits a second, sends, waits a second, sends if the first has gone, leaves.

    It waits for an event that never comes, because `wait` counts from when the message left, and the
    bare workflow it is measured against waits a whole second.
    """

    async def steps(self) -> None:
        await self.wait_for(RoundDisturbed, within=SECOND)
        (first,) = await self.send(sms("abandoned_application/almost_empty"))
        await self.wait_for(RoundDisturbed, within=SECOND)
        if first.gone:
            await self.send(sms("abandoned_application/partly_filled"))


@journey(starts_on=CustomerCalled, ends_on=RoundWon)
class Prompt(Journey):
    """Sends at once: how long that takes is what campaigns are measured by."""

    async def steps(self) -> None:
        await self.send(sms("abandoned_application/almost_empty"))
