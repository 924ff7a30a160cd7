"""The dealer's cascade: email where it is known, then WhatsApp, which customers prefer, and SMS last."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import typing_extensions
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from domain.messages import Delivery, Draft, Status
    from workflows.declaration import Parameters
    from workflows.drafts import Cascade, email, sms, whatsapp
    from workflows.journey import Journey


letter_first = Cascade(email, whatsapp, sms)
"""The order is declared, not computed: WhatsApp costs more than an SMS segment, and customers prefer it."""


class Cascading(Parameters):
    """Journey time a channel has until its message is opened or read; then the next one is used."""

    next_channel_after: timedelta = Field(default=timedelta(hours=24), gt=timedelta(0))


def of_another_visit(made: Mapping[str, Any], again: Mapping[str, Any]) -> bool:
    """Whether a customer was there once more: what follows that visit takes the place of what follows this one."""
    return again.get("visit_id") != made.get("visit_id")


C = typing_extensions.TypeVar("C", bound=Cascading, default=Cascading)


class Reaching(Journey[C]):
    """What the dealer's journeys share."""

    _parameters_model = Cascading

    async def reach(self, *drafts: Draft) -> Delivery | None:
        """Write by one channel after the other, in the order given, until one is opened or read."""
        return await self.cascade(*drafts, until=Status.READ, within=self.parameters.next_channel_after)
