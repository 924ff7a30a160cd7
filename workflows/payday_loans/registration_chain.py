"""The registration: whoever stops on a step hears of it, and of the company, until they go on."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field, PlainValidator

    from domain.messages import Draft
    from workflows.journey import Journey, journey
    from workflows.payday_loans.cascades import Reach
    from workflows.payday_loans.events import (
        RegistrationCompleted,
        RegistrationStarted,
        RegistrationStepCompleted,
        Step,
    )
    from workflows.plan import AS_TABLE, Plan, Planned, plan_of

PLAN = str(Path(__file__).with_name("registration_plan.csv"))

_read = plan_of(list(Step))

# Published reviews, as the backend tells of them, and none that we made up: each message takes the next one.
REVIEW = """
select v.properties ->> 'text' as text, v.properties ->> 'author' as author
from events v
where v.name = 'review_published' and v.properties ->> 'text' is not null and v.properties ->> 'author' is not null
order by v.id desc
offset (select count(*) from messages where enrolment_id = $1 and channel = 'email' and status <> 'skipped')
       % greatest((select count(*) from events where name = 'review_published'), 1)
limit 1
"""


class Pauses(Reach):
    """Durations of journey time.

    Attributes:
        plan: The messages of each step, with the days since the customer came there.
        considered_stopped_after: From the last step done to the first message of the next one.
        one_a: At most one message of the plan in this time, on one step.
        forgotten_after: From the last message of a step to the end of the stay; who goes on before is answered.
    """

    plan: Annotated[Plan, PlainValidator(_read), AS_TABLE] = Field(default_factory=lambda: _read(PLAN))
    considered_stopped_after: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))
    one_a: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))
    forgotten_after: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))


@journey(
    starts_on=RegistrationStarted,
    restarts_on=RegistrationStepCompleted,
    ends_on=RegistrationCompleted,
    facts={"review": REVIEW},
)
class RegistrationChain(Journey[Pauses]):
    """Accompanies a customer through the registration, with the company's story and its customers' reviews."""

    async def steps(self) -> None:
        pauses = self.parameters
        await self.until_quiet(pauses.considered_stopped_after)
        for place, message in pauses.plan.at(self.step, self.place):
            await self.wait_until(self._due(place))
            await self.cascade(*_drafts(message), until=pauses.reached_when, within=pauses.dearer_after)
            await self.reached(place + 1)
        await self.wait(pauses.forgotten_after)

    @property
    def step(self) -> str:
        """The step after the last one done; "" after the last of all.

        Whoever goes back to an earlier one hears nothing until they are where they were: that step's messages
        are behind their place in the plan.
        """
        done = self.latest(RegistrationStepCompleted)
        left = [each for each in Step if done is None or list(Step).index(each) > list(Step).index(done.step)]
        return left[0] if left else ""

    def _due(self, place: int) -> datetime:
        """Days count from coming to the step, and then from message to message, so that none catches up another."""
        messages = self.parameters.plan.messages
        message, before = messages[place], messages[place - 1] if place else None
        if before is None or before.step != message.step:
            return self.stirred + timedelta(days=message.day)
        left = self.left_at(*_drafts(before)) or self.now
        return left + max(timedelta(days=message.day - before.day), self.parameters.one_a)


def _drafts(message: Planned) -> list[Draft]:
    return [Draft(channel=channel, template=message.text) for channel in message.channels]
