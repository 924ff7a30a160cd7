"""Platform for estate agents: people register, close a first deal, rate the platform, and stay away for a month."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from pathlib import Path

from cli.demo.lives import Life, Town
from cli.demo.pack import Figure, Outcome, Pack
from cli.demo.people import Kind, Person
from cli.demo.phones import Effect
from cli.demo.texts import have_whatsapp_reviewed, publish
from cli.installation import Installation
from templates import LIBRARY

APPLIES_BY_LETTER = 0.0107
"""Share of the welcome's letters that lead to an application: the platform's own story."""

COMES_BACK_ALONE = 0.1463
"""Share of those away for a month who come back within the next one by themselves: the story's control group."""

COMES_BY_LETTER = 0.006
"""Share of the letters that bring one of the others back; two letters make the story's difference of a percent."""

REGISTERS_FOR_CONTEST = 0.25
"""Share of the invitations after a first deal that lead to a registration for the contest."""

MONTH = timedelta(days=30)
THEMES = ("rates_and_commissions", "geography_and_passport", "contract_and_notary")


class Part(StrEnum):
    """What somebody's part in the story is."""

    REGISTERS = auto()
    CLOSES_A_DEAL = auto()
    WAS_AWAY = auto()
    ENTERS_CONTEST = auto()


@dataclass(frozen=True, eq=False)
class Agent(Kind):
    """A kind of agents.

    Attributes:
        survey: What they answer at registration.
        rates: The button they press after the first deal, ``words``, or nothing.
    """

    part: Part = Part.REGISTERS
    survey: tuple[bool, bool] | None = None
    rates: str = ""


def _registers(story: str, share: int, survey: tuple[bool, bool] | None) -> Agent:
    return Agent(story, share, {"email": "attend"}, app=0, survey=survey)


def _rates(story: str, share: int, rates: str) -> Agent:
    answers = {"whatsapp": "attend", "email": "attend", "call": "attend"}
    return Agent(story, share, answers, app=0, part=Part.CLOSES_A_DEAL, rates=rates)


KINDS = (
    _registers("experienced, with a client", 6, (True, True)),
    _registers("experienced, without a client", 6, (True, False)),
    _registers("inexperienced, with a client", 6, (False, True)),
    _registers("inexperienced, without a client", 6, (False, False)),
    _registers("leave the survey out", 2, None),
    _rates("first deal, excellent", 8, "excellent"),
    _rates("first deal, normal", 2, "normal"),
    _rates("first deal, bad", 1, "bad"),
    _rates("first deal, answer in words", 1, "words"),
    _rates("first deal, do not answer", 2, ""),
    Agent("not on the platform for a month", 40, {"email": "attend"}, app=0, part=Part.WAS_AWAY),
    Agent("register for the contest by themselves", 20, app=0, part=Part.ENTERS_CONTEST),
)


class AgentsLife(Life[Agent]):
    """They register and are welcomed, close a deal and are asked, are away and are written to."""

    come_within_days = 5

    def __init__(self, person: Person[Agent], town: Town, dice: random.Random) -> None:
        super().__init__(person, town, dice)
        self._done = False

    async def begin(self) -> None:
        """Begin what this person's part in the story is."""
        match self._person.kind.part:
            case Part.REGISTERS:
                await self._register()
            case Part.CLOSES_A_DEAL:
                self.later(self._close_a_deal())
            case Part.WAS_AWAY:
                await self.tell_of_past("rates_viewed", ago=MONTH + self._dice.uniform(0, 1) * MONTH)
                if self.happens(COMES_BACK_ALONE):
                    self.later(self._come_back_alone())
            case Part.ENTERS_CONTEST:
                self.later(self._enter_contest_alone())

    async def do(self, deed: str, message: Effect) -> None:
        """Read it, and do what it leads this person to."""
        text = await self.text_of(message)
        match text.partition("/")[0]:
            case "welcome_by_segment" | "curator":
                if self.happens(APPLIES_BY_LETTER) and await self.follow(message):
                    await self.tell("mortgage_application_submitted", application_id=f"{self._person.user_id}-1")
                elif self.happens(self._person.kind.reads):
                    await self._town.phones.open(message)
            case "first_deal_survey":
                await self._answer_survey(text, message)
            case "reactivation" if not self._done and self.happens(COMES_BY_LETTER):
                if await self.follow(message):
                    await self._come_back()

    async def _answer_survey(self, text: str, message: Effect) -> None:
        rates = self._person.kind.rates
        if text == "first_deal_survey/rating" and rates == "words":
            await self._town.phones.reply(message, "The curator was quick, the bank was not.")
        elif text == "first_deal_survey/rating" and rates:
            await self._town.phones.press(message, rates)
        elif text == "first_deal_survey/contest" and not self._done and self.happens(REGISTERS_FOR_CONTEST):
            self._done = True
            if await self.follow(message):
                await self.tell("contest_registered", entry_id=self._person.user_id)

    async def _register(self) -> None:
        survey = self._person.kind.survey
        answers = {"experienced": survey[0], "has_client": survey[1]} if survey else {}
        await self.tell("agent_registered", **answers)
        if survey == (False, True):
            self.later(self._get_a_curator())

    async def _get_a_curator(self) -> None:
        """A curator is found within some hours, or after a day and more."""
        await self.hours(2, 36)
        curator = {"curator_name": "Vera Stone", "curator_phone": "+12125550199"}
        await self._town.backend.introduce(self._person, **curator)
        await self.tell("curator_assigned", curator_id="vera-stone")

    async def _close_a_deal(self) -> None:
        application = f"{self._person.user_id}-1"
        await self.tell("mortgage_application_submitted", application_id=application)
        for left, to in (("Lead", "Approval"), ("Approval", "Deal")):
            await self.hours(24, 72)
            move = {"from": left, "to": to, "loan_type": "mortgage"}
            await self.tell("mortgage_application_moved", application_id=application, **move)
        await self.hours(48, 120)
        deal = {"deal_id": f"{application}-deal", "application_id": application}
        await self.tell("deal_closed", sum=self._dice.randrange(50_000, 400_000, 1000), **deal)

    async def _come_back_alone(self) -> None:
        await self.hours(0, MONTH / timedelta(hours=1))
        if not self._done:
            await self._come_back()

    async def _come_back(self) -> None:
        self._done = True
        await self.tell("rates_viewed")

    async def _enter_contest_alone(self) -> None:
        await self.hours(24, 480)
        await self.tell("contest_registered", entry_id=self._person.user_id)


