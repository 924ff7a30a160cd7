"""Dealer group: people book visits, come, think it over, choose elsewhere, and are asked which car suits them."""

import contextlib
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from cli.demo.lives import Life, Town
from cli.demo.pack import Figure, Outcome, Pack
from cli.demo.people import Kind, Person
from cli.demo.phones import Effect
from cli.demo.texts import have_whatsapp_reviewed, publish
from cli.installation import Installation, Refused

CENTRES = ("north", "south", "riverside")

EMAIL_KNOWN = 0.10
"""Share of the customers whose mailbox the dealer knows, by its own story."""

OPENS_QUIZ = {"whatsapp": 0.055, "sms": 40 / 7000}
"""Share of the quiz's mailing that opens it, by the channel it came by: the dealer's own story."""

QUIZ = {
    "whatsapp/en": "---\ncategory: marketing\n---\n"
    "Which car suits you? Two questions, and you know: {{ site }}/quiz. It takes a minute.",
    "whatsapp/ru": "---\ncategory: marketing\n---\n"
    "Какая машина вам подойдёт? Два вопроса, и вы узнаете: {{ site }}/quiz. Это займёт минуту.",
    "sms/en": "{{ company }}: which car suits you? Two questions: {{ site }}/quiz Reply STOP to opt out",
    "sms/ru": "{{ company }}: какая машина вам подойдёт? Два вопроса: {{ site }}/quiz Отписка: STOP",
}

MAILING_AFTER = timedelta(days=9)
"""When most visits are over: a campaign gives way to journeys that have much to do."""


@dataclass(frozen=True, eq=False)
class Visitor(Kind):
    """A kind of the dealer's customers; all of them read what they get, and differ in what they decide.

    Attributes:
        visits: They book a visit; the others have only called the centre, two months ago.
        was_there: They have just been there instead of booking.
        comes: They come to the visit they have booked.
        moves: They move it first.
        says_when: They name a time when they book.
        buys: They sign the contract the day after.
        won_by_offer: Share of the messages after the visit that lead to a contract.
        returns: Share of the messages to those who chose elsewhere that bring them back.
        score: What they answer after the deal, 0 to 10; None if they do not.
    """

    visits: bool = True
    was_there: bool = False
    comes: bool = True
    moves: bool = False
    says_when: bool = True
    buys: bool = False
    won_by_offer: float = 0
    returns: float = 0
    score: int | None = None


def _reader(story: str, share: int, **decides: object) -> Visitor:
    answers = dict.fromkeys(("email", "whatsapp", "sms", "call"), "attend")
    return Visitor(story, share, answers, email=EMAIL_KNOWN, app=0, reads=0.7, **decides)  # type: ignore[arg-type]


KINDS = (
    _reader("book a visit, come and buy", 6, buys=True, score=9),
    _reader("come and buy, and are not happy", 2, buys=True, score=4),
    _reader("come, and are won by the offer", 6, won_by_offer=0.35, score=8),
    _reader("move their visit, come and buy", 3, moves=True, buys=True),
    _reader("name no time, and do not come", 2, says_when=False, comes=False),
    _reader("cancel their visit", 3, comes=False),
    _reader("come, and choose elsewhere", 8, returns=0.035),
    _reader("were there, and choose elsewhere", 30, was_there=True, returns=0.035),
    _reader("have called the centre", 40, visits=False),
)


class VisitorsLife(Life[Visitor]):
    """They book, come, decide, and are asked."""

    come_within_days = 2

    def __init__(self, person: Person[Visitor], town: Town, dice: random.Random) -> None:
        super().__init__(person, town, dice)
        self._visits = 0
        self._bought = False

    async def begin(self) -> None:
        """Book a visit, or tell that they were there, or have called."""
        kind = self._person.kind
        if not kind.visits:
            await self.tell_of_past("centre_called", ago=timedelta(days=60))
        elif kind.was_there:
            await self._is_there(self._next_visit())
        else:
            await self._book()

    async def do(self, deed: str, message: Effect) -> None:
        """Read it, and do what it leads this person to."""
        text = await self.text_of(message)
        kind, phones = self._person.kind, self._town.phones
        if message.channel != "call" and self.happens(kind.reads):
            await phones.open(message)
        match text.partition("/")[0]:
            case "after_visit" if not self._bought and self.happens(kind.won_by_offer):
                await self.follow(message)
                await self._buy()
            case "lost_to_competitor" if self.happens(kind.returns):
                await self.follow(message)
                await self._book()
            case "campaigns" if self.happens(OPENS_QUIZ.get(message.channel, 0)):
                if await self.follow(message):
                    await self.tell("quiz_opened", channel=message.channel)
            case "car_quiz" if message.buttons:
                await self._press(message, self._dice.choice(message.buttons))
            case "deal_review" if text == "deal_review/score" and kind.score is not None:
                await phones.reply(message, str(kind.score))

    async def _press(self, message: Effect, button: str) -> None:
        """Press a button of the quiz; whoever asks for a manager or phones the centre agrees on a visit there."""
        await self._town.phones.press(message, button)
        if button in ("operator", "phone"):
            await self.hours(2, 6)
            await self._book()

    def _next_visit(self) -> str:
        self._visits += 1
        return f"{self._person.user_id}-{self._visits}"

    async def _book(self) -> None:
        """Agree on a visit, from tomorrow to a week ahead."""
        kind, visit = self._person.kind, self._next_visit()
        at = self._hour_of_a_day(self._dice.randint(1, 7))
        await self._tell_of(visit, at if kind.says_when else None)
        self.later(self._until(visit, at))

    async def _until(self, visit: str, at: datetime) -> None:
        """Move the visit, cancel it, or come."""
        kind = self._person.kind
        if kind.moves and self._visits == 1:
            await self.hours(4, 12)
            at += timedelta(days=2)
            await self._tell_of(visit, at)
        if not kind.comes and kind.visits:
            await self.hours(6, 18)
            if kind.says_when:
                await self.tell("visit_cancelled", visit_id=visit)
            return
        await self._town.pace.comes(at)
        await self._is_there(visit)

    async def _is_there(self, visit: str) -> None:
        await self.tell("visit_made", visit_id=visit)
        if self._person.kind.buys:
            self.later(self._buy_tomorrow())

    async def _buy_tomorrow(self) -> None:
        await self.hours(12, 30)
        await self._buy()

    async def _buy(self) -> None:
        if not self._bought:
            self._bought = True
            await self.tell("contract_signed", deal_id=f"{self._person.user_id}-deal")

    async def _tell_of(self, visit: str, at: datetime | None) -> None:
        when = {"at": at.isoformat()} if at else {}
        await self.tell("visit_booked", visit_id=visit, centre=self._dice.choice(CENTRES), **when)

    def _hour_of_a_day(self, days: int) -> datetime:
        """An hour of daylight so many days from now."""
        return self._town.pace.now + timedelta(days=days, hours=self._dice.uniform(-3, 3))


