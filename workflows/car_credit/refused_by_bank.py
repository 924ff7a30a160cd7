"""A bank refused: the customer stays in touch and is offered the next best bank."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_credit.banks import BEST_UNTRIED_BANK
    from workflows.car_credit.events import (
        CreditApplicationRefused,
        CreditApplicationSubmitted,
        CreditIssued,
    )
    from workflows.declaration import Parameters, Rule
    from workflows.drafts import call, email, inbox, push
    from workflows.journey import Journey, journey


class Pauses(Parameters):
    """Durations of journey time, each counted from the message before."""

    push_after: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    call_after: timedelta = Field(default=timedelta(days=2), gt=timedelta(0))
    forgotten_after: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


def to_another_bank(refusal: Mapping[str, Any], submission: Mapping[str, Any]) -> bool:
    """Whether an application went elsewhere; one that names no bank counts as elsewhere."""
    return submission.get("bank") is None or submission.get("bank") != refusal.get("bank")


@journey(
    starts_on=CreditApplicationRefused,
    key="application_id",
    ends_on=(Rule(CreditApplicationSubmitted, when=to_another_bank), CreditIssued),
    facts={"offer": BEST_UNTRIED_BANK},
)
class RefusedByBank(Journey[Pauses]):
    """Offers a customer whose application was refused to send it to another bank."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.send(email("refused_by_bank/another_bank"), inbox("refused_by_bank/another_bank"))
        await self.wait(pauses.push_after)
        await self.send(push("refused_by_bank/another_bank"))
        await self.wait(pauses.call_after)
        await self.send(call("refused_by_bank/another_bank"))
        await self.wait(pauses.forgotten_after)
