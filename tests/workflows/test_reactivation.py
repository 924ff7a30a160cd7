"""An agent who has not been seen for a month: rounds of letters, never the same one twice."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from activities.segments import Segments
from domain.messages import Channel
from store import texts
from store.texts import Name
from templates import LIBRARY
from tests.workflows.audiences import declared, looked
from tests.world import Person, World
from workflows.drafts import email
from workflows.mortgage_agents.segments import SEGMENTS

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
THEMES = ("rates_and_commissions", "geography_and_passport", "contract_and_notary")


@pytest.fixture
async def looks(world: World) -> Segments:
    await world.pool.execute("delete from texts where template like 'reactivation/%'")
    return await declared(world, *SEGMENTS)


async def publishes(world: World, month: str, theme: str, *letters: str) -> None:
    """The marketers put a month's letters in."""
    async with world.pool.acquire() as connection, connection.transaction():
        for letter in letters or ("first", "second"):
            for locale in ("en", "ru"):
                name = Name(f"reactivation/{letter}", Channel.EMAIL, locale, month)
                source = (LIBRARY / "reactivation" / theme / f"{letter}.email.{locale}.md").read_text()
                version = await texts.draft(connection, name, source, None, "marketing")
                await texts.publish(connection, name, version.number, "marketing")


def month_after(days: int) -> str:
    return f"{datetime.now(UTC) + days * DAY:%Y-%m}"


async def gone_for_a_month(world: World, looks: Segments) -> Person:
    person, now = await world.person(), datetime.now(UTC)
    seen = (now - 31 * DAY).isoformat()
    await world.tell({"userId": person.user_id, "event": "rates_viewed", "timestamp": seen}, "track", now)
    await looked(world, looks, person)
    assert [stay["journey"] for stay in await person.enrolments()] == ["Reactivation"]
    return person


async def rounds(person: Person) -> list[tuple[str, str]]:
    """Month and letter of everything that has left."""
    return [
        (row["step"].split("@")[1].split(":")[0], row["template"].split("/")[1])
        for row in await person.messages()
        if row["status"] not in ("skipped", "failed", "waiting")
    ]


async def test_two_letters_three_days_apart_and_a_month_later_the_next_round(world: World, looks: Segments) -> None:
    months = [month_after(0), month_after(33), month_after(66)]
    for month, theme in zip(months, THEMES, strict=True):
        await publishes(world, month, theme)
    person = await gone_for_a_month(world, looks)
    await person.passes(70 * DAY)
    assert await rounds(person) == [(month, letter) for month in months for letter in ("first", "second")]
    at = [row["journey_at"] for row in await person.messages()]
    gaps = [round((later - earlier) / DAY) for earlier, later in pairwise(at)]
    assert gaps == [3, 30, 3, 30, 3]
    subjects = [row["content"]["subject"] for row in await person.messages()]
    assert len(set(subjects)) == 6


async def test_a_month_without_texts_is_left_out_and_the_next_is_not(world: World, looks: Segments) -> None:
    await publishes(world, month_after(0), THEMES[0])
    person = await gone_for_a_month(world, looks)
    await person.passes(34 * DAY)
    await publishes(world, month_after(63), THEMES[1])
    await person.passes(35 * DAY)
    assert await rounds(person) == [
        (month_after(0), "first"),
        (month_after(0), "second"),
        (month_after(63), "first"),
        (month_after(63), "second"),
    ]
    left_out = [row["reason"] for row in await person.messages() if row["status"] == "skipped"]
    assert left_out == [f"text:there is no text 'reactivation/first' for email for {month_after(33)}"]