async def prepare(installation: Installation) -> None:
    """Write the quiz's mailing, and have all that goes by WhatsApp approved."""
    for name, source in QUIZ.items():
        await publish(installation, f"campaigns/quiz/{name}", source)
    await have_whatsapp_reviewed(installation)


async def meanwhile(town: Town) -> None:
    """Send the quiz's mailing, and talk with those who ask for a manager."""
    town.tasks.create_task(_at_the_desk(town))
    await town.pace.passes(MAILING_AFTER)
    form = {
        "name": "quiz",
        "segment": "contacted_not_bought",
        "cascade": [{"channel": channel, "template": "campaigns/quiz"} for channel in OPENS_QUIZ],
        "reached": "read",
        "within": "P1D",
        "goal": "quiz_opened",
        # It gives way by wall seconds, of which each is hours here.
        "useful_for": "P14D",
        "rate_per_second": 100,
    }
    await town.installation.put("/v1/campaigns/quiz", form)
    await town.installation.post("/v1/campaigns/quiz/start", {"confirm": True})


async def _at_the_desk(town: Town) -> None:
    """Answer whoever called a person, and close what is settled."""
    while True:
        await town.pace.passes(timedelta(hours=2))
        for talk in (await town.installation.get("/v1/conversations", limit=100))["conversations"]:
            path = f"/v1/conversations/{talk['id']}"
            answer = {"id": str(uuid4()), "text": "Good afternoon! Come when it suits you, I keep a car for you."}
            # Whom it is too late to answer (24 hours by WhatsApp's rule) has been seen to all the same.
            with contextlib.suppress(Refused):
                await town.installation.post(f"{path}/answers", answer)
            await town.installation.post(f"{path}/close")


async def figures(outcome: Outcome[Visitor]) -> list[Figure]:
    """Tell who came, who opened the quiz by which channel, and who came back."""
    installation = outcome.installation
    booked, lost = outcome.of("VisitBooked"), outcome.of("LostToCompetitor")
    written_to = [stay for stay in lost if any(message.left for message in stay.messages)]
    return [
        Figure("visits made, of those booked", sum(stay.outcome == "goal" for stay in booked), len(booked)),
        *(await _openings(installation)),
        Figure(
            "return from competitors, of those written to",
            sum(stay.outcome == "goal" for stay in written_to),
            len(written_to),
            "7-9%, by three messages; two fall into these weeks",
        ),
        *(await _costs(installation)),
    ]


async def _openings(installation: Installation) -> list[Figure]:
    """Count whom the mailing reached by a channel, and which of them followed its link."""
    if not await installation.get("/v1/campaigns"):
        # Too few days were played: the mailing has not begun.
        return []
    campaign = await installation.get("/v1/campaigns/quiz")
    story = {"whatsapp": "5.5%", "sms": "40 of 7,000, 0.6%"}
    return [
        Figure(
            f"opened the quiz from {channel}",
            sum(each["clicked"] for each in campaign["messages"] if each["channel"] == channel),
            sum(each["sent"] for each in campaign["messages"] if each["channel"] == channel),
            told,
        )
        for channel, told in story.items()
    ]


async def _costs(installation: Installation) -> list[Figure]:
    rows = (await installation.get("/v1/reports/costs"))["rows"]
    return [
        Figure(
            f"roubles for {channel}",
            sum(float(row["estimated"].get("RUB", 0)) for row in rows if row["channel"] == channel),
        )
        for channel in ("whatsapp", "sms")
    ]


PACK = Pack(
    name="car_dealer",
    # Two days until everybody has come, two weeks until who has not bought counts as lost, a week to the second
    # message, and a day each for WhatsApp and SMS to be read.
    story=timedelta(days=26),
    speed=14_400,
    customers=200,
    kinds=KINDS,
    life=VisitorsLife,
    figures=figures,
    prepare=prepare,
    meanwhile=meanwhile,
    deployment=Path(__file__).with_suffix(".toml"),
)