async def prepare(installation: Installation) -> None:
    """Put the months' letters in, and have the survey approved."""
    clock = await installation.clock()
    began = clock.journey_time(datetime.now(UTC))
    months = list(dict.fromkeys(f"{began + timedelta(days=day):%Y-%m}" for day in range(0, 61, 10)))
    for month, theme in zip(months, THEMES, strict=False):
        for letter in ("first", "second"):
            for locale in ("en", "ru"):
                source = (LIBRARY / "reactivation" / theme / f"{letter}.email.{locale}.md").read_text(encoding="utf-8")
                await publish(installation, f"reactivation/{letter}/email/{locale}", source, edition=month)
    await have_whatsapp_reviewed(installation)


async def figures(outcome: Outcome[Agent]) -> list[Figure]:
    """Tell who was welcomed how, what the survey and the letters brought, and who woke up."""
    return [*_welcomes(outcome), *(await _brought(outcome)), *(await _woken(outcome))]


def _welcomes(outcome: Outcome[Agent]) -> list[Figure]:
    """Count the letters of each welcome."""
    letters = {stay.user_id: sum(each.left for each in stay.messages) for stay in outcome.of("WelcomeBySegment")}
    story = {(True, True): "2 each", (True, False): "3 each", (False, True): "4 each", (False, False): "8 each"}
    return [
        Figure(
            f"letters to {kind.story}, each",
            round(sum(got) / len(got), 2),
            None,
            story.get(kind.survey, "as inexperienced without a client") if kind.survey else "8 each",
        )
        for kind in KINDS
        if kind.part is Part.REGISTERS
        and (got := [letters.get(each.user_id, 0) for each in outcome.people if each.kind is kind])
    ]


async def _brought(outcome: Outcome[Agent]) -> list[Figure]:
    asked = outcome.of("FirstDealSurvey")
    answered = [stay for stay in asked if any(message.status == "replied" for message in stay.messages)]
    welcome = sum(each.left for stay in outcome.of("WelcomeBySegment") for each in stay.messages)
    report = "/v1/reports/attribution"
    applied = await outcome.installation.get(report, event="mortgage_application_submitted", key="application_id")
    contest = await outcome.installation.get(report, event="contest_registered", key="entry_id")
    by_welcome = sum(each["conversions"] for each in applied["brought"] if each["journey"] == "WelcomeBySegment")
    by_survey = sum(each["conversions"] for each in contest["brought"] if each["journey"] == "FirstDealSurvey")
    return [
        Figure("applications by the welcome's letters", by_welcome, welcome, "1.07% by letter"),
        Figure("answers to the survey", len(answered), len(asked)),
        Figure("registrations for the contest that came from it", by_survey, contest["conversions"], "8.6%"),
    ]


async def _woken(outcome: Outcome[Agent]) -> list[Figure]:
    # Whoever was first written to so lately that their month is not nearly over would only thin both groups out.
    clock = await outcome.installation.clock()
    until = clock.wall_time(clock.journey_time(datetime.now(UTC)) - MONTH + timedelta(days=1))
    effect = await outcome.installation.get("/v1/reports/effect", journey="Reactivation", until=until.isoformat())
    treated, control = effect["treated"], effect["control"]
    found = [
        Figure("woke up, of those Reactivation writes to", treated["came"], treated["customers"], "15.66%"),
        Figure("woke up, of the control group", control["came"], control["customers"], "14.63%"),
    ]
    if effect["confidence"] is not None:
        found.append(
            Figure(
                "confidence that they differ, percent", round(100 * effect["confidence"], 1), None, "85, of thousands"
            )
        )
    return found


PACK = Pack(
    name="mortgage_agents",
    # Five days until everybody has come, and the month of the longest welcome and of Reactivation's comparison.
    story=timedelta(days=36),
    speed=17_280,
    customers=300,
    kinds=KINDS,
    life=AgentsLife,
    figures=figures,
    prepare=prepare,
    deployment=Path(__file__).with_suffix(".toml"),
)
