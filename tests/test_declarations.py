"""Journeys that are declared wrongly are found before they run, with file and line."""

import inspect
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from shutil import copytree
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, EmailStr, Field, ValidationError, computed_field

from domain.events import Code, Event
from domain.messages import Channel, Status
from templates import TEXTS
from templates.renderer import BadTexts, Texts
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError, Parameters, Rule
from workflows.drafts import email, sms
from workflows.enabled import JOURNEYS, enabled
from workflows.journey import Journey, journey


class ProbeBegun(Event, name="probe_begun"):
    """Starts what is tested here."""


class ProbeBegunOtherwise(Event, name="probe_begun"):
    """The same name with another meaning."""

    count: int


class Waits(Parameters):
    """Parameters with a range."""

    wait: timedelta = Field(default=timedelta(days=1), gt=timedelta(0))


@journey(starts_on=ProbeBegun)
class Misspelt(Journey[Waits]):
    """Names texts there are not."""

    async def steps(self) -> None:
        await self.wait(self.parameters.wait)
        await self.send(email("abandoned_application/full"))
        await self.send(sms("abandoned_application/ful"))


@journey(starts_on=ProbeBegunOtherwise)
class Contrary(Journey):
    """Declares an event differently."""

    async def steps(self) -> None:
        await self.send(sms(HALF))


HALF = "abandoned_application/reminder_of_may"


def told(*workflows: type[Journey[Any]], texts: Texts | None = None) -> list[str]:
    """Return what is said to be wrong with journeys: the text of the line it is said of, and what is said."""
    try:
        catalog = Catalog.of(workflows)
        if texts:
            catalog.check_texts(texts, texts.locales)
    except DeclarationError as error:
        lines = Path(__file__).read_text().splitlines()
        found = [
            re.fullmatch(r"(?:.*test_declarations.py:(\d+)|tests\.test_declarations): (.*)", each)
            for each in str(error).splitlines()
        ]
        return [f"{lines[int(each[1]) - 1].strip()} -> {each[2]}" if each[1] else each[2] for each in found if each]
    return []


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts.load(TEXTS)


def test_what_ships_is_declared_rightly(texts: Texts) -> None:
    Catalog.of(JOURNEYS).check_texts(texts, texts.locales)


def test_texts_there_are_not_are_found_with_the_line_and_the_files_to_write(texts: Texts) -> None:
    assert told(Misspelt, texts=texts) == [
        'await self.send(sms("abandoned_application/ful")) -> there is no text abandoned_application/ful for sms; '
        "write sms.en.txt and sms.ru.txt in templates/texts/abandoned_application/ful, "
        "or is it abandoned_application/full"
    ]
    assert told(Contrary, texts=texts) == [
        "await self.send(sms(HALF)) -> there is no text abandoned_application/reminder_of_may for sms; "
        "write sms.en.txt and sms.ru.txt in templates/texts/abandoned_application/reminder_of_may"
    ]


def test_a_language_a_text_lacks_is_found(tmp_path: Path) -> None:
    copytree(TEXTS / "letter", tmp_path / "letter")
    (tmp_path / "letter" / "footer.de.md").write_text("{{ company }}, {{ postal_address }}")
    text = tmp_path / "abandoned_application" / "full"
    text.mkdir(parents=True)
    for locale in ("de", "en"):
        (text / f"sms.{locale}.txt").write_text("Hello")
    # What this deployment does not speak need not be there, nor be right.
    (text / "sms.ru.txt").write_text("{% if %}")
    assert Texts.load(tmp_path, ["de", "en"]).find("abandoned_application/full", Channel.SMS, "fr").locale == "de"
    (text / "sms.de.txt").unlink()
    with pytest.raises(BadTexts, match=r"abandoned_application/full/sms.de.txt:1: every text must exist in de and en"):
        Texts.load(tmp_path, ["de", "en"])


