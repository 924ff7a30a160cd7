"""Welcome, four ways; and the curator's contacts, which come once."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tests.world import Person, World
from workflows.mortgage_agents.welcome_by_segment import Days

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CURATOR = {"curator_name": "Grace", "curator_phone": "+14155550100"}


async def registers(person: Person, **answers: bool) -> datetime:
    await person.does("agent_registered", **answers)
    return datetime.now(UTC)


async def letters(person: Person, since: datetime) -> list[tuple[int, str]]:
    """What was sent, each with the day after registration."""
    return [
        (round((row["journey_at"] - since) / DAY), row["template"].split("/")[1])
        for row in await person.messages()
        if row["status"] not in ("skipped", "failed", "waiting")
    ]


async def lives_on(person: Person) -> None:
    """Nothing more happens for two months and a bit."""
    await person.passes(62 * DAY, "WelcomeBySegment")
    assert await person.outcome("WelcomeBySegment") == "finished"


async def test_experienced_with_a_client_the_functions_at_once_and_the_new_buildings_a_day_later(world: World) -> None:
    person = await world.person()
    began = await registers(person, experienced=True, has_client=True)
    await lives_on(person)
    assert await letters(person, began) == [(0, "functions"), (1, "new_buildings")]


async def test_experienced_without_a_client_how_to_find_them_and_wider_geography(world: World) -> None:
    person = await world.person()
    began = await registers(person, experienced=True, has_client=False)
    await lives_on(person)
    assert await letters(person, began) == [(0, "finding_clients"), (2, "clients_by_referral"), (5, "wider_geography")]


@pytest.mark.parametrize("answers", [{"experienced": False, "has_client": False}, {}])
async def test_inexperienced_without_a_client_and_whoever_did_not_answer_are_taught_for_a_month(
    world: World, answers: dict[str, bool]
) -> None:
    person = await world.person()
    began = await registers(person, **answers)
    await lives_on(person)
    lessons = await letters(person, began)
    assert [day for day, _ in lessons] == [0, 3, 7, 11, 15, 20, 25, 30]
    assert [name.split("_")[1] for _, name in lessons] == [str(number) for number in range(1, 9)]


async def test_inexperienced_with_a_client_the_curator_and_then_the_stages(world: World) -> None:
    person = await world.person(**CURATOR)
    began = await registers(person, experienced=False, has_client=True)
    await person.does("curator_assigned", curator_id="C-7")
    await lives_on(person)
    assert await letters(person, began) == [
        (0, "contacts"),
        (2, "what_each_stage_needs"),
        (4, "what_can_go_wrong"),
        (7, "where_to_read_more"),
    ]


async def test_the_curators_contacts_are_taken_from_the_customers_fields(world: World) -> None:
    person = await world.person(**CURATOR)
    await person.does("curator_assigned", curator_id="C-7")
    assert await person.outcome("CuratorAssigned") == "finished"
    (letter,) = await person.messages()
    assert letter["content"]["subject"] == "Your curator is Grace"
    assert "+14155550100" in letter["content"]["text"]


async def test_what_the_welcome_has_sent_of_a_curator_is_not_sent_again(world: World) -> None:
    person = await world.person(**CURATOR)
    await registers(person, experienced=False, has_client=True)
    # An id that may be somebody's address never reaches a history.
    await person.does("curator_assigned", curator_id="grace@example.com")
    assert await person.outcome("CuratorAssigned") == "finished"
    await world.until(lambda: decided(person, "contacts"), 2)
    assert await person.got() == ["email contacts"]
    reasons = {row["reason"] for row in await person.messages()}
    assert reasons == {None, "sent_before"}


async def decided(person: Person, text: str) -> int:
    return sum(row["template"].endswith(text) for row in await person.messages())


async def test_another_curator_is_told_of_and_the_same_one_is_not(world: World) -> None:
    person = await world.person(**CURATOR)
    for curator in (4711, 4712, 4711):
        await person.does("curator_assigned", curator_id=curator)
        assert await person.outcome("CuratorAssigned") == "finished"
    assert await person.got() == ["email contacts", "email contacts"]


async def test_a_curator_that_never_comes_does_not_keep_anybody_waiting(world: World) -> None:
    person = await world.person()
    began = await registers(person, experienced=False, has_client=True)
    await person.passes(23 * HOUR)
    assert await person.got() == []
    await lives_on(person)
    assert await letters(person, began) == [
        (1, "until_the_curator"),
        (2, "what_each_stage_needs"),
        (4, "what_can_go_wrong"),
        (7, "where_to_read_more"),
    ]
    text = (await person.messages())[0]["content"]["text"]
    assert "We are choosing an experienced agent to be your curator" in text


async def test_a_curator_who_comes_late_is_told_of_all_the_same(world: World) -> None:
    person = await world.person()
    await registers(person, experienced=False, has_client=True)
    await person.passes(3 * DAY)
    await person.does("curator_assigned", curator_id="C-7")
    assert await person.outcome("CuratorAssigned") == "finished"
    assert "email contacts" in await person.got()


async def test_who_had_a_curator_before_they_registered_is_not_told_that_one_is_chosen(world: World) -> None:
    person = await world.person(**CURATOR)
    await person.does("curator_assigned", curator_id="C-7")
    await person.outcome()
    await registers(person, experienced=False, has_client=True)
    await person.passes(25 * HOUR)
    subjects = [row["content"]["subject"] for row in await person.messages()]
    assert subjects == ["Your curator is Grace", "Your curator is Grace"]
    assert await person.got() == ["email contacts", "email until_the_curator"]


async def test_a_curator_without_an_id_starts_nothing_and_says_why(world: World) -> None:
    person = await world.person()
    answer = await person.does("curator_assigned", curator_id=" ")
    reason = await world.pool.fetchval("select note from events where id = $1", answer.event)  # type: ignore[union-attr]
    assert "curator_id" in reason
    assert await person.enrolments() == []


async def test_the_first_application_ends_it_wherever_it_is(world: World) -> None:
    person = await world.person()
    await registers(person)
    await person.passes(4 * DAY)
    await person.does("mortgage_application_submitted", application_id="M-1")
    assert await person.outcome() == "goal"
    assert await person.count() == 2


async def test_who_registers_again_is_not_welcomed_again(world: World) -> None:
    person = await world.person()
    await registers(person, experienced=True, has_client=True)
    await lives_on(person)
    await registers(person)
    assert len(await person.enrolments()) == 1
    assert "they have already done agent_registered" in (await person.notes())[-1]


def test_letters_come_one_after_the_other() -> None:
    with pytest.raises(ValidationError, match="each letter must come after the one before"):
        Days(to_experienced=(0 * DAY, 5 * DAY, 2 * DAY))
    with pytest.raises(ValidationError, match="the first not before registration"):
        Days(to_experienced=(-1 * DAY, 2 * DAY, 5 * DAY))
