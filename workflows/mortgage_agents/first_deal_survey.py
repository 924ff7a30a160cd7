"""The first deal is closed: how was it? Who is content is invited, who is not is called."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field

    from domain.messages import Status
    from workflows.declaration import Parameters, Rule
    from workflows.drafts import call, email, whatsapp
    from workflows.journey import Journey, journey
    from workflows.mortgage_agents.events import DealClosed


class Patience(Parameters):
    """Journey time for which an answer, and the arrival of the invitation, is waited for."""

    answer_within: timedelta = Field(default=timedelta(days=3), gt=timedelta(0))
    invitation_within: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))


# What the agent answered last, for the person who calls them.
ANSWER = """
select c.body ->> 'Body' as words from callbacks c join messages m on m.id = c.message_id
where m.enrolment_id = $1 and c.body ->> 'Body' is not null order by c.received_at desc limit 1
"""


@journey(
    starts_on=Rule(DealClosed, first=True),
    key="deal_id",
    facts={"answer": ANSWER},
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
