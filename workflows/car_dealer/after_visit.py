"""The customer was there and thinks it over: tell the advantages of the offer."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_dealer.events import ContractSigned, VisitMade
    from workflows.car_dealer.reaching import Cascading, Reaching, letter_first, of_another_visit
    from workflows.declaration import Rule
    from workflows.journey import journey


class Pauses(Cascading):
    """Journey time since the visit.

    Attributes:
        remembered_for: From the last message on; a contract in this time is what it was for.
    """

    rising = ("offer_after", "service_after", "drive_after")

    offer_after: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    service_after: timedelta = Field(default=timedelta(days=4), gt=timedelta(0))
    drive_after: timedelta = Field(default=timedelta(days=9), gt=timedelta(0))
    remembered_for: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=VisitMade,
    key="visit_id",
    ends_on=Rule(ContractSigned, any_key=True),
    exits_on=Rule(VisitMade, when=of_another_visit, any_key=True),
)
class AfterVisit(Reaching[Pauses]):
    """Tells a customer who was at the centre what speaks for the offer, while they think."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.wait_until(self.began + pauses.offer_after)
        await self.reach(*letter_first("after_visit/offer"))
        await self.wait_until(self.began + pauses.service_after)
        await self.reach(*letter_first("after_visit/service"))
        await self.wait_until(self.began + pauses.drive_after)
        await self.reach(*letter_first("after_visit/drive"))
        if workflow.patched("remembered"):
            await self.wait(pauses.remembered_for)
