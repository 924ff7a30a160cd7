"""The quiz, by buttons, to each of its ends."""

from datetime import timedelta

import pytest

from tests.workflows.chat import Chat
from tests.world import World

pytestmark = pytest.mark.usefixtures("approved")

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


async def opened(world: World) -> Chat:
    person = await world.person()
    await person.does("quiz_opened")
    chat = Chat(world, person)
    await world.until(chat.says, ["where"])
    return chat


@pytest.mark.parametrize(
    ("drives", "matters", "car"),
    [
        ("city", "price", "city_price"),
        ("city", "comfort", "city_comfort"),
        ("country", "price", "country_price"),
        ("country", "comfort", "country_comfort"),
        ("family", "price", "family_price"),
        ("family", "comfort", "family_comfort"),
    ],
)
async def test_two_answers_lead_to_a_car_and_a_manager_by_phone(
    world: World, drives: str, matters: str, car: str
) -> None:
    chat = await opened(world)
    assert await chat.presses(drives) is None
    await world.until(chat.says, ["where", "what_matters"])
    await chat.presses(matters)
    await world.until(chat.says, ["where", "what_matters", car])
    await chat.presses("phone")
    assert await chat.person.outcome("CarQuiz") == "finished"
    assert (await chat.says())[3:] == ["phone"]


async def test_outside_the_window_it_begins_by_template_and_inside_its_buttons_need_no_approval(world: World) -> None:
    chat = await opened(world)
    await chat.presses("city")
    await world.until(chat.says, ["where", "what_matters"])
    first, second = [row["content"] for row in await chat.shown()]
    assert [first["template"]["category"], second["template"]["category"]] == ["marketing", "session"]
    ledger = await world.providers.get("/_sandbox/ledger", params={"address": chat.person.phone})
    shown = [each for each in ledger.json()["entries"] if each["direction"] == "outbound"]
    assert [[button["id"] for button in each["details"]["buttons"]] for each in shown] == [
        ["city", "country", "family"],
        ["price", "comfort"],
    ]


async def test_who_asks_for_it_in_the_chat_needs_no_template_and_may_answer_by_number(world: World) -> None:
    person = await world.person(locale="ru")
    chat = Chat(world, person)
    await chat.writes("тест")
    await world.until(chat.says, ["where"])
    (where,) = await chat.shown()
    assert where["content"].get("template") is None
    await chat.writes("2")
    await world.until(chat.says, ["where", "what_matters"])


async def test_whom_nothing_may_be_sent_to_without_a_template_is_no_lead(world: World) -> None:
    person = await world.person(locale="ru")
    await person.does("quiz_opened")
    assert await person.outcome() == "finished"
    assert await person.got() == []
    assert [row["reason"] for row in await person.messages()] == ["whatsapp_template:never submitted"]


async def test_a_manager_called_in_the_chat_takes_over_and_the_bot_says_no_more(world: World) -> None:
    chat = await opened(world)
    await chat.presses("city")
    await world.until(chat.says, ["where", "what_matters"])
    await chat.presses("price")
    await world.until(chat.says, ["where", "what_matters", "city_price"])
    number = await chat.presses("operator")
    assert number is not None
    assert await chat.person.outcome("CarQuiz") == "finished"
    conversation = await chat.conversation(number)
    assert (conversation.reason, conversation.alerted) == ("called_operator", True)
    assert [(line.by, line.choice) for line in conversation.lines][-2:] == [("CarQuiz", None), ("customer", "operator")]
    assert conversation.events[0].event == "quiz_opened"
    assert await chat.notices(number) == [("opened", True)]
    assert len(await chat.says()) == 3


async def test_pressed_buttons_call_nobody(world: World) -> None:
    chat = await opened(world)
    await chat.presses("city")
    await world.until(chat.says, ["where", "what_matters"])
    assert await chat.presses("family", under="where") is None
    await chat.presses("price")
    await world.until(chat.says, ["where", "what_matters", "city_price"])
    assert await world.pool.fetchval("select count(*) from operator_notices") == await world.pool.fetchval(
        "select count(*) from operator_notices n join conversations v on v.id = n.conversation_id "
        "where v.address <> $1",
        chat.person.phone,
    )


