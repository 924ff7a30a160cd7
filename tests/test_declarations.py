"""Journeys that are declared wrongly are found before they run, with file and line."""

from datetime import timedelta

import pytest
from pydantic import Field

from domain.events import Event
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
