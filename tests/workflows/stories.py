"""Journeys of the tests' own, each to try one thing the base class promises."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.events import Code, Event
    from domain.messages import Draft, Order, Status
    from workflows.audience import InSegment, Leaves
    from workflows.drafts import call, email, inbox, push, sms
    from workflows.journey import Journey, journey

TEXT = "abandoned_application/almost_empty"
OTHER = "abandoned_application/partly_filled"
LAST = "abandoned_application/full"

DAY = timedelta(days=1)


class StoryBegun(Event, name="story_begun"):
    """Starts the stubborn story."""


class CascadeBegun(Event, name="cascade_begun"):
    """Starts the cascade."""


class ThriftBegun(Event, name="thrift_begun"):
    """Starts the cascade that looks at prices."""


class QuestionBegun(Event, name="question_begun"):
    """Starts the question."""


class VisitBegun(Event, name="visit_begun"):
    """Starts the wait for a visit."""


class MonthlyBegun(Event, name="monthly_begun"):
    """Starts what may start once a month."""


class UsefulBegun(Event, name="useful_begun"):
    """Starts what is useful for two hours."""


class StoryEnded(Event, name="story_ended"):
    """The goal of them all."""


class StoryLeft(Event, name="story_left"):
    """An exit."""


class Visited(Event, name="visited"):
    """What the wait is for."""

    rooms: int


@journey(starts_on=StoryBegun, ends_on=StoryEnded, exits_on=StoryLeft)
class Stubborn(Journey):
    """Goes on whatever happens: an author's `except Exception` around everything."""

    async def steps(self) -> None:
        while True:
            try:
                await self.cascade(email(TEXT, again=True), sms(TEXT, again=True), until=Status.CLICKED, within=DAY)
            except Exception:
                continue


@journey(starts_on=CascadeBegun, ends_on=StoryEnded)
class Cascade(Journey):
    """Goes from cheap to dear until one was read, and then says by what it was."""

    async def steps(self) -> None:
        reached = await self.cascade(
            push(OTHER), email(OTHER), sms(OTHER), until=Status.READ, within=timedelta(hours=4)
        )
        await self.send(inbox(OTHER if reached else TEXT))


@journey(starts_on=ThriftBegun, ends_on=StoryEnded)
class Thrift(Journey):
    """Goes from what costs least to what costs most, whatever the order it is written in."""

    async def steps(self) -> None:
        reached = await self.cascade(
            call(TEXT),
            sms(TEXT),
            email(TEXT),
            until=Status.READ,
            within=timedelta(hours=4),
            order=Order.CHEAPEST_FIRST,
        )
        await self.send(inbox(OTHER if reached else TEXT))


@journey(starts_on=QuestionBegun, ends_on=StoryEnded)
class Question(Journey):
    """Asks, and thanks whoever answers."""

    async def steps(self) -> None:
        answer = await self.ask(sms(TEXT), within=3 * DAY)
        await self.send(inbox(TEXT if answer is None else OTHER))


@journey(starts_on=VisitBegun, ends_on=StoryEnded, listens_to=Visited)
class Visit(Journey):
    """Sends, and then waits for a visit that may have happened meanwhile."""

    async def steps(self) -> None:
        await self.wait(DAY)
        visit = await self.wait_for(Visited, within=DAY)
        if visit is None:
            await self.send(email(TEXT))
        elif visit.rooms > 2:
            await self.send(inbox(TEXT))


@journey(starts_on=MonthlyBegun, reenter_after=timedelta(days=30))
class Monthly(Journey):
    """May be entered once a month."""

    async def steps(self) -> None:
        await self.send(inbox(TEXT))


@journey(starts_on=UsefulBegun, ends_on=StoryEnded)
class Useful(Journey):
    """An SMS that is worth nothing two hours later."""

    async def steps(self) -> None:
        await self.send(sms(TEXT, useful_for=timedelta(hours=2)))


class TwiceBegun(Event, name="twice_begun"):
    """Starts the wait for two visits."""


@journey(starts_on=TwiceBegun, ends_on=StoryEnded, listens_to=Visited)
class Twice(Journey):
    """Thanks whoever has come twice."""

    async def steps(self) -> None:
        if await self.wait_for(Visited, within=DAY) and await self.wait_for(Visited, within=DAY):
            await self.send(inbox(TEXT))


class BuggyBegun(Event, name="buggy_begun"):
    """Starts what has a bug."""


