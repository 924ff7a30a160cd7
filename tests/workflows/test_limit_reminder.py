"""The limit that is left is shown to whoever opens their account, once a week."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.world import Person, World

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


async def popup(person: Person) -> str | None:
    """The title of the pop-up the person's page would show now."""
    world = person.world
    headers = {"Authorization": f"Bearer {world.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=world.stack.api_url, headers=headers) as site:
        answer = await site.get(f"/v1/customers/{person.user_id}/placements", params={"surface": "web"})
    shown = answer.raise_for_status().json()["popup"]
    return shown["title"] if shown else None


async def test_who_opens_the_account_with_a_limit_left_is_shown_it(world: World) -> None:
    person = await world.person()
    await person.does("account_opened", limit_left=12_500)
    await world.until(person.count, 1)
    (shown,) = await person.messages()
    assert (shown["channel"], shown["content"]["title"]) == ("popup", "You have 12500 of your limit left")
    assert await popup(person) == "You have 12500 of your limit left"
    assert abs(shown["expires_at"] - shown["journey_at"] - 3 * DAY) < MINUTE
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


async def last(person: Person) -> int:
    number: int = (await person.enrolments())[-1]["id"]
    return number


async def test_a_purchase_is_the_goal_and_puts_the_offer_away(world: World) -> None:
    person = await world.person()
    await person.does("account_opened", limit_left=500)
    await world.until(person.count, 1)
    await person.does("purchase_made", sum=300)
    assert await person.outcome() == "goal"
    assert await popup(person) is None