def test_one_event_has_one_meaning() -> None:
    assert told(Misspelt, Contrary) == [
        'class ProbeBegunOtherwise(Event, name="probe_begun"): -> ProbeBegunOtherwise is the event probe_begun, '
        f"and so is ProbeBegun at {place(ProbeBegun)}; give it a name of its own, or use the other"
    ]


def place(cls: type) -> str:
    return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"


def test_two_journeys_do_not_share_a_name() -> None:
    with pytest.raises(DeclarationError, match=r"Misspelt is also declared at .*test_declarations.py:\d+; give one"):
        Catalog.of([Misspelt, Misspelt])


class Heard(Event, name="heard"):
    """What may be waited for."""


class Unheard(Event, name="unheard"):
    """What nobody declares."""


class Ended(Event, name="ended"):
    """A goal."""


class Nameless(Event):
    """Has no name."""


class MessageRead(Event, name="message_read"):
    """One of ours."""


def whole(trigger: Mapping[str, Any]) -> bool:
    return bool(trigger)


async def later(trigger: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    return trigger == event


class Right(Journey):
    """Nothing is wrong with it."""

    async def steps(self) -> None:
        await self.wait_for(Heard, within=DAY)


def declared(**wrong: Any) -> type[Journey[Any]]:
    """A journey that is right but for one thing."""
    probe: type[Journey[Any]] = type("Probe", (Right,), {})
    return journey(**{"starts_on": ProbeBegun, "ends_on": Ended, "listens_to": Heard, **wrong})(probe)


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"starts_on": "probe_begun"}, "starts_on names 'probe_begun', which is no declared event"),
        ({"ends_on": Nameless}, 'ends_on names Nameless, which has no name: class Nameless(Event, name="…")'),
        ({"ends_on": MessageRead}, "ends_on names message_read, which no journey is told of"),
        ({"ends_on": ProbeBegun}, "probe_begun starts Probe and is its goal"),
        ({"exits_on": Ended}, "ended is the goal already, so it is never an exit"),
        ({"restarts_on": Ended}, "ended ends Probe, so nothing comes after it; leave it out of restarts_on"),
        ({"listens_to": (Heard, Ended)}, "ended ends Probe, so nothing comes after it; leave it out of listens_to"),
        ({"restarts_on": Heard}, "heard begins steps() again, so no wait_for ever sees it"),
        ({"ends_on": Rule(Ended, when=whole)}, "when of ends_on must take two arguments"),  # type: ignore[arg-type]
        ({"ends_on": Rule(Ended, when=later)}, "when of ends_on must be an ordinary function, not async"),  # type: ignore[arg-type]
        ({"ends_on": Rule(Ended, when="now")}, "when of ends_on must be a function"),  # type: ignore[arg-type]
        ({"key": " "}, "key is empty"),
        ({"reenter_after": timedelta(0)}, "reenter_after must be longer than nothing"),
        ({"priority": 6}, "priority of Probe must be 1 to 5"),
        ({"facts": {"customer": "select 1"}}, "texts know customer as something else"),
    ],
)
def test_what_cannot_be_meant_is_not_declared(wrong: dict[str, Any], said: str) -> None:
    assert told(declared()) == []
    (mistake,) = told(declared(**wrong))
    assert said in mistake


def test_a_condition_is_found_where_it_is_written() -> None:
    assert told(declared(ends_on=Rule(Ended, when=whole)))[0].startswith("def whole(")  # type: ignore[arg-type]


@journey(
    starts_on=ProbeBegun,
    ends_on=Ended,
    exits_on=Ended,
    priority=0,
    listens_to=Heard,
)
class Careless(Journey[Waits]):
    """Everything at once."""

    async def steps(self) -> None:
        self.wait(DAY)  # type: ignore[unused-coroutine]
        await self.wait(DAY - DAY)
        if await self.wait_for(Unheard, within=DAY) or self.latest(Ended):
            await self.send(sms("abandoned_application/full", useful_for=-DAY))
        await self.ask(email("abandoned_application/full"), within=DAY)
        await self.cascade(email(HALF), sms(HALF), email("abandoned_application/full"), until=Status.FAILED, within=DAY)


