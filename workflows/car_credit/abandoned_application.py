"""The abandoned credit application: write by how full the form is, until it is submitted."""

from datetime import timedelta
from enum import Enum, auto

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from workflows.car_credit.banks import BEST_UNTRIED_BANK
    from workflows.car_credit.events import (
        CreditApplicationProgressed,
        CreditApplicationStarted,
        CreditApplicationSubmitted,
    )
    from workflows.declaration import Parameters
    from workflows.drafts import call, email, inbox, push, sms
    from workflows.journey import Journey, journey


class Level(Enum):
    """How full the form is; content, channels, order and pauses depend on it."""

    ALMOST_EMPTY = auto()
    PARTLY_FILLED = auto()
    ALMOST_FULL = auto()
    FULL = auto()


class Pauses(Parameters):
    """Thresholds are shares of the form's fields; durations are journey time."""

    rising = ("partly_filled_from", "almost_full_above")

    considered_gone_after: timedelta = Field(default=timedelta(minutes=30), gt=timedelta(0))
    partly_filled_from: float = Field(default=0.15, gt=0, lt=1)
    almost_full_above: float = Field(default=0.80, gt=0, lt=1)
    letter_after_call: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    sms_after_letter: timedelta = Field(default=timedelta(days=2), gt=timedelta(0))
    sms_after_push: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    call_when_almost_full_after: timedelta = Field(default=timedelta(hours=3), gt=timedelta(0))
    sms_after_call: timedelta = Field(default=timedelta(days=2), gt=timedelta(0))
    call_when_full_after: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))
    forgotten_after: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=CreditApplicationStarted,
    key="application_id",
    ends_on=CreditApplicationSubmitted,
    restarts_on=CreditApplicationProgressed,
    facts={"offer": BEST_UNTRIED_BANK},
)
class AbandonedApplication(Journey[Pauses]):
    """Brings a customer back to the credit application they began and left."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.until_quiet(pauses.considered_gone_after)
        match self.level:
            case Level.ALMOST_EMPTY:
                await self.send(call("abandoned_application/almost_empty"))
                await self.wait(pauses.letter_after_call)
                await self.send(
                    email("abandoned_application/almost_empty"),
                    inbox("abandoned_application/almost_empty"),
                )
                await self.wait(pauses.sms_after_letter)
                await self.send(sms("abandoned_application/almost_empty"))
            case Level.PARTLY_FILLED:
                await self.send(
                    push("abandoned_application/partly_filled"),
                    email("abandoned_application/partly_filled"),
                    inbox("abandoned_application/partly_filled"),
                )
                await self.wait(pauses.sms_after_push)
                await self.send(sms("abandoned_application/partly_filled"))
            case Level.ALMOST_FULL:
                await self.send(
                    email("abandoned_application/almost_full"),
                    inbox("abandoned_application/almost_full"),
                )
                await self.wait(pauses.call_when_almost_full_after)
                await self.send(call("abandoned_application/almost_full"))
                await self.wait(pauses.sms_after_call)
                await self.send(sms("abandoned_application/almost_full"))
            case Level.FULL:
                await self.send(
                    email("abandoned_application/full"),
                    inbox("abandoned_application/full"),
                )
                await self.wait(pauses.call_when_full_after)
                await self.send(call("abandoned_application/full"))
        await self.until_quiet(pauses.forgotten_after)

    @property
    def level(self) -> Level:
        """How full the form is now."""
        form = self.latest(CreditApplicationProgressed) or self.latest(CreditApplicationStarted)
        share = form.share if form else 0
        if share >= 1:
            return Level.FULL
        if share > self.parameters.almost_full_above:
            return Level.ALMOST_FULL
        if share >= self.parameters.partly_filled_from:
            return Level.PARTLY_FILLED
        return Level.ALMOST_EMPTY
