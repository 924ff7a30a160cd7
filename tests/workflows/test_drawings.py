"""What is drawn is what happens: the picture, read back, against runs of the same journey in their full time."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from storyboards.picture import draw
from storyboards.rehearsal import rehearse
from storyboards.story import storyboard
from tests.world import Person, World

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
UNITS = {"minute": MINUTE, "hour": 60 * MINUTE, "day": DAY}

Timeline = list[tuple[timedelta, set[str]]]
"""What is sent, each with how long after the beginning; at last, when it is over, nothing."""


def picture_of(world: World, journey: str, *, narrow: bool) -> ElementTree.Element:
    return ElementTree.fromstring(draw(storyboard(rehearse(world.catalog.journeys[journey])), narrow=narrow))


def along(picture: ElementTree.Element, *ways: str) -> list[tuple[str, str]]:
    """What is met along the line of a picture, going the ways that are named: kind and words."""
    met: list[tuple[str, str]] = []
    left = list(ways)

    def go(group: ElementTree.Element) -> None:
        for child in group:
            kind, words = child.get("class"), child.findtext("{*}title") or ""
            if kind in ("sent", "waits", "over"):
                met.append((kind, words))
            elif kind != "way":
                go(child)
            elif left[:1] == [words]:
                left.pop(0)
                go(child)

    go(picture)
    assert not left, f"no way is called {left[0]}"
    return met


def length(words: str) -> timedelta:
    """Read a duration as pictures say it: "1 day 12 hours of quiet"."""
    parts = words.removeprefix("up to ").split()
    return sum(
        (int(n) * UNITS[unit.rstrip("s")] for n, unit in zip(parts[::2], parts[1::2], strict=False) if n.isdigit()),
        timedelta(0),
    )


def foretold(met: list[tuple[str, str]]) -> Timeline:
    """When what is drawn is sent, to somebody who does nothing any more."""
    now, timeline = timedelta(0), Timeline()
    for kind, words in met:
        if kind == "waits":
            # Quiet counts from what the customer did last, which was to begin.
            now = length(words) if "quiet" in words else now + length(words)
        elif kind == "sent":
            timeline.append((now, set(words.split("; "))))
    return [*timeline, (now, set())]


async def lived(world: World, person: Person, began: datetime) -> Timeline:
    """What a run really sent, and when it was over."""
    sent: dict[timedelta, set[str]] = {}
    for row in await person.messages():
        sent.setdefault(since(began, row["journey_at"]), set()).add(f"{row['channel']}: {row['template']}")
    over = (await (await person.run()).describe()).close_time
    assert over
    return [*sent.items(), (since(began, over), set())]


def since(began: datetime, moment: datetime) -> timedelta:
    return MINUTE * round((moment - began) / MINUTE)


@pytest.mark.parametrize(
    ("filled", "way"), [(2, "almost empty"), (10, "partly filled"), (33, "almost full"), (40, "full")]
)
async def test_an_abandoned_application_goes_as_it_is_drawn(world: World, filled: int, way: str) -> None:
    person = await world.person()
    began = datetime.now(UTC)
    await person.begins(filled=filled)
    await person.passes(40 * DAY)
    assert await person.outcome() == "finished"
    for narrow in (False, True):
        picture = picture_of(world, "AbandonedApplication", narrow=narrow)
        assert foretold(along(picture, way)) == await lived(world, person, began)


async def test_a_refused_application_goes_as_it_is_drawn(world: World) -> None:
    person = await world.person()
    began = datetime.now(UTC)
    await person.does("credit_application_refused", application_id="A-1", bank="First")
    await person.passes(40 * DAY)
    assert await person.outcome() == "finished"
    for narrow in (False, True):
        picture = picture_of(world, "RefusedByBank", narrow=narrow)
        assert foretold(along(picture)) == await lived(world, person, began)


@pytest.mark.parametrize(
    ("read", "ways"),
    [
        (None, ["not read", "not read"]),
        ("push", ["read"]),
        ("email", ["not read", "read"]),
    ],
)
async def test_a_cascade_goes_as_it_is_drawn(world: World, read: str | None, ways: list[str]) -> None:
    person = await world.person()
    began = datetime.now(UTC)
    await person.does("cascade_begun", application_id="A-1")
    await person.passes(MINUTE)
    for channel in ("push", "email"):
        if channel == read:
            await world.report(person, channel, "read")
            break
        await person.passes(240 * MINUTE)
    assert await person.outcome() == "finished"
    met = [words for kind, words in along(picture_of(world, "Cascade", narrow=False), *ways) if kind == "sent"]
    assert met == [words for _, told in await lived(world, person, began) for words in sorted(told, key=met.index)]


async def test_a_restart_goes_on_as_the_picture_says(world: World) -> None:
    """It begins again without repeating a message: what has gone of the way stays gone, the rest comes."""
    person = await world.person()
    await person.begins(filled=10)
    await person.passes(31 * MINUTE)
    await person.fills(12)
    await person.passes(2 * DAY)
    picture = picture_of(world, "AbandonedApplication", narrow=False)
    drawn = [told for _, told in foretold(along(picture, "partly filled"))]
    assert drawn[:2] == [
        {f"{row['channel']}: {row['template']}" for row in rows}
        for rows in ((await person.messages())[:3], (await person.messages())[3:])
    ]
    assert "Begins again, without repeating a message: credit application progressed" in "".join(picture.itertext())
