"""The limit that is left is shown to whoever opens their account, once a week."""

from datetime import timedelta
from typing import Any

import pytest

from tests.world import World

DAY = timedelta(days=1)


async def test_who_opens_the_account_with_a_limit_left_is_shown_it(world: World) -> None:
    person = await world.person()
    await person.does("account_opened", limit_left=12_500)
    await world.until(person.count, 1)
    (shown,) = await person.messages()
    assert (shown["channel"], shown["content"]["title"]) == ("inbox", "12500 of your limit are left")
    await person.passes(4 * DAY)
    assert await person.outcome() == "finished"
    assert await person.count() == 1


@pytest.mark.parametrize("opened", [{"limit_left": 0}, {"limit_left": -10}, {}, {"limit_left": "much"}])
async def test_with_nothing_left_nothing_is_shown(world: World, opened: dict[str, Any]) -> None:
    person = await world.person()
    await person.does("account_opened", **opened)
    assert await person.enrolments() == []


async def test_at_most_once_a_week(world: World) -> None:
    person = await world.person()
    await person.does("account_opened", limit_left=500)
    await person.passes(4 * DAY)
    await world.pool.execute(
        "update enrolments set enrolled_at = now() - interval '6 days' where id = $1", await last(person)
    )
    await person.does("account_opened", limit_left=500)
    assert len(await person.enrolments()) == 1
    assert "may enter again 7 days later" in (await person.notes())[-1]
    await world.pool.execute(
        "update enrolments set enrolled_at = now() - interval '7 days' where id = $1", await last(person)
    )
    await person.does("account_opened", limit_left=500)
    assert len(await person.enrolments()) == 2


async def last(person: Any) -> int:
    number: int = (await person.enrolments())[-1]["id"]
    return number


async def test_a_purchase_is_the_goal(world: World) -> None:
    person = await world.person()
    await person.does("account_opened", limit_left=500)
    await person.does("purchase_made", sum=300)
    assert await person.outcome() == "goal"
