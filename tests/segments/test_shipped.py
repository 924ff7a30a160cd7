"""What ships: the segments of the library and of the packs, and classes of buyers."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatch.segments import declare_segments
from segments import form as forms
from segments.definition import Segment
from segments.rfm import Class
from store import membership, segments
from store.segments import NewVersion
from tests.segments.conftest import DAY, HOUR, Base
from tests.segments.model import ORIGIN, Deed, Human
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError
from workflows.enabled import SEGMENTS, enabled, segments_of

NOW = ORIGIN + 40 * DAY
LIBRARY = sorted((Path(forms.__file__).parent / "library").glob("*.json"))
DOCS = Path(__file__).parents[2] / "docs" / "segments.md"


def human(*deeds: tuple[str, timedelta], **told: Any) -> Human:
    """Somebody known for long who did these things so long ago."""
    return Human(
        created_at=NOW - 1000 * DAY,
        deeds=[Deed(name, NOW - ago, told) for name, ago in deeds],
    )


def times(name: str, count: int, ago: timedelta) -> list[tuple[str, timedelta]]:
    return [(name, ago)] * count


# For each who is in and who is not.
EXAMPLES: Mapping[str, tuple[list[Human], list[Human]]] = {
    "not_seen_30_days": (
        [human(("listing_viewed", 30 * DAY)), human(("page_viewed", 90 * DAY)), human()],
        [human(("listing_viewed", 30 * DAY - HOUR)), Human(created_at=NOW - DAY)],
    ),
    "new_customers": (
        [human(("registration_completed", 90 * DAY))],
        [
            human(("registration_completed", 92 * DAY)),
            human(("registration_completed", DAY), ("loan_application_submitted", HOUR)),
            human(),
        ],
    ),
    "repeat_customers": (
        [human(("loan_repaid", 182 * DAY)), human(("loan_repaid", 400 * DAY), ("loan_repaid", DAY))],
        [human(("loan_repaid", 184 * DAY)), human(("loan_issued", DAY))],
    ),
    "churned_customers": (
        [human(("page_viewed", 180 * DAY)), human(("loan_issued", 600 * DAY), ("page_viewed", 549 * DAY))],
        [human(("page_viewed", 179 * DAY)), human(("loan_issued", 600 * DAY), ("page_viewed", 547 * DAY))],
    ),
    "credit_interest_hot": (
        [human(("credit_calculator_used", HOUR))],
        [
            human(("credit_calculator_used", 25 * HOUR)),
            human(("credit_promo_viewed", HOUR), ("credit_application_submitted", HOUR)),
        ],
    ),
    "credit_interest_cold": (
        [
            human(*times("listing_viewed", 20, 13 * DAY)),
            human(*times("favourite_added", 3, DAY)),
            human(("history_report_bought", DAY)),
            human(("seller_called", DAY)),
        ],
        [
            human(*times("listing_viewed", 19, DAY), *times("favourite_added", 2, DAY)),
            human(*times("listing_viewed", 20, 14 * DAY)),
            human(("seller_called", DAY), ("credit_application_submitted", HOUR)),
        ],
    ),
}


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: file.stem)
def test_every_file_of_the_library_can_be_put(file: Path) -> None:
    told = json.loads(file.read_text())
    assert told.keys() == {"name", "story", "form"}
    assert told["name"] == file.stem
    assert forms.written(forms.read(told["form"])) == told["form"]


def test_the_library_has_those_of_the_journeys() -> None:
    rfm = {f"rfm_{each}" for each in Class}
    assert {file.stem for file in LIBRARY} == {*EXAMPLES, *rfm}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_a_segment_of_the_library_holds_whom_its_story_tells_of(base: Base, name: str) -> None:
    form = json.loads((LIBRARY[0].parent / f"{name}.json").read_text())["form"]
    inside, outside = EXAMPLES[name]
    wanted = {await base.meets(each) for each in inside}
    for each in outside:
        await base.meets(each)
    assert await base.found(form, NOW) == wanted


def test_the_library_means_the_same_as_the_packs_by_the_same_name() -> None:
    """Putting its file on a deployment of the pack changes nothing."""
    library = {file.stem: json.loads(file.read_text())["form"] for file in LIBRARY}
    packs = {each.name: each.form for declared in SEGMENTS.values() for each in declared}
    assert library.keys() & packs.keys() > {"credit_interest_cold", "new_customers"}
    for name in library.keys() & packs.keys():
        assert forms.written(forms.read(library[name])) == forms.written(forms.read(dict(packs[name]))), name


# Classes of buyers.


def rfm(which: str, **told: Any) -> dict[str, Any]:
    return {"coded": "rfm", "with": {"is": which, "event": "deal_closed", "amount": "sum", **told}}


def buys(days_ago: int, often: int, amount: float) -> Human:
    """A buyer: when last, how often, for how much in all."""
    deeds = [Deed("deal_closed", NOW - (days_ago + more) * DAY, {"sum": amount / often}) for more in range(often)]
    return Human(created_at=NOW - 1000 * DAY, deeds=deeds)


async def classes(base: Base) -> dict[int, set[str]]:
    """In which classes everybody is, by the fifths that were worked out."""
    found: dict[int, set[str]] = {number: set() for number in base.numbers}
    for which in Class:
        for number in await base.found(rfm(which), NOW):
            found[number].add(which.value)
    return found


async def test_every_buyer_is_in_one_class_by_fifths_of_all_buyers(base: Base) -> None:
    wanted = {}
    # Ten buyers, each better than the last in all three: a fifth is two of them.
    for place in range(10):
        number = await base.meets(buys(days_ago=100 - 10 * place, often=place + 1, amount=1000.0 * (place + 1)))
        wanted[number] = {"lost"} if place < 4 else {"loyal"} if place < 6 else {"champions"}
    await base.works_out(rfm("lost"), NOW)
    assert await classes(base) == wanted
    # Later ones are measured by the same fifths, until they are worked out again.
    once = await base.meets(buys(days_ago=5, often=1, amount=10))
    often = await base.meets(buys(days_ago=300, often=9, amount=90))
    nobody = await base.meets(Human(created_at=NOW))
    assert await classes(base) == {**wanted, once: {"promising"}, often: {"at_risk"}, nobody: set()}
    because = (await base.explained(rfm("promising"), once, NOW)).actual
    assert (because["class"], because["recency"], because["frequency"], because["times"]) == ("promising", 5, 1, 1)


async def test_buyers_with_the_same_value_have_the_same_score(base: Base) -> None:
    for place in range(9):
        await base.meets(buys(days_ago=place, often=1, amount=10))
    best = await base.meets(buys(days_ago=0, often=5, amount=500))
    await base.works_out(rfm("lost"), NOW)
    found = await classes(base)
    assert found[best] == {"champions"}
    assert {which for number, in_ in found.items() if number != best for which in in_} == {"promising", "lost"}


async def test_nobody_is_in_a_class_before_the_fifths_are_known_and_all_share_them(base: Base) -> None:
    number = await base.meets(buys(days_ago=1, often=2, amount=10))
    await base.defines("promising", rfm("promising"))
    await base.defines("lost", rfm("lost"))
    await base.looks(NOW)
    assert await base.members("lost") == set()
    async with base.pool.acquire() as connection:
        assert not await membership.is_in(connection, "lost", number, NOW)
    assert await base.scans("lost", NOW) == (1, 1, 0)
    assert await base.pool.fetchval("select count(*) from segment_bases") == 1
    assert await base.scans("promising", NOW) == (1, 0, 0)
    assert await base.pool.fetchval("select count(*) from segment_bases") == 1


async def test_classes_work_where_nobody_had_bought_when_they_were_worked_out(base: Base) -> None:
    number = await base.meets(Human(created_at=NOW))
    await base.defines("lost", rfm("lost"))
    assert await base.scans("lost", NOW) == (1, 0, 0)
    await base.does(number, [Deed("deal_closed", NOW, {"sum": 10})])
    await base.looks(NOW)
    assert await base.members("lost") == {number}


async def test_what_was_bought_too_long_ago_makes_no_buyer(base: Base) -> None:
    await base.meets(buys(days_ago=20, often=1, amount=10))
    lately = await base.meets(buys(days_ago=2, often=1, amount=10))
    await base.works_out(rfm("lost", within="P10D"), NOW)
    assert await base.found(rfm("lost", within="P10D"), NOW) == {lately}


# Segments a release brings along.


async def declares(base: Base, *declared: Segment) -> None:
    async with base.pool.acquire() as connection:
        await declare_segments(connection, declared, Catalog.of(()))


async def history(base: Base, name: str) -> list[tuple[int, str, bool]]:
    async with base.pool.acquire() as connection:
        rows = await segments.versions(connection, name)
    return [(row["version"], row["origin"], row["current"]) for row in reversed(rows)]


async def test_a_release_changes_its_segments_unless_somebody_else_has(base: Base) -> None:
    first, second = ({"event": "bought", "at_least": count} for count in (1, 2))
    await declares(base, Segment("buyers", "Bought.", first))
    await declares(base, Segment("buyers", "Bought.", first))
    assert await history(base, "buyers") == [(1, "code", True)]
    await declares(base, Segment("buyers", "Bought.", second))
    assert await history(base, "buyers") == [(1, "code", False), (2, "code", True)]
    await base.defines("buyers", {"event": "called"})
    await declares(base, Segment("buyers", "Bought.", first))
    assert await history(base, "buyers") == [
        *((1, "code", False), (2, "code", False)),
        *((3, "api", True), (4, "code", False)),
    ]
    # Going back to the release's is what lets releases change it again.
    async with base.pool.acquire() as connection, connection.transaction():
        await segments.put(connection, NewVersion("buyers", "Bought.", forms.read(first), "code", "operator:desk"))
    await declares(base, Segment("buyers", "Bought.", second))
    assert (await history(base, "buyers"))[-2:] == [(5, "code", False), (6, "code", True)]


async def test_a_segment_declared_wrongly_is_found_with_file_and_line(base: Base) -> None:
    with pytest.raises(
        DeclarationError, match=r"test_shipped.py:\d+: segment buyers: form.within: must be an ISO 8601 duration"
    ):
        await declares(base, Segment("buyers", "Bought.", {"event": "bought", "within": "a week"}))
    with pytest.raises(
        DeclarationError, match=r"test_shipped.py:\d+: segment others: form.segment: there is no segment"
    ):
        await declares(base, Segment("others", "Not.", {"segment": "buyers"}))


async def test_two_packs_do_not_share_a_segments_name(base: Base) -> None:
    ours, theirs = (Segment("buyers", "Bought.", {"event": event}) for event in ("bought", "ordered"))
    with pytest.raises(
        DeclarationError, match=r"test_shipped.py:\d+: segment buyers is also declared at .*test_shipped.py:\d+; give"
    ):
        await declares(base, ours, theirs)
    assert await history(base, "buyers") == []


def test_a_pack_brings_its_segments_with_any_of_its_journeys() -> None:
    assert (
        segments_of(Catalog.of(enabled(["car_credit"])))
        == segments_of(Catalog.of(enabled(["RefusedByBank"])))
        == list(SEGMENTS["car_credit"])
    )


def test_the_page_about_segments_says_only_what_can_be_said() -> None:
    found = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(found) > 3
    for each in found:
        told = json.loads(each)
        forms.read(told.get("form", told))