async def test_words_get_one_hint_and_then_an_operator(world: World) -> None:
    chat = await opened(world)
    assert await chat.writes("a red one, please") is None
    await world.until(chat.says, ["where", "hint", "where"])
    number = await chat.writes("No, really: red!")
    assert number is not None
    assert await chat.person.outcome("CarQuiz") == "finished"
    conversation = await chat.conversation(number)
    assert (conversation.reason, conversation.alerted) == ("words_to_bot", True)
    assert [line.text for line in conversation.lines if line.by == "customer"] == [
        "a red one, please",
        "No, really: red!",
    ]
    assert await chat.says() == ["where", "hint", "where"]


async def test_the_hint_itself_calls_an_operator(world: World) -> None:
    chat = await opened(world)
    await chat.writes("hello?")
    await world.until(chat.says, ["where", "hint", "where"])
    assert await chat.presses("operator", under="hint") is not None
    assert await chat.person.outcome("CarQuiz") == "finished"


async def test_after_the_hint_the_buttons_of_the_first_copy_count_too(world: World) -> None:
    chat = await opened(world)
    first = (await chat.shown())[0]["id"]
    await chat.writes("hello?")
    await world.until(chat.says, ["where", "hint", "where"])
    assert await chat._comes("In the city", button="city", about=first) is None
    await world.until(chat.says, ["where", "hint", "where", "what_matters"])


async def test_who_falls_silent_becomes_a_lead_of_the_call_centre(world: World) -> None:
    chat = await opened(world)
    await chat.presses("city")
    await world.until(chat.says, ["where", "what_matters"])
    await chat.person.passes(59 * MINUTE)
    assert "call left" not in await chat.person.got()
    await chat.person.passes(2 * MINUTE)
    assert await chat.person.outcome("CarQuiz") == "finished"
    assert (await chat.person.got())[-1] == "call left"


async def test_who_cannot_be_reached_is_no_lead(world: World) -> None:
    person = await world.person()
    await world.behaves(person.phone, delivery="failed")
    await person.does("quiz_opened")
    assert await person.outcome() == "finished"
    assert [row["channel"] for row in await person.messages()] == ["whatsapp"]


async def test_a_booked_visit_ends_the_quiz(world: World) -> None:
    chat = await opened(world)
    await chat.person.does("visit_booked", visit_id="V-1", at="2035-01-01T10:00:00+00:00")
    assert await chat.person.outcome("CarQuiz") == "goal"


async def test_the_keyword_begins_it_and_begins_it_anew(world: World) -> None:
    person = await world.person()
    chat = Chat(world, person)
    assert await chat.writes(" Quiz! ") is None
    await world.until(chat.says, ["where"])
    await chat.presses("city")
    await world.until(chat.says, ["where", "what_matters"])
    await chat.writes("quiz")
    await world.until(chat.says, ["where", "what_matters", "where"])
    assert len(await person.enrolments()) == 1


async def test_once_more_begins_it_anew(world: World) -> None:
    chat = await opened(world)
    await chat.presses("family")
    await world.until(chat.says, ["where", "what_matters"])
    await chat.presses("comfort")
    await world.until(chat.says, ["where", "what_matters", "family_comfort"])
    await chat.presses("again")
    await world.until(chat.says, ["where", "what_matters", "family_comfort", "where"])


async def test_a_button_of_a_quiz_that_is_over_goes_to_people_without_an_alert(world: World) -> None:
    chat = await opened(world)
    await chat.person.passes(2 * HOUR)
    assert await chat.person.outcome("CarQuiz") == "finished"
    number = await chat.presses("city")
    assert number is not None
    conversation = await chat.conversation(number)
    assert (conversation.reason, conversation.alerted) == ("pressed_old_button", False)
    assert conversation.lines[-1].answers == (await chat.shown())[0]["id"]
    assert await chat.notices(number) == [("opened", False)]


async def test_where_nobody_was_called_the_keyword_begins_it_all_the_same(world: World) -> None:
    chat = await opened(world)
    await chat.person.passes(2 * HOUR)
    assert await chat.presses("city") is not None
    assert await chat.writes("quiz") is None
    await world.until(chat.says, ["where", "where"])
    await world.until(lambda: chat.person.status_of("whatsapp"), "delivered")
    assert await chat.writes("A red one, please") is None
    await world.until(chat.says, ["where", "where", "hint", "where"])


async def test_a_conversation_that_nobody_closed_keeps_no_bot_from_talking_for_ever(world: World) -> None:
    person = await world.person()
    chat = Chat(world, person)
    number = await chat.writes("Do you buy old cars?")
    assert await chat.writes("quiz") == number
    await world.pool.execute("update dialogues set opened_at = opened_at - interval '25 hours'")
    assert await chat.writes("quiz") is None
    await world.until(chat.says, ["where"])