async def test_whoever_came_back_yesterday_is_not_told_that_they_are_missed(world: World, looks: Segments) -> None:
    await publishes(world, month_after(0), THEMES[0])
    person = await gone_for_a_month(world, looks)
    await world.until(person.count, 1)
    await person.passes(2 * DAY)
    # A visit that nobody has looked at since: they are still a member of the segment.
    await person.does("rates_viewed")
    await person.passes(DAY + MINUTE)
    await world.until(lambda: reason_of(person), "segment:agents_away_for_a_month")
    assert await rounds(person) == [(month_after(0), "first")]


async def reason_of(person: Person) -> str | None:
    reason: str | None = (await person.messages())[-1]["reason"]
    return reason


async def test_any_activity_is_the_goal(world: World, looks: Segments) -> None:
    await publishes(world, month_after(0), THEMES[0])
    person = await gone_for_a_month(world, looks)
    await world.until(person.count, 1)
    await world.tell({"userId": person.user_id, "name": "Rates"}, "page", await person.present())
    await looked(world, looks, person)
    assert await person.outcome() == "goal"
    assert (await person.enrolments())[-1]["outcome"] == "goal"


async def test_a_letter_opened_is_no_activity(world: World, looks: Segments) -> None:
    await publishes(world, month_after(0), THEMES[0])
    person = await gone_for_a_month(world, looks)
    await world.until(person.count, 1)
    await world.pool.execute("update messages set status = 'read', read_at = now() where id = $1", await newest(person))
    await looked(world, looks, person)
    await person.passes(3 * DAY + MINUTE)
    assert await rounds(person) == [(month_after(0), "first"), (month_after(0), "second")]


async def newest(person: Person) -> object:
    return (await person.messages())[-1]["id"]


async def test_whoever_falls_silent_again_in_the_same_month_gets_no_letter_twice(world: World, looks: Segments) -> None:
    await publishes(world, month_after(0), THEMES[0])
    person = await gone_for_a_month(world, looks)
    await world.until(person.count, 1)
    await person.does("rates_viewed")
    await looked(world, looks, person)
    assert await person.outcome() == "goal"
    # They fall silent once more, and enter again while it is still the month of that letter.
    await world.pool.execute(
        """
        update events set "timestamp" = now() - interval '31 days'
        where name = 'rates_viewed' and customer_id = (select customer_id from identities where value = $1)
        """,
        person.user_id,
    )
    await world.pool.execute(
        "insert into segment_touches (customer_id) select customer_id from identities where value = $1", person.user_id
    )
    while (await looks.look(datetime.now(UTC)))[1]:
        pass
    await world.dispatch(person)
    assert len(await person.enrolments()) == 2
    await person.passes(5 * DAY)
    assert await rounds(person) == [(month_after(0), "first")]
    assert await reason_of(person) == "sent_before"


async def test_after_the_last_round_it_is_over(world: World, looks: Segments) -> None:
    person = await gone_for_a_month(world, looks)
    await person.passes(12 * 33 * DAY)
    assert await person.outcome() == "finished"
    assert await person.got() == []


async def test_a_tenth_is_held_out_unless_the_policy_says_another_share(world: World) -> None:
    deployment = world.settings.deployment()
    held = deployment.holding_out(world.catalog.holdouts).policy
    assert held.holdouts == {"Reactivation": 0.10}
    own = deployment.model_copy(update={"policy": held.model_copy(update={"holdouts": {"Reactivation": 0.2}})})
    assert own.holding_out(world.catalog.holdouts).policy.holdouts == {"Reactivation": 0.2}


async def test_the_control_group_lives_the_journey_and_hears_nothing(world: World, looks: Segments) -> None:
    await publishes(world, month_after(0), THEMES[0])
    person = await gone_for_a_month(world, looks)
    await world.until(person.count, 1)
    everybody = world.settings.deployment().policy.model_copy(update={"holdouts": {"Reactivation": 1.0}})
    letter = email("reactivation/second", edition=month_after(0), once=True)
    delivery = await world.asks_to_deliver(person, letter, policy=everybody, at=datetime.now(UTC))
    assert delivery.reason == "holdout:Reactivation"
