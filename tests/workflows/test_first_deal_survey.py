"""The first deal is closed: a question, and what every answer leads to."""

from datetime import timedelta

import pytest

from tests.workflows.chat import Chat
from tests.world import Person, World

pytestmark = pytest.mark.usefixtures("approved")

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def closes(world: World, person: Person, deal: str = "D-1") -> None:
    await person.does("deal_closed", deal_id=deal, application_id="M-1", sum=5_000_000)
    await world.until(person.count, 1)


async def test_the_question_has_three_answers_to_press(world: World) -> None:
    person = await world.person()
    await closes(world, person)
    (question,) = await person.messages()
    assert question["channel"] == "whatsapp"
    assert [button["title"] for button in question["content"]["buttons"]] == ["Excellent", "Normal", "Bad"]


async def test_excellent_is_invited_to_the_contest_where_they_answered(world: World) -> None:
    person = await world.person()
    await closes(world, person)
    await world.report(person, "whatsapp", "replied", choice="excellent")
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp rating", "whatsapp contest"]


async def test_excellent_is_invited_by_letter_if_the_invitation_does_not_arrive(world: World) -> None:
    person = await world.person()
    await world.behaves(person.phone, delivery="never")
    await closes(world, person)
    await world.report(person, "whatsapp", "replied", choice="excellent")
    await world.until(person.count, 2)
    await person.passes(HOUR + MINUTE)
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp rating", "whatsapp contest", "email contest"]


@pytest.mark.parametrize("choice", ["normal", "bad"])
async def test_normal_and_bad_are_called_to_learn_why(world: World, choice: str) -> None:
    person = await world.person()
    await closes(world, person)
    await world.report(person, "whatsapp", "replied", choice=choice)
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp rating", "call learn_why"]


async def test_an_answer_in_words_goes_to_the_call_centre_with_the_words(world: World) -> None:
    person = await world.person()
    await closes(world, person)
    assert await Chat(world, person).writes("The curator never answered") is None
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp rating", "call wrote_in_words"]
    script = (await person.messages())[-1]["content"]["script"]
    assert "They wrote: The curator never answered" in script


async def test_without_an_answer_in_three_days_it_ends(world: World) -> None:
    person = await world.person()
    await closes(world, person)
    await person.passes(3 * DAY - HOUR)
    assert (await person.enrolments())[0]["ended_at"] is None
    await person.passes(2 * HOUR)
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp rating"]


async def test_whom_the_question_cannot_reach_is_not_waited_for(world: World) -> None:
    person = await world.person(phone=None)
    await person.does("deal_closed", deal_id="D-1")
    assert await person.outcome() == "finished"
    assert await person.got() == []


async def test_answered_twice_the_first_answer_counts(world: World) -> None:
    person = await world.person()
    await closes(world, person)
    # Paused by an operator, the run has both before it goes on.
    await (await person.run()).execute_update("pause")
    await world.report(person, "whatsapp", "replied", choice="bad")
    await answers_again(world, person, "excellent")
    await (await person.run()).execute_update("resume")
    assert await person.outcome() == "finished"
    assert await person.got() == ["whatsapp rating", "call learn_why"]


async def answers_again(world: World, person: Person, choice: str) -> None:
    """Another answer to the same question is told to the run, as dispatch does."""
    (question,) = await person.messages()
    newest = await world.pool.fetchval("select max(id) from events")
    reply = {"sequence": newest + 1, "message": str(question["id"]), "choice": choice}
    await (await person.run()).signal("reply", reply)


@pytest.mark.parametrize("answered", [True, False])
async def test_a_button_pressed_when_it_is_over_goes_to_people_without_an_alert(world: World, answered: bool) -> None:
    person = await world.person()
    await closes(world, person)
    chat = Chat(world, person)
    if answered:
        assert await chat.presses("bad") is None
    else:
        await person.passes(4 * DAY)
    assert await person.outcome() == "finished"
    got = await person.got()
    number = await chat.presses("excellent", under="rating")
    assert number is not None
    conversation = await chat.conversation(number)
    assert (conversation.reason, conversation.alerted) == ("pressed_old_button", False)
    assert await person.got() == got


async def test_only_the_first_deal_is_asked_about(world: World) -> None:
    person = await world.person()
    await closes(world, person)
    await person.does("deal_closed", deal_id="D-2")
    assert [stay["key"] for stay in await person.enrolments()] == ["D-1"]
    assert "they have already done deal_closed" in (await person.notes())[-1]
