"""An application was approved and becomes a deal: where to find the flat."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.declaration import Parameters, Rule
    from workflows.drafts import email
    from workflows.journey import Journey, journey
    from workflows.mortgage_agents.events import MortgageApplicationMoved, Stage


class Limits(Parameters):
    """`once_in` is journey time: an application that goes back and forth is written about once."""

    once_in: timedelta = Field(default=timedelta(days=365), gt=timedelta(0))


def from_approval_to_deal(_: Mapping[str, Any], moved: Mapping[str, Any]) -> bool:
    """Whether an application was approved and is a deal now."""
    return (moved.get("from"), moved.get("to")) == (Stage.APPROVAL, Stage.DEAL)


@journey(
    starts_on=Rule(MortgageApplicationMoved, when=from_approval_to_deal),
    key="application_id",
    reenter_after=lambda limits: limits.once_in,
)
class DealStage(Journey[Limits]):
    """Gives an agent the database of new buildings when a bank has approved their client."""

    async def steps(self) -> None:
        await self.send(email("deal_stage/new_buildings"))
