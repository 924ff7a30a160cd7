"""Journeys that are hard to draw: plans, helpers, answers, dates, rounds, ways nobody comes to."""

from datetime import datetime, timedelta
from enum import StrEnum

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.events import Code, Event
    from domain.messages import Status
    from workflows.audience import InSegment
    from workflows.drafts import call, email, inbox, push, sms, whatsapp
    from workflows.journey import Journey, journey

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class AgentRegistered(Event, name="agent_registered"):
    """Starts the welcome."""

    experienced: bool = False
    has_client: bool = False


class CuratorAssigned(Event, name="curator_assigned"):
    """What the welcome waits for."""


class LoanApproved(Event, name="loan_approved"):
    """Starts the cascades."""


class LoanIssued(Event, name="loan_issued"):
    """Their goal."""


class DealClosed(Event, name="deal_closed"):
    """Starts the survey."""


class VisitBooked(Event, name="inspection_booked"):
    """Starts what depends on a date."""

    at: datetime


class VisitCancelled(Event, name="inspection_cancelled"):
    """An exit."""


class Chosen(Event, name="chosen"):
    """Something with a code."""

    bank: Code


class Grade(StrEnum):
    """What may be answered."""

    EXCELLENT = "excellent"
    NORMAL = "normal"
    BAD = "bad"


LESSONS = [(0, "lesson_1"), (2, "lesson_2"), (5, "lesson_3"), (9, "lesson_4"), (14, "lesson_5"), (21, "lesson_6")]


@journey(starts_on=AgentRegistered, ends_on=LoanIssued, listens_to=CuratorAssigned)
class Welcome(Journey):
    """Shows a newcomer what there is for somebody like them."""

    async def steps(self) -> None:
        agent = self.latest(AgentRegistered)
        assert agent
        if agent.experienced and agent.has_client:
            await self.send(email("welcome/functions"))
            await self.wait(DAY)
            await self.send(email("welcome/new_buildings"))
        elif agent.experienced:
            for pause, text in ((0, "finding_clients"), (2, "geography"), (3, "partners")):
                await self.wait(pause * DAY)
                await self.send(email(f"welcome/{text}"))
        elif agent.has_client:
            if await self.wait_for(CuratorAssigned, within=DAY):
                await self.send(email("welcome/curator", transactional=True), inbox("welcome/curator"))
            await self.wait(2 * DAY)
            await self.send(email("welcome/stages"))
        else:
            before = 0
            for day, text in LESSONS:
                await self.wait((day - before) * DAY)
                await self.send(email(f"welcome/{text}"))
                before = day


@journey(starts_on=LoanApproved, key="loan_id", ends_on=LoanIssued)
class Uncollected(Journey):
    """Cascades by a method of its own."""

    async def steps(self) -> None:
        for text in ("first", "last"):
            await self.wait(DAY)
            await self.remind(f"uncollected/{text}")

    async def remind(self, text: str) -> None:
        """From cheap to dear."""
        await self.cascade(push(text), email(text), sms(text), until=Status.READ, within=4 * HOUR)


@journey(starts_on=DealClosed, key="deal_id")
class Survey(Journey):
    """Asks, and goes by the answer."""

    async def steps(self) -> None:
        answer = await self.ask(whatsapp("survey/how_was_it"), within=3 * DAY)
        if answer is None:
            return
        if answer.choice == Grade.EXCELLENT:
            await self.send(email("survey/contest"))
        elif answer.choice in (Grade.NORMAL, Grade.BAD):
            await self.send(call("survey/why"))
        else:
            await self.send(call("survey/free_text"))


@journey(starts_on=VisitBooked, key="visit_id", exits_on=VisitCancelled)
class Reminder(Journey):
    """Depends on a date."""

    async def steps(self) -> None:
        visit = self.latest(VisitBooked)
        assert visit
        if visit.at - self.now > 2 * DAY:
            await self.send(email("visit/welcome"))
        await self.wait(max(visit.at - DAY - self.now, timedelta(0)))
        await self.send(sms("visit/tomorrow", transactional=True, useful_for=12 * HOUR))


@journey(starts_on=InSegment("not_seen_30_days"))
class Rounds(Journey):
    """The same every month, with the month's own texts."""

    async def steps(self) -> None:
        while True:
            await self.send(email("rounds/first", edition=self.month))
            await self.wait(3 * DAY)
            await self.send(email("rounds/second", edition=self.month))
            await self.wait(27 * DAY)


@journey(starts_on=Chosen)
class Leap(Journey):
    """Has a way nobody comes to, one that is taken by new runs, and one that fails."""

    async def steps(self) -> None:
        chosen = self.latest(Chosen)
        assert chosen
        if self.now.year < 2000:
            await self.send(sms("leap/never"))
        if workflow.patched("newer"):
            await self.send(sms("leap/newer"))
        else:
            await self.send(sms("leap/older"))
        if chosen.bank == "Alpha":
            await self.send(sms({"Beta": "leap/beta"}[chosen.bank]))


@journey(starts_on=LoanApproved)
class Endless(Journey):
    """Never says the same twice."""

    async def steps(self) -> None:
        number = 0
        while True:
            number += 1
            await self.send(sms(f"endless/{number}"))


@journey(starts_on=LoanApproved, listens_to=CuratorAssigned)
class Patient(Journey):
    """Hears of something in the middle of something else, and goes by it later."""

    async def steps(self) -> None:
        await self.wait(DAY)
        if self.latest(CuratorAssigned):
            await self.send(sms("patient/curator"))
        if await self.wait_for(CuratorAssigned, within=DAY):
            await self.send(sms("patient/thanks"))


@journey(starts_on=LoanApproved)
class Attentive(Journey):
    """Goes by whether a message went out."""

    async def steps(self) -> None:
        (letter,) = await self.send(email("attentive/letter"))
        if not letter.gone:
            await self.send(sms("attentive/instead"))


@journey(starts_on=Chosen)
class Thread(Journey):
    """Says one thing or another, and the same by each channel."""

    async def steps(self) -> None:
        chosen = self.latest(Chosen)
        text = "thread/alpha" if chosen and chosen.bank == "Alpha" else "thread/other"
        await self.cascade(push(text), sms(text), until=Status.READ, within=DAY)


STORIES = (Welcome, Uncollected, Survey, Reminder, Rounds, Leap, Endless, Patient, Attentive, Thread)
