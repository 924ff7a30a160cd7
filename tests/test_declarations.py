"""Journeys that are declared wrongly are found before they run, with file and line."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, EmailStr, Field, ValidationError, computed_field

from domain.events import Code, Event
from templates import TEXTS
from templates.renderer import Texts
from worker import check_texts
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError, Parameters
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
        await self.send(email("abandoned_application/full"))
        await self.send(sms("abandoned_application/ful"))


@journey(starts_on=ProbeBegunOtherwise)
class Contrary(Journey):
    """Declares an event differently."""


def test_a_text_there_is_not_is_found_with_file_and_line() -> None:
    texts = Texts.load(TEXTS)
    check_texts(Catalog.of(JOURNEYS), texts)
    with pytest.raises(
        DeclarationError, match=r"test_declarations.py:\d+: there is no text abandoned_application/ful for sms"
    ):
        check_texts(Catalog.of([Misspelt]), texts)


def test_one_event_has_one_meaning() -> None:
    with pytest.raises(
        DeclarationError, match=r"probe_begun is declared by ProbeBegunOtherwise, but .*:\d+ declares it by"
    ):
        Catalog.of([Misspelt, Contrary])


def test_two_journeys_do_not_share_a_name() -> None:
    with pytest.raises(DeclarationError, match="Misspelt is also declared at"):
        Catalog.of([Misspelt, Misspelt])


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
    assert [each.__name__ for each in enabled(["car_credit"])] == ["AbandonedApplication", "RefusedByBank"]
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


@journey(starts_on=ProbeBegun, listens_to=Computed)
class Curious(Journey):
    """Hears more than it should."""


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