def test_all_mistakes_are_told_at_once_each_with_its_line() -> None:
    assert told(Careless) == [
        "exits_on=Ended, -> ended is the goal already, so it is never an exit; leave it out of one of them",
        "priority=0, -> priority of Careless must be 1 to 5",
        "self.wait(DAY)  # type: ignore[unused-coroutine] -> is not awaited, so nothing happens; "
        "write await self.wait(DAY)",
        "if await self.wait_for(Unheard, within=DAY) or self.latest(Ended): -> waits for unheard, which is not "
        "declared; add Unheard to listens_to",
        "if await self.wait_for(Unheard, within=DAY) or self.latest(Ended): -> asks for the latest ended, of which "
        "Careless never hears; add Ended to listens_to",
        'await self.cascade(email(HALF), sms(HALF), email("abandoned_application/full"), until=Status.FAILED, '
        "within=DAY) -> the cascade goes to email twice; it goes on to a channel of which the last was not",
        'await self.cascade(email(HALF), sms(HALF), email("abandoned_application/full"), until=Status.FAILED, '
        "within=DAY) -> a message that is failed has reached nobody; cascade until delivered, read or clicked",
        'await self.ask(email("abandoned_application/full"), within=DAY) -> nobody can answer by email; '
        "ask by sms or whatsapp",
        "await self.wait(DAY - DAY) -> wait must be longer than nothing, not DAY - DAY",
        'await self.send(sms("abandoned_application/full", useful_for=-DAY)) -> useful_for must be longer than '
        "nothing, not -DAY",
    ]


def test_a_parameter_nothing_reads_is_found(texts: Texts) -> None:
    assert [each for each in told(Careless, texts=texts) if "parameter" in each] == []

    assert told(Idle, texts=texts) == [
        "never_read: int = 1 -> nothing reads the parameter never_read of Idle; use it, or leave it out: "
        "whoever sets it would see no change"
    ]


class Unread(Parameters):
    """A parameter of no use."""

    never_read: int = 1


@journey(starts_on=ProbeBegun)
class Idle(Journey[Unread]):
    """Does not read it."""

    async def steps(self) -> None:
        await self.wait(DAY)


@journey(starts_on=ProbeBegun)
class Mute(Journey):
    """Says nothing."""


@journey(starts_on=ProbeBegun)
class Hasty(Journey):
    """Does not wait."""

    def steps(self) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        (Mute, "Mute has no steps(); write async def steps(self) -> None"),
        (Hasty, "steps of Hasty must be written async"),
    ],
)
def test_a_journey_has_steps_that_can_be_walked(workflow: type[Journey[Any]], said: str) -> None:
    (mistake,) = told(workflow)
    assert said in mistake


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"Misspelt": {"wait": "-P1D"}}, "wait: Input should be greater than"),
        ({"Misspelt": {"pause": "P1D"}}, "pause: Extra inputs are not permitted"),
        ({"Nobody": {}}, "not enabled: Nobody"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, dict[str, str]], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        Catalog.of([Misspelt], parameters)


def test_an_unknown_pack_is_named() -> None:
    assert {"AbandonedApplication", "RefusedByBank"} <= {each.__name__ for each in enabled(["car_credit"])}
    assert [each.__name__ for each in enabled(["RefusedByBank"])] == ["RefusedByBank"]
    with pytest.raises(DeclarationError, match="no pack or journey named car_credits"):
        enabled(["car_credits"])


class Answer(StrEnum):
    """What may come."""

    YES = "yes"
    NO = "no"


class Plain(Event, name="plain"):
    """Everything a history may keep."""

    filled: int = Field(ge=0)
    share: float | None
    urgent: bool
    at: datetime
    after: timedelta | None = None
    bank: Code
    second_bank: Code | None = None
    answer: Answer
    kind: Literal["new", "used"] = "new"


