"""What customers write on their own comes to people, who answer within the window, once, and not after STOP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.conversations import CONVERSATION
from domain.messages import Channel, Status
from store.conversations import step_of
from tests.api.scene import OPERATOR, READER, WRITER, Person, Scene


async def writes(scene: Scene, person: Person, text: str, channel: Channel = Channel.WHATSAPP, **fields: str) -> None:
    prefix = "whatsapp:" if channel is Channel.WHATSAPP else ""
    assert (await scene.texts(f"{prefix}{person.phone}", text, **fields)).status_code == 200


async def of(scene: Scene, person: Person) -> list[dict[str, Any]]:
    """The person's conversations as operators see them, the newest first."""
    listed = (await scene.as_operator("GET", "/v1/conversations?open=false&limit=100")).json()["conversations"]
    return [each for each in listed if each["user_id"] == person.user_id]


async def notices(scene: Scene, conversation: int) -> list[tuple[str, bool]]:
    rows = await scene.context.pool.fetch(
        "select kind, alert from operator_notices where conversation_id = $1 order by place", conversation
    )
    return [(row["kind"].removeprefix("conversation."), row["alert"]) for row in rows]


async def dialogue(scene: Scene, person: Person) -> int:
    return (await scene.get(f"/v1/customers/{person.user_id}/dialogue")).status_code


async def answers(
    scene: Scene, number: int, text: str = "Tomorrow at eleven?", id: UUID | None = None
) -> httpx.Response:
    body = {"id": str(id or uuid4()), "text": text}
    return await scene.as_operator("POST", f"/v1/conversations/{number}/answers", body)


async def test_what_no_run_waits_for_comes_with_its_context(scene: Scene) -> None:
    person = await scene.person(first_name="Ada")
    offer = await scene.sent(person, Channel.WHATSAPP, provider_id="SMoffer")
    await scene.tells("track", person.user_id, event="car_viewed", properties={"model": "Estate"})
    await writes(scene, person, "Is it still there in red?", OriginalRepliedMessageSid="SMoffer")
    (talk,) = await of(scene, person)
    assert (talk["name"], talk["channel"], talk["reason"], talk["alerted"]) == ("Ada", "whatsapp", "wrote", True)
    ours, theirs = talk["lines"]
    assert (ours["by"], ours["text"], ours["buttons"]) == (
        "AbandonedApplication",
        "Call you?",
        ["Right now", "Не звонить"],
    )
    assert (theirs["by"], theirs["text"], theirs["answers"]) == ("customer", "Is it still there in red?", str(offer))
    assert (talk["events"][0]["event"], talk["events"][0]["properties"]) == ("car_viewed", {"model": "Estate"})
    assert await notices(scene, talk["id"]) == [("opened", True)]
    assert await dialogue(scene, person) == 200


