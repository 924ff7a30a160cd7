"""The dealer's cascade: email where it is known, then WhatsApp, which customers prefer, and SMS last."""

from datetime import timedelta

import typing_extensions
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from domain.messages import Delivery, Draft, Status
    from workflows.declaration import Parameters
    from workflows.journey import Journey


class Cascading(Parameters):
    """Journey time a channel has until its message is opened or read; then the next one is used."""

    next_channel_after: timedelta = Field(default=timedelta(hours=24), gt=timedelta(0))


C = typing_extensions.TypeVar("C", bound=Cascading, default=Cascading)


class Reaching(Journey[C]):
    """What the dealer's journeys share."""

    _parameters_model = Cascading

    async def reach(self, *drafts: Draft) -> Delivery | None:
        """Write by one channel after the other, in the order given, until one is opened or read."""
        return await self.cascade(*drafts, until=Status.READ, within=self.parameters.next_channel_after)
