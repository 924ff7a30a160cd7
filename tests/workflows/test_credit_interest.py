"""Interest in credit: a push and a message, once a month over both journeys."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.segments import Segments
from tests.workflows.audiences import declared, looked, named
from tests.world import Person, World
from workflows.car_credit.segments import SEGMENTS

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def looks(world: World) -> Segments:
    return await declared(world, named(SEGMENTS, "credit_interest_cold"))


async def chooses_a_car(world: World, looks: Segments, person: Person) -> None:
    await person.does("seller_called")
    await looked(world, looks, person)


@pytest.mark.parametrize("event", ["credit_promo_viewed", "credit_calculator_used", "credit_link_clicked"])
async def test_hot_a_push_after_half_an_hour_and_a_message_a_day_after_it(world: World, event: str) -> None:
    person = await world.person()
    await person.does(event)
    await person.passes(29 * MINUTE)
    assert await person.got() == []
    await person.passes(2 * MINUTE)
    assert await person.got() == ["push apply"]
    await person.passes(24 * HOUR)
    assert await person.got() == ["push apply", "inbox apply"]
    await person.passes(8 * DAY)
    assert await person.outcome() == "finished"
    pushed, told = [row["journey_at"] for row in await person.messages()]
    assert timedelta(0) <= told - pushed - DAY < MINUTE


async def test_hot_whoever_submits_is_not_told_the_rest(world: World) -> None:
    person = await world.person()
    await person.does("credit_calculator_used")
    await person.passes(HOUR)
    await person.does("credit_application_submitted", application_id="A-1", bank="First")
    assert await person.outcome() == "goal"
    assert await person.got() == ["push apply"]


async def test_hot_a_submission_within_a_week_of_the_last_message_is_its_goal(world: World) -> None:
    person = await world.person()
    await person.does("credit_calculator_used")
    await person.passes(5 * DAY)
    await person.does("credit_application_submitted", application_id="A-1", bank="First")
    assert await person.outcome() == "goal"


async def test_cold_a_push_twelve_hours_after_entering_and_a_message_a_day_later(world: World, looks: Segments) -> None:
    person = await world.person()
    await chooses_a_car(world, looks, person)
    await person.passes(11 * HOUR)
    assert await person.got() == []
    await person.passes(HOUR + MINUTE)
    assert await person.got() == ["push on_credit"]
    await person.passes(24 * HOUR)
    assert await person.got() == ["push on_credit", "inbox on_credit"]
    await person.passes(8 * DAY)
    assert await person.outcome() == "finished"


async def test_cold_who_leaves_the_segment_is_told_all_the_same(world: World, looks: Segments) -> None:
    person, now = await world.person(), datetime.now(UTC)
    called = {"userId": person.user_id, "event": "seller_called", "timestamp": (now - 13.9 * DAY).isoformat()}
    await world.tell(called, "track", now)
    await looked(world, looks, person)
    await person.passes(13 * HOUR)
    await looked(world, looks, person)
    left = await world.pool.fetchval("select count(*) from events where name = 'segment_left'")
    assert left
    await person.passes(24 * HOUR)
    assert await person.got() == ["push on_credit", "inbox on_credit"]


async def test_cold_whoever_submits_is_not_told_the_rest(world: World, looks: Segments) -> None:
    person = await world.person()
    await chooses_a_car(world, looks, person)
    await person.passes(13 * HOUR)
    await person.does("credit_application_submitted", application_id="A-1")
    assert await person.outcome() == "goal"
    assert await person.got() == ["push on_credit"]


async def test_neither_starts_within_a_month_of_the_other(world: World, looks: Segments) -> None:
    person = await world.person()
    await person.does("credit_calculator_used")
    await chooses_a_car(world, looks, person)
    assert [stay["journey"] for stay in await person.enrolments()] == ["CreditInterestHot"]
    assert "CreditInterestCold: entered CreditInterestHot on" in (await person.notes())[-1]
    await begun_before(world, person, 29 * DAY)
    await person.does("credit_promo_viewed")
    assert len(await person.enrolments()) == 1


async def test_after_a_month_either_starts_again(world: World, looks: Segments) -> None:
    person = await world.person()
    await person.does("credit_calculator_used")
    await begun_before(world, person, 30 * DAY)
    await chooses_a_car(world, looks, person)
    assert [stay["journey"] for stay in await person.enrolments()] == ["CreditInterestHot", "CreditInterestCold"]


async def test_the_limit_is_theirs_alone(world: World) -> None:
    person = await world.person()
    await person.does("credit_calculator_used")
    for application in ("A-1", "A-2"):
        await person.begins(application)
    stays = [(stay["journey"], stay["key"]) for stay in await person.enrolments()]
    assert stays == [("CreditInterestHot", ""), ("AbandonedApplication", "A-1"), ("AbandonedApplication", "A-2")]


async def begun_before(world: World, person: Person, ago: timedelta) -> None:
    """Make the person's stays as if they had begun so long ago, and been over since."""
    await (await person.run()).terminate()
    await world.pool.execute(
        """
        update enrolments set enrolled_at = now() - $2::interval, outcome = 'finished', ended_at = now()
        where customer_id = (select customer_id from identities where value = $1)
        """,
        person.user_id,
        ago,
    )