@journey(starts_on=BuggyBegun, ends_on=StoryEnded)
class Buggy(Journey):
    """Divides by zero."""

    async def steps(self) -> None:
        raise ZeroDivisionError


class LeanBegun(Event, name="lean_begun"):
    """Starts the story whose cost is known."""


@journey(starts_on=LeanBegun, ends_on=StoryEnded)
class Lean(Journey):
    """Enter, wait, send, wait, condition, send, leave."""

    async def steps(self) -> None:
        await self.wait(DAY)
        (first,) = await self.send(inbox(TEXT))
        await self.wait(DAY)
        if first.gone:
            await self.send(inbox(OTHER))


class UrgentBegun(Event, name="urgent_begun"):
    """Starts what is more important than the rest."""


@journey(starts_on=UrgentBegun, ends_on=StoryEnded, priority=1)
class Urgent(Journey):
    """More important than the rest."""

    async def steps(self) -> None:
        await self.wait(DAY)


class ModestBegun(Event, name="modest_begun"):
    """Starts what gives way."""


@journey(starts_on=ModestBegun, ends_on=StoryEnded, gives_way=True)
class Modest(Journey):
    """Rather says nothing than wait for a slot."""

    async def steps(self) -> None:
        await self.wait(DAY)


class LetterBegun(Event, name="letter_begun"):
    """Starts one letter."""

    by: Code
    urgent: bool = False


def _first(channel: str, *, transactional: bool = False) -> Draft:
    drafting = {"email": email, "sms": sms, "push": push, "call": call}[channel]
    return drafting(TEXT if channel == "call" else OTHER, transactional=transactional)


class LetterBegunAnew(Event, name="letter_begun_anew"):
    """Begins it anew."""


@journey(starts_on=LetterBegun, ends_on=StoryEnded, restarts_on=LetterBegunAnew)
class OneLetter(Journey):
    """Sends one message by the channel its event names, and then waits for a month."""

    async def steps(self) -> None:
        begun = self.latest(LetterBegun)
        assert begun is not None
        await self.send(_first(begun.by, transactional=begun.urgent))
        await self.wait(30 * DAY)


class LadderBegun(Event, name="ladder_begun"):
    """Starts the ladder."""

    by: Code


@journey(starts_on=LadderBegun, ends_on=StoryEnded)
class Ladder(Journey):
    """Sends one message by the channel its event names, and where that does not arrive, one to the inbox."""

    async def steps(self) -> None:
        begun = self.latest(LadderBegun)
        assert begun is not None
        await self.cascade(_first(begun.by), inbox(OTHER), until=Status.READ, within=DAY)
        await self.wait(30 * DAY)


class SerialBegun(Event, name="serial_begun"):
    """Starts the serial."""


@journey(starts_on=SerialBegun, ends_on=StoryEnded, listens_to=Visited)
class Serial(Journey):
    """Tells one part a day, thirty-five in all, and then thanks whoever has come meanwhile."""

    PARTS = 35

    async def steps(self) -> None:
        for part in range(self.place, self.PARTS):
            await self.send(inbox(TEXT, again=True))
            await self.wait(DAY)
            await self.reached(part + 1)
        visit = await self.wait_for(Visited, within=DAY)
        await self.send(inbox(OTHER if visit and visit.rooms == 3 else LAST))


@journey(starts_on=InSegment("quiet_month"), ends_on=StoryEnded)
class QuietOnes(Journey):
    """Says twice that somebody is missed."""

    async def steps(self) -> None:
        await self.send(call(TEXT))
        await self.wait(3 * DAY)
        await self.send(call(LAST))
        await self.wait(30 * DAY)


@journey(starts_on=InSegment("quiet_fortnight", keeps=True), ends_on=StoryEnded)
class PatientOnes(Journey):
    """Says every day that somebody is missed, and waits while they are not."""

    async def steps(self) -> None:
        for _ in range(3):
            await self.send(call(TEXT, again=True))
            await self.wait(DAY)


@journey(starts_on=Leaves("quiet_week"), ends_on=StoryEnded)
class WelcomeBack(Journey):
    """Says that it is good to see somebody again."""

    async def steps(self) -> None:
        await self.send(call(TEXT))


STORIES = (
    *(
        QuietOnes,
        PatientOnes,
        WelcomeBack,
        OneLetter,
        Ladder,
        Urgent,
        Modest,
        Buggy,
        Twice,
        Lean,
        Stubborn,
        Cascade,
        Question,
    ),
    *(Visit, Monthly, Useful, Thrift, Serial),
)
