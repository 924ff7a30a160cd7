"""Segments and journeys: who enters is written to, and who came back yesterday is not told that we miss them."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.segments import Segments
from domain.messages import Delivery
from policy.configuration import Policy
from segments import form as forms
from store import segments
from store.segments import NewVersion
from tests.workflows.stories import TEXT, QuietOnes, StoryBegun
from tests.world import Person, World
from workflows.audience import Enters, InSegment, Leaves, audience, check_segments, takes_in
from workflows.catalog import Catalog
from workflows.declaration import DeclarationError
from workflows.drafts import call
from workflows.journey import Journey, journey

DAY = timedelta(days=1)
QUIET = {"quiet_month": "P30D", "quiet_fortnight": "P14D", "quiet_week": "P7D"}


@pytest.fixture
async def looks(world: World) -> Segments:
    """Segments of those who are meant by a test."""
    async with world.pool.acquire() as connection, connection.transaction():
        await segments.lock_definitions(connection)
        for name, window in QUIET.items():
            form = {"all": [{"trait": "audience", "is": name}, {"event": "*", "not_within": window}]}
            await segments.put(connection, NewVersion(name, "", forms.read(form), "api", "tests"))
    return Segments(world.pool, world.catalog)


async def quiet(world: World, looks: Segments, name: str = "quiet_month") -> Person:
    """Somebody who was last here 31 days ago, and is in the segment since just now."""
    person, now = await world.person(audience=name), datetime.now(UTC)
    seen = (now - 31 * DAY).isoformat()
    await world.tell({"userId": person.user_id, "event": "listing_viewed", "timestamp": seen}, "track", now)
    await looked(world, looks, person)
    return person


async def looked(world: World, looks: Segments, *people: Person) -> None:
    """Everybody something happened to is looked at, and the journeys of some hear of it."""
    now = max([await person.present() for person in people])
    while (await looks.look(now))[1]:
        pass
    for person in people:
        await world.dispatch(person)


async def test_who_enters_a_segment_is_written_to(world: World, looks: Segments) -> None:
    person = await quiet(world, looks)
    await world.until(person.count, 1)
    await person.passes(3 * DAY)
    await world.until(person.got, ["call almost_empty", "call full"])
    assert (await person.enrolments())[-1]["journey"] == "QuietOnes"


async def test_who_leaves_a_segment_may_be_written_to_for_that(world: World, looks: Segments) -> None:
    person = await quiet(world, looks, "quiet_week")
    assert await person.enrolments() == []
    await person.does("listing_viewed")
    await looked(world, looks, person)
    await world.until(person.got, ["call almost_empty"])
    assert [each["journey"] for each in await person.enrolments()] == ["WelcomeBack"]


async def test_who_came_back_is_not_told_that_they_are_missed(world: World, looks: Segments) -> None:
    person = await quiet(world, looks)
    await world.until(person.count, 1)
    await person.passes(2 * DAY)
    await person.does("listing_viewed")
    # Nobody has looked since: they are still a member, and still in the journey.
    await person.passes(DAY)
    await world.until(lambda: reason_of(person), "segment:quiet_month")
    assert await person.got() == ["call almost_empty"]


async def reason_of(person: Person) -> str | None:
    """Why the last message was not sent."""
    reason: str | None = (await person.messages())[-1]["reason"]
    return reason


async def test_who_leaves_the_segment_leaves_the_journey(world: World, looks: Segments) -> None:
    person = await quiet(world, looks)
    await world.until(person.count, 1)
    await person.does("listing_viewed")
    await looked(world, looks, person)
    assert await person.outcome() == "exit"
    assert (await person.enrolments())[-1]["outcome"] == "exit"
    assert "exit of" in (await person.notes())[-1]


async def test_leaving_counts_from_when_it_is_kept_not_from_when_the_run_hears_of_it(
    world: World, looks: Segments
) -> None:
    person = await quiet(world, looks)
    await world.until(person.count, 1)
    await person.does("listing_viewed")
    while (await looks.look(await person.present()))[1]:
        pass
    assert (await person.enrolments())[-1]["outcome"] == "exit"
    overtaken = await asked(world, person)
    assert overtaken.outcome == "exit"
    await world.dispatch(person)
    assert await person.outcome() == "exit"


async def asked(world: World, person: Person) -> Delivery:
    """A run that has heard of nothing yet asks for another message."""
    draft = call(TEXT, again=True)
    return await world.asks_to_deliver(person, draft, policy=Policy(), at=await person.present(), occurrence=7)


async def test_who_leaves_before_the_journey_could_start_is_not_in_it(world: World, looks: Segments) -> None:
    person, now = await world.person(audience="quiet_month"), datetime.now(UTC)
    seen = (now - 31 * DAY).isoformat()
    await world.tell({"userId": person.user_id, "event": "listing_viewed", "timestamp": seen}, "track", now)
    await looks.look(now)
    await person.does("listing_viewed", dispatched=False)
    await looks.look(datetime.now(UTC))
    await world.dispatch(person)
    assert await person.enrolments() == []
    assert "QuietOnes: the goal was reached before it could start" in await person.notes()


async def test_a_journey_that_keeps_them_is_silent_until_they_are_in_it_again(world: World, looks: Segments) -> None:
    person = await quiet(world, looks, "quiet_fortnight")
    await world.until(person.count, 1)
    await person.does("listing_viewed")
    await looked(world, looks, person)
    await person.passes(DAY)
    await world.until(lambda: reason_of(person), "segment:quiet_fortnight")
    assert (await person.enrolments())[-1]["outcome"] is None
    await person.passes(2 * DAY)
    assert await person.outcome() == "finished"
    assert await person.count() == 1


@journey(starts_on=(InSegment("quiet_month"), StoryBegun))
class Both(Journey):
    """Starts in a segment, and elsewhere."""

    async def steps(self) -> None:
        await self.wait(DAY)


@journey(starts_on=InSegment("quiet_month", enters=False))
class Closed(Journey):
    """Takes nobody in any more."""

    async def steps(self) -> None:
        await self.wait(DAY)


@journey(starts_on=InSegment("nobody_knows"))
class Lonely(Journey):
    """Is for a segment there is not."""

    async def steps(self) -> None:
        await self.wait(DAY)


@journey(starts_on=Leaves("nobody_knows"), ends_on=Enters("somebody_knows"))
class Farewell(Journey):
    """Starts where there is no segment, and ends there too."""

    async def steps(self) -> None:
        await self.wait(DAY)


@journey(starts_on=InSegment("quiet_month"), key="application_id")
class Keyed(Journey):
    """Wants a key that no segment has."""

    async def steps(self) -> None:
        await self.wait(DAY)


def test_a_stay_that_something_else_began_is_not_for_the_segment_only() -> None:
    declared = Catalog.of([Both]).journeys["Both"]
    assert audience(declared, {"segment": "quiet_month"}) == "quiet_month"
    assert audience(declared, {"segment": "another"}) is None
    assert audience(declared, {}) is None
    (leaving,) = declared.exits_on
    assert leaving.holds({"segment": "quiet_month"}, {"segment": "quiet_month"}, in_doubt=True)
    assert not leaving.holds({}, {"segment": "quiet_month"}, in_doubt=True)
    assert not leaving.holds({"segment": "quiet_month"}, {"segment": "another"}, in_doubt=True)


def test_a_journey_that_takes_nobody_in_any_more_is_still_for_its_segment() -> None:
    declared, trigger = Catalog.of([Closed]).journeys["Closed"], {"segment": "quiet_month"}
    (start,), (leaving,) = declared.starts_on, declared.exits_on
    assert not start.holds({}, trigger, in_doubt=True)
    assert takes_in(declared) == []
    assert audience(declared, trigger) == "quiet_month"
    assert leaving.holds(trigger, trigger, in_doubt=False)


def test_a_journey_for_a_segment_there_is_not_does_not_start() -> None:
    with pytest.raises(
        DeclarationError, match=r"test_journeys.py:\d+: there is no segment nobody_knows; there are quiet_month"
    ):
        check_segments(Catalog.of([Lonely, QuietOnes]), {"quiet_month"})
    with pytest.raises(DeclarationError, match=r"there is no segment nobody_knows[^\n]*\n.*no segment somebody_knows"):
        check_segments(Catalog.of([Farewell]), {"quiet_month"})
    with pytest.raises(DeclarationError, match=r"test_journeys.py:\d+: Keyed starts in a segment.*leave key out"):
        check_segments(Catalog.of([Keyed]), {"quiet_month"})
    check_segments(Catalog.of([QuietOnes]), {"quiet_month"})
