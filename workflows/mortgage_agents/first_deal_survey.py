"""The first deal is closed: how was it? Who is content is invited, who is not is called."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from domain.messages import Status
    from workflows.declaration import Parameters, Rule
    from workflows.drafts import call, email, whatsapp
    from workflows.facts import WORDS
    from workflows.journey import Journey, journey
    from workflows.mortgage_agents.events import DealClosed


class Patience(Parameters):
    """Journey time for which an answer, and the arrival of the invitation, is waited for."""

    answer_within: timedelta = Field(default=timedelta(days=3), gt=timedelta(0))
    invitation_within: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))


@journey(
    starts_on=Rule(DealClosed, unless_done=DealClosed),
    key="deal_id",
    facts={"words": WORDS},
)
class FirstDealSurvey(Journey[Patience]):
    """Asks an agent how they rate working with the platform, after their first deal."""

    async def steps(self) -> None:
        patience = self.parameters
        answer = await self.ask(whatsapp("first_deal_survey/rating"), within=patience.answer_within)
        if answer is None:
            return
        match answer.choice:
            case "excellent":
                await self.cascade(
                    whatsapp("first_deal_survey/contest"),
                    email("first_deal_survey/contest"),
                    until=Status.DELIVERED,
                    within=patience.invitation_within,
                )
            case "normal" | "bad":
                await self.send(call("first_deal_survey/learn_why"))
            case _:
                await self.send(call("first_deal_survey/wrote_in_words"))
