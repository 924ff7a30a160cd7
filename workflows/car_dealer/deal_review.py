"""After the deal: would they recommend us, from 0 to 10."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_dealer.events import ContractSigned
    from workflows.declaration import Parameters
    from workflows.drafts import call, sms, whatsapp
    from workflows.facts import WORDS
    from workflows.journey import Journey, journey


class Asking(Parameters):
    """Durations of journey time; a score is 0 to 10."""

    asked_after: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    answered_within: timedelta = Field(default=timedelta(days=2), gt=timedelta(0))
    unhappy_up_to: int = Field(default=6, ge=0, le=9)


@journey(starts_on=ContractSigned, key="deal_id", facts={"words": WORDS})
class DealReview(Journey[Asking]):
    """Asks a customer for a score after the deal; whoever is unhappy is called."""

    async def steps(self) -> None:
        asking = self.parameters
        await self.wait(asking.asked_after)
        reply = await self.ask(
            whatsapp("deal_review/score"),
            sms("deal_review/score"),
            within=asking.answered_within,
        )
        if reply is None:
            return
        # Words instead of a number: somebody listens to them.
        if reply.choice is None or not reply.choice.isdecimal():
            await self.send(call("deal_review/in_words"))
        elif int(reply.choice) <= asking.unhappy_up_to:
            await self.send(call("deal_review/unhappy"))
        else:
            await self.send(whatsapp("deal_review/thanks", transactional=True))