class Address(BaseModel):
    """More than one value."""

    street: str


class Free(Event, name="free"):
    """Everything it may not."""

    name: str
    short: str = Field(max_length=8)
    email: EmailStr
    maybe: int | str
    names: list[Code]
    anything: object
    address: Address
    own_pattern: str = Field(pattern="^[a-z]+$")


class Computed(Event, name="computed"):
    """Says more than was declared."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def greeting(self) -> str:
        return "Ada"


def test_only_what_cannot_name_anybody_may_be_declared() -> None:
    assert Plain.free_fields() == []
    assert Free.free_fields() == list(Free.model_fields)
    assert Computed.free_fields() == ["greeting", "whatever is undeclared"]


@journey(starts_on=Free)
class Talkative(Journey):
    """Is told more than it should."""

    async def steps(self) -> None:
        await self.wait(DAY)


@journey(starts_on=ProbeBegun, listens_to=Computed)
class Curious(Journey):
    """Hears more than it should."""

    async def steps(self) -> None:
        await self.wait(DAY)


@pytest.mark.parametrize(("curious", "event"), [(Talkative, "Free"), (Curious, "Computed")])
def test_a_journey_that_lets_words_into_histories_does_not_start(curious: type[Journey], event: str) -> None:
    with pytest.raises(DeclarationError, match=rf"test_declarations.py:\d+: {event} declares .* personal"):
        Catalog.of([curious])


@pytest.mark.parametrize(
    "value", ["ada@example.com", "+14155550123", "14155550123", "Ada Lovelace", "a" * 33, "", "Ada\n", "Анна", "a/b"]
)
def test_a_code_is_no_address_and_no_sentence(value: str) -> None:
    class Chosen(Event, name="chosen"):
        bank: Code

    assert Chosen(bank="Some-Bank.2:eu_1").bank == "Some-Bank.2:eu_1"
    with pytest.raises(ValidationError, match="bank"):
        Chosen(bank=value)


@journey(starts_on=ProbeBegun, keywords={"Quiz ": ProbeBegun, "other": ProbeBegunOtherwise})
class Shouted(Journey):
    """Declares keywords nobody can write, and one that starts something else."""

    async def steps(self) -> None:
        await self.send(email("abandoned_application/full"))


@journey(starts_on=ProbeBegun, keywords={"quiz": ProbeBegun})
class FirstQuiz(Journey):
    """Has a keyword."""

    async def steps(self) -> None:
        await self.send(email("abandoned_application/full"))


class OtherQuizBegun(Event, name="other_quiz_begun"):
    """Starts the other one."""


@journey(starts_on=OtherQuizBegun, keywords={"quiz": OtherQuizBegun})
class SecondQuiz(Journey):
    """Has the same keyword."""

    async def steps(self) -> None:
        await self.send(email("abandoned_application/full"))


class AskedBegun(Event, name="asked_begun"):
    """Starts a journey, and tells something."""

    score: int


@journey(starts_on=AskedBegun, keywords={"ask": AskedBegun})
class Asked(Journey):
    """Has a keyword for what no word tells."""

    async def steps(self) -> None:
        await self.send(email("abandoned_application/full"))


def test_keywords_are_what_people_write_and_mean_one_thing() -> None:
    with pytest.raises(DeclarationError) as wrong:
        Catalog.of([Shouted])
    assert "the keyword 'Quiz ' must be written in lower case" in str(wrong.value)
    assert "the keyword other makes probe_begun of itself, which does not start Shouted" in str(wrong.value)
    with pytest.raises(
        DeclarationError, match="the keyword ask makes asked_begun of itself, whose score no word tells"
    ):
        Catalog.of([Asked])
    with pytest.raises(DeclarationError, match="the keyword quiz means something else in FirstQuiz"):
        Catalog.of([FirstQuiz, SecondQuiz])
    assert Catalog.of([FirstQuiz]).keywords == {"quiz": ProbeBegun}