async def test_who_was_never_written_to_is_known_by_their_number(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    await writes(scene, person, "Mine is from 2011")
    (talk,) = await of(scene, person)
    assert [line["text"] for line in talk["lines"]] == ["Do you buy old cars?", "Mine is from 2011"]
    assert await notices(scene, talk["id"]) == [("opened", True), ("customer_wrote", True)]


async def test_a_callback_that_comes_twice_is_said_once(scene: Scene) -> None:
    person, sid = await scene.person(), f"SM{uuid4().hex}"
    await asyncio.gather(*(scene.texts(f"whatsapp:{person.phone}", "Hello?", sid) for _ in range(4)))
    (talk,) = await of(scene, person)
    assert len(talk["lines"]) == 1
    assert len(await notices(scene, talk["id"])) == 1


async def test_a_stranger_becomes_a_customer_known_by_their_number(scene: Scene) -> None:
    number = f"+1415{uuid4().int % 10_000_000:07d}"
    await asyncio.gather(*(scene.texts(f"whatsapp:{number}", word) for word in ("Hello?", "Is anybody there?")))
    (talk,) = [
        each
        for each in (await scene.as_operator("GET", "/v1/conversations?limit=100")).json()["conversations"]
        if each["address"] == number
    ]
    assert (talk["user_id"], len(talk["lines"]), talk["alerted"]) == (f"phone:{number}", 2, True)
    assert (await answers(scene, talk["id"])).status_code == 202
    # Once the backend knows who it is, the two become one.
    person = f"u-{uuid4().hex}"
    assert (await scene.tells("alias", person, previousId=f"phone:{number}")).status_code == 200
    assert (await scene.as_operator("GET", f"/v1/conversations/{talk['id']}")).json()["user_id"] == person
    # What it says of their number holds, also if they write from the old one.
    await scene.tells("identify", person, traits={"phone": "+14155550167"})
    await scene.texts(f"whatsapp:{number}", "It is me")
    assert (await scene.get(f"/v1/customers/{person}")).json()["phone"] == "+14155550167"
    lines = (await scene.as_operator("GET", f"/v1/conversations/{talk['id']}")).json()["lines"]
    assert [line["text"] for line in lines if line["by"] == "customer"][-1] == "It is me"


async def test_whoever_is_told_to_have_a_strangers_number_is_that_stranger(scene: Scene) -> None:
    number, person = f"+1415{uuid4().int % 10_000_000:07d}", f"u-{uuid4().hex}"
    await scene.tells("identify", person, traits={"locale": "en"})
    await scene.texts(f"whatsapp:{number}", "Hello?")
    assert (await scene.tells("identify", person, traits={"phone": number})).status_code == 200
    (line,) = await scene.context.pool.fetch(
        """
        select i.value from conversation_lines l join conversations c on c.id = l.conversation_id
        join identities i on i.customer_id = c.customer_id and i.kind = 'user' where c.address = $1
        """,
        number,
    )
    assert line["value"] == person
    # So a right to be forgotten reaches all of them.
    assert (await scene.as_operator("DELETE", f"/v1/customers/{person}")).status_code == 204
    for table in ("customers", "identities", "conversation_lines", "callbacks"):
        rows = await scene.context.pool.fetch(
            f'select from "{table}" each where strpos(each::text, $1) > 0', number[1:]
        )
        assert rows == [], table


async def test_a_stranger_who_was_erased_leaves_no_number_and_stays_a_stranger(scene: Scene) -> None:
    number = f"+1415{uuid4().int % 10_000_000:07d}"
    await scene.texts(f"whatsapp:{number}", "Hello?")
    assert (await scene.as_operator("DELETE", f"/v1/customers/phone:{number}")).status_code == 204
    await scene.texts(f"whatsapp:{number}", "Hello again?")
    for table in ("customers", "identities", "events", "conversations", "conversation_lines", "callbacks"):
        rows = await scene.context.pool.fetch(
            f'select from "{table}" each where strpos(each::text, $1) > 0', number[1:]
        )
        assert rows == [], table


@pytest.mark.parametrize("sender", ["BANK", "787", "whatsapp:"])
async def test_what_is_no_persons_number_comes_to_nobody(scene: Scene, sender: str) -> None:
    sid = f"SM{uuid4().hex}"
    assert (await scene.texts(sender, "Your code is 4711", sid)).status_code == 200
    assert len(await scene.callbacks("twilio", sid)) == 1
    assert not await scene.context.pool.fetchval(
        "select exists (select from conversation_lines where text = 'Your code is 4711')"
    )


async def test_a_picture_and_a_place_come_with_the_words(scene: Scene) -> None:
    person = await scene.person()
    files = {f"MediaUrl{number}": f"https://api.twilio.com/m/{number}" for number in range(2)}
    told = [("From", f"whatsapp:{person.phone}"), ("To", "whatsapp:+14155550100"), ("MessageSid", f"SM{uuid4().hex}")]
    form = [*told, ("Body", "They offered me this"), ("NumMedia", "2"), ("MediaContentType0", "image/jpeg")]
    assert (await scene.twilio("/webhooks/twilio/inbound", [*form, *files.items()])).status_code == 200
    await writes(scene, person, "", Latitude="55.75", Longitude="37.61", Label="North centre")
    await writes(scene, person, "", NumMedia="many")
    (talk,) = await of(scene, person)
    assert [line["text"] for line in talk["lines"]] == [
        "They offered me this\nimage/jpeg: https://api.twilio.com/m/0\nfile: https://api.twilio.com/m/1",
        "place: 55.75, 37.61, North centre",
        "",
    ]


async def test_a_picture_with_a_stop_under_it_is_a_stop(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "STOP", NumMedia="1", MediaUrl0="https://api.twilio.com/m/0")
    assert await scene.suppressed(Channel.WHATSAPP, person.phone) == "opted_out"


async def test_whoever_writes_from_a_number_is_there_whatever_was_said_of_it(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.WHATSAPP)
    await scene.twilio_says(message, "undelivered", ErrorCode="63014")
    assert await scene.suppressed(Channel.WHATSAPP, person.phone) == "dead"
    await writes(scene, person, "I am back. Is the car still there?")
    assert await scene.suppressed(Channel.WHATSAPP, person.phone) is None
    (talk,) = await of(scene, person)
    assert (await answers(scene, talk["id"])).status_code == 202


async def test_a_button_of_a_message_nobody_knows_calls_nobody(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Show me", ButtonPayload="show", OriginalRepliedMessageSid="SMbefore")
    (talk,) = await of(scene, person)
    assert (talk["reason"], talk["alerted"]) == ("pressed_old_button", False)
    assert await notices(scene, talk["id"]) == [("opened", False)]


async def test_stop_and_start_are_no_conversation(scene: Scene) -> None:
    person = await scene.person()
    for word in ("STOP", "START", "стоп"):
        await writes(scene, person, word)
    assert await of(scene, person) == []


async def test_what_a_run_waits_for_goes_to_the_run(scene: Scene) -> None:
    person = await scene.person()
    await scene.sent(person, Channel.WHATSAPP, awaits=[Status.REPLIED])
    await writes(scene, person, "Right now", ButtonPayload="now")
    assert await scene.heard(person) == [("reply", "now")]
    assert await of(scene, person) == []


async def test_while_a_person_talks_words_are_theirs_and_buttons_the_runs(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    await scene.sent(person, Channel.WHATSAPP, awaits=[Status.REPLIED])
    await writes(scene, person, "From 2011")
    assert await scene.heard(person) == []
    await writes(scene, person, "Right now", ButtonPayload="now")
    assert await scene.heard(person) == [("reply", "now")]
    (talk,) = await of(scene, person)
    assert len(await notices(scene, talk["id"])) == 2


async def test_an_operator_answers_once_however_often_the_tool_asks(scene: Scene) -> None:
    person, id = await scene.person(), uuid4()
    await writes(scene, person, "Do you buy old cars?")
    (talk,) = await of(scene, person)
    first, *again = await asyncio.gather(*(answers(scene, talk["id"], id=id) for _ in range(4)))
    assert first.status_code == 202
    assert {each.json()["message"] for each in (first, *again)} == {first.json()["message"]}
    (talk,) = await of(scene, person)
    assert [(line["by"], line["status"]) for line in talk["lines"]] == [
        ("customer", None),
        ("operator:operate", "waiting"),
    ]


@pytest.mark.parametrize(("channel", "refused"), [(Channel.WHATSAPP, True), (Channel.SMS, False)])
async def test_outside_whatsapps_window_an_answer_is_refused_with_the_reason(
    scene: Scene, channel: Channel, refused: bool
) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?", channel)
    (talk,) = await of(scene, person)
    assert (talk["answer_until"] is not None) is refused
    await scene.context.pool.execute(
        "update conversation_lines set at = at - interval '24 hours 1 minute' where conversation_id = $1", talk["id"]
    )
    answer = await answers(scene, talk["id"])
    assert answer.status_code == (409 if refused else 202)
    if refused:
        assert answer.json()["code"] == "window_closed"
        assert "within 24 hours of the customer's last message" in answer.json()["message"]
        await writes(scene, person, "Still there?")
        assert (await answers(scene, talk["id"])).status_code == 202


async def test_after_stop_and_in_a_block_no_answer_is_taken(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    (talk,) = await of(scene, person)
    path = f"/v1/customers/{person.user_id}/blocks"
    block = (await scene.as_operator("POST", path, {"name": "complaint", "lasts": "P1D"})).json()
    assert (await answers(scene, talk["id"])).json()["code"] == "blocked"
    await scene.as_operator("DELETE", f"{path}/{block['id']}")
    await writes(scene, person, "STOP")
    assert (await answers(scene, talk["id"])).json()["code"] == "suppressed"


async def test_closing_lets_journeys_write_again_and_the_next_word_opens_anew(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    (talk,) = await of(scene, person)
    for _ in range(2):
        closed = await scene.as_operator("POST", f"/v1/conversations/{talk['id']}/close")
        assert (closed.status_code, closed.json()["closed_by"]) == (200, "operator:operate")
    assert await dialogue(scene, person) == 204
    assert (await answers(scene, talk["id"])).json()["code"] == "closed"
    assert await notices(scene, talk["id"]) == [("opened", True), ("closed", False)]
    await writes(scene, person, "Thank you!")
    assert [each["closed_at"] is None for each in await of(scene, person)] == [True, False]


async def test_an_operator_begins_a_conversation_and_whatsapp_wants_the_customer_to_write_first(scene: Scene) -> None:
    person = await scene.person()
    for status in (201, 200):
        opened = await scene.as_operator("POST", "/v1/conversations", {"user_id": person.user_id})
        assert opened.status_code == status
    assert await dialogue(scene, person) == 200
    assert (await answers(scene, opened.json()["id"])).json()["code"] == "window_closed"
    sms = await scene.as_operator("POST", "/v1/conversations", {"user_id": person.user_id, "channel": "sms"})
    assert (await answers(scene, sms.json()["id"])).status_code == 202
    await scene.as_operator("POST", f"/v1/conversations/{opened.json()['id']}/close")
    assert await dialogue(scene, person) == 200, "one of the two is still open"


async def test_conversations_need_their_scope_and_leave_an_entry(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    (talk,) = await of(scene, person)
    for key in (READER, WRITER):
        assert (await scene.get(f"/v1/conversations/{talk['id']}", key)).status_code == 403
    assert (await scene.http.get("/v1/conversations")).status_code == 401
    assert (await scene.get(f"/v1/conversations/{2**60}", OPERATOR)).status_code == 404
    actions = {each["action"] for each in await scene.context.pool.fetch("select action from audit")}
    assert {"read_conversation", "list_conversations"} <= actions


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "x"}, "id"),
        ({"id": "no", "text": "x"}, "id"),
        ({"text": "  "}, "text"),
        ({"text": "x" * 1001}, "text"),
    ],
)
async def test_a_malformed_answer_names_the_field(scene: Scene, body: dict[str, str], field: str) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    (talk,) = await of(scene, person)
    answer = await scene.as_operator(
        "POST", f"/v1/conversations/{talk['id']}/answers", {"id": str(uuid4()), **body} if field == "text" else body
    )
    assert answer.status_code == 422
    assert field in [each["field"].split(".")[-1] for each in answer.json()["errors"]]


async def test_two_who_turn_out_to_be_one_have_one_conversation_open(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    for each in (person, other):
        await writes(scene, each, "Do you buy old cars?")
    await scene.tells("alias", other.user_id, previousId=person.user_id)
    whole = await scene.customer_of(other.user_id)
    still_open = await scene.context.pool.fetch(
        "select id from conversations where customer_id = $1 and closed_at is null", whole
    )
    assert len(still_open) == 1
    found = await scene.as_operator("GET", f"/v1/conversations/{still_open[0]['id']}")
    assert len(found.json()["lines"]) == 2


async def test_an_erased_customer_leaves_no_word_and_the_tool_is_asked_to_forget(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "My plate is X 777 XX")
    (talk,) = await of(scene, person)
    await scene.context.pool.execute("update operator_notices set attempts = 1 where conversation_id = $1", talk["id"])
    assert (await scene.as_operator("DELETE", f"/v1/customers/{person.user_id}")).status_code == 204
    assert (await scene.as_operator("GET", f"/v1/conversations/{talk['id']}")).status_code == 404
    assert (await answers(scene, talk["id"])).status_code == 404
    asked = await scene.context.pool.fetch(
        "select subject from provider_erasures where customer_id = $1 and provider = 'operators'", person.customer
    )
    assert [row["subject"] for row in asked] == [str(talk["id"])]
    # What comes late from the number stays unsaid.
    await writes(scene, person, "Hello? X 777 XX")
    assert not await scene.context.pool.fetchval(
        "select exists (select from conversation_lines where text like '%777%')"
    )


async def test_an_answer_is_a_message_of_the_conversations_own_stay(scene: Scene) -> None:
    person = await scene.person()
    await writes(scene, person, "Do you buy old cars?")
    (talk,) = await of(scene, person)
    await answers(scene, talk["id"])
    line = await scene.context.pool.fetchrow(
        "select id, message_id from conversation_lines where conversation_id = $1 and author is not null", talk["id"]
    )
    assert line is not None
    assert step_of(line["id"], Channel.WHATSAPP) == f"{CONVERSATION}/{line['id']}:whatsapp"
    entry = await scene.context.pool.fetchrow(
        "select journey, outcome from enrolments e join conversations v on v.enrolment_id = e.id where v.id = $1",
        talk["id"],
    )
    assert tuple(entry or ()) == (CONVERSATION, None)
    assert datetime.now(UTC) - datetime.fromisoformat(talk["opened_at"]) < timedelta(minutes=1)
