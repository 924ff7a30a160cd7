"""The limit that is left: an offer for a time, where the customer is just looking."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.declaration import Parameters, Rule
    from workflows.drafts import popup
    from workflows.instalments.events import AccountOpened, PurchaseMade
    from workflows.journey import Journey, journey


class Limits(Parameters):
    """Durations of journey time."""

    offer_lasts: timedelta = Field(default=timedelta(days=3), gt=timedelta(0))
    once_in: timedelta = Field(default=timedelta(days=7), gt=timedelta(0))


def limit_is_left(_: Mapping[str, Any], opened: Mapping[str, Any]) -> bool:
    """Whether there is anything left to spend."""
    return float(opened.get("limit_left") or 0) > 0


@journey(
    starts_on=Rule(AccountOpened, when=limit_is_left),
    ends_on=PurchaseMade,
    reenter_after=lambda limits: limits.once_in,
)
class LimitReminder(Journey[Limits]):
    """Shows a customer who opens their account how much of their limit is left, and where to use it."""

    async def steps(self) -> None:
        lasts = self.parameters.offer_lasts
        # The offer and what tells of it are over together, also for who does not come to the site meanwhile.
        await self.send(popup("limit_reminder/limit_left", useful_for=lasts))
        await self.wait(lasts)
