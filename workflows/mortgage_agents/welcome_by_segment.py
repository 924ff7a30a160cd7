"""Welcome to the platform, four ways, by what an agent said of themselves at registration."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import Field, field_validator

    from domain.messages import Draft
    from workflows.declaration import Parameters, Rule
    from workflows.drafts import email
    from workflows.journey import Journey, journey
    from workflows.mortgage_agents.events import AgentRegistered, CuratorGiven, MortgageApplicationSubmitted

DAY = timedelta(days=1)


class Days(Parameters):
    """When each letter goes, counted from registration; journey time."""

    to_experienced_with_client: tuple[timedelta, timedelta] = (0 * DAY, 1 * DAY)
    to_experienced: tuple[timedelta, timedelta, timedelta] = (0 * DAY, 2 * DAY, 5 * DAY)
    to_inexperienced_with_client: tuple[timedelta, timedelta, timedelta] = (2 * DAY, 4 * DAY, 7 * DAY)
    to_inexperienced: tuple[timedelta, timedelta, timedelta, timedelta, timedelta, timedelta, timedelta, timedelta] = (
        0 * DAY,
        3 * DAY,
        7 * DAY,
        11 * DAY,
        15 * DAY,
        20 * DAY,
        25 * DAY,
        30 * DAY,
    )
    curator_within: timedelta = Field(default=DAY, gt=timedelta(0))
    remembered_for: timedelta = Field(default=30 * DAY, gt=timedelta(0))

    @field_validator("to_experienced_with_client", "to_experienced", "to_inexperienced_with_client", "to_inexperienced")
    @classmethod
    def _in_order(cls, days: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if days[0] < timedelta(0) or list(days) != sorted(set(days)):
            raise ValueError("each letter must come after the one before, the first not before registration")
        return days


@journey(
    starts_on=Rule(AgentRegistered, unless_done=AgentRegistered),
    ends_on=MortgageApplicationSubmitted,
    listens_to=CuratorGiven,
)
class WelcomeBySegment(Journey[Days]):
    """Shows a new agent what the platform does for agents like them, until their first application."""

    async def steps(self) -> None:
        days = self.parameters
        agent = self.latest(AgentRegistered)
        # Who did not answer the survey is taught: it does no harm to those who know.
        experienced, has_client = (agent.experienced, agent.has_client) if agent else (None, None)
        if experienced and has_client:
            await self.write(
                days.to_experienced_with_client,
                email("welcome_by_segment/functions"),
                email("welcome_by_segment/new_buildings"),
            )
        elif experienced:
            await self.write(
                days.to_experienced,
                email("welcome_by_segment/finding_clients"),
                email("welcome_by_segment/clients_by_referral"),
                email("welcome_by_segment/wider_geography"),
            )
        elif has_client:
            await self.tell_of_the_curator()
            await self.write(
                days.to_inexperienced_with_client,
                email("welcome_by_segment/what_each_stage_needs"),
                email("welcome_by_segment/what_can_go_wrong"),
                email("welcome_by_segment/where_to_read_more"),
            )
        else:
            await self.write(
                days.to_inexperienced,
                email("welcome_by_segment/lesson_1_how_mortgages_work"),
                email("welcome_by_segment/lesson_2_first_client"),
                email("welcome_by_segment/lesson_3_first_talk"),
                email("welcome_by_segment/lesson_4_documents"),
                email("welcome_by_segment/lesson_5_choosing_a_bank"),
                email("welcome_by_segment/lesson_6_application"),
                email("welcome_by_segment/lesson_7_after_approval"),
                email("welcome_by_segment/lesson_8_the_deal"),
            )
        await self.wait(days.remembered_for)

    async def tell_of_the_curator(self) -> None:
        """Send the curator's contacts; where none comes in time, whom to ask until then."""
        curator = await self.wait_for(CuratorGiven, within=self.parameters.curator_within)
        if curator:
            await self.send(email("curator/contacts", once=True, about=curator.curator_id))
        else:
            await self.send(email("welcome_by_segment/until_the_curator"))

    async def write(self, days: tuple[timedelta, ...], *letters: Draft) -> None:
        """Send letters, each on its day."""
        for day, letter in zip(days, letters, strict=True):
            await self.wait_since_start(day)
            await self.send(letter)
