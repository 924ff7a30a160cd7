"""The score after a deal: by number, in words, twice, and not at all."""

from datetime import timedelta

import pytest

from domain.messages import Channel
from tests.workflows.chat import Chat
from tests.world import Person, World

pytestmark = pytest.mark.usefixtures("approved")

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


async def asked(world: World) -> Chat:
    person = await world.person()
    await person.does("contract_signed", deal_id="D-1")
    await person.passes(DAY + MINUTE)
    assert await person.got() == ["whatsapp score"]
    return Chat(world, person)


@pytest.mark.parametrize("score", ["7", "10", " 9/10", "8 из 10", "10!"])
async def test_a_good_score_is_thanked_for(world: World, score: str) -> None:
    chat = await asked(world)
    assert await chat.writes(score) is None
    assert await chat.person.outcome() == "finished"
    assert (await chat.person.got())[1:] == ["whatsapp thanks"]


@pytest.mark.parametrize("score", ["0", "6"])
async def test_a_low_score_goes_to_the_call_centre(world: World, score: str) -> None:
    chat = await asked(world)
    await chat.writes(score)
    assert await chat.person.outcome() == "finished"
    assert (await chat.person.got())[1:] == ["call unhappy"]


@pytest.mark.parametrize("words", ["It was good, thank you", "11", "-1", "ten"])
async def test_words_go_to_the_call_centre_which_reads_them(world: World, words: str) -> None:
    chat = await asked(world)
    await chat.writes(words)
    assert await chat.person.outcome() == "finished"
    assert (await chat.person.got())[1:] == ["call in_words"]
    (call,) = await world.messages_of(chat.person, "call")
    assert f"“{words}”" in call["content"]["script"]


async def test_without_an_answer_it_is_asked_by_sms_and_then_ends(world: World) -> None:
    chat = await asked(world)
    await chat.person.passes(2 * DAY + MINUTE)
    assert await chat.person.got() == ["whatsapp score", "sms score"]
    await chat.person.passes(2 * DAY)
    assert await chat.person.outcome() == "finished"
    assert len(await chat.person.got()) == 2


async def test_the_first_question_may_be_answered_after_the_second(world: World) -> None:
    chat = await asked(world)
    await chat.person.passes(2 * DAY + MINUTE)
    await chat.writes("3")
    assert await chat.person.outcome() == "finished"
    assert (await chat.person.got())[2:] == ["call unhappy"]


async def test_an_sms_answers_too(world: World) -> None:
    chat = await asked(world)
    await chat.person.passes(2 * DAY + MINUTE)
    await Chat(world, chat.person, Channel.SMS).writes("10")
    assert await chat.person.outcome() == "finished"
    assert (await chat.person.got())[2:] == ["whatsapp thanks"]


async def test_where_no_template_is_approved_it_is_asked_by_sms_at_once(world: World) -> None:
    person = await world.person(locale="ru")
    await person.does("contract_signed", deal_id="D-1")
    await person.passes(DAY + MINUTE)
    assert await person.got() == ["sms score"]
    await Chat(world, person, Channel.SMS).writes("2")
    assert await person.outcome() == "finished"
    assert (await person.got())[1:] == ["call unhappy"]


async def test_a_second_answer_goes_to_people_and_the_first_stays(world: World) -> None:
    chat = await asked(world)
    await chat.writes("3")
    assert await chat.person.outcome() == "finished"
    number = await chat.writes("Sorry, I meant 10")
    assert number is not None
    conversation = await chat.conversation(number)
    assert conversation.reason == "wrote"
    assert conversation.lines[-1].answers == (await chat.shown())[0]["id"]
    assert await chat.person.got("DealReview") == ["whatsapp score", "call unhappy"]


async def test_each_deal_is_asked_about_once(world: World) -> None:
    person: Person = await world.person()
    for deal in ("D-1", "D-1", "D-2"):
        await person.does("contract_signed", deal_id=deal)
    assert [stay["key"] for stay in await person.enrolments()] == ["D-1", "D-2"]
