"""A visit and no contract: the customer is choosing elsewhere, so offer them better terms."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_dealer.events import Booking, ContractSigned, VisitMade
    from workflows.car_dealer.reaching import Cascading, Reaching, letter_first, of_another_visit
    from workflows.declaration import Rule
    from workflows.journey import journey


class Pauses(Cascading):
    """Journey time: until a customer counts as lost, and from then on.

    Attributes:
        remembered_for: From the last message on; who returns in this time has returned by it.
    """

    rising = ("makes_after", "centres_after")

    lost_after: timedelta = Field(default=timedelta(days=14), gt=timedelta(0))
    makes_after: timedelta = Field(default=timedelta(days=7), gt=timedelta(0))
    centres_after: timedelta = Field(default=timedelta(days=21), gt=timedelta(0))
    remembered_for: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=VisitMade,
    key="visit_id",
    # Another visit of theirs, and whatever contract, is what it is for.
    ends_on=(Rule(Booking, any_key=True), Rule(ContractSigned, any_key=True)),
    exits_on=Rule(VisitMade, when=of_another_visit, any_key=True),
)
class LostToCompetitor(Reaching[Pauses]):
    """Wins back whoever came, looked, and has not bought in two weeks."""

    async def steps(self) -> None:
        pauses = self.parameters
        lost = self.began + pauses.lost_after
        await self.wait_until(lost)
        await self.reach(*letter_first("lost_to_competitor/terms"))
        await self.wait_until(lost + pauses.makes_after)
        await self.reach(*letter_first("lost_to_competitor/makes"))
        await self.wait_until(lost + pauses.centres_after)
        await self.reach(*letter_first("lost_to_competitor/centres"))
        if workflow.patched("remembered"):
            await self.wait(pauses.remembered_for)
