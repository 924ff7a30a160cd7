"""What becomes of messages when their providers call back: twice, late, out of order, malformed."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from domain.messages import Channel, Status
from store import messages
from tests.api.scene import Scene, email_event


async def test_a_status_moves_the_message_and_its_run_hears_of_it_once(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.DELIVERED, Status.FAILED])
    sid = f"SM{uuid4().hex}"
    for _ in range(3):
        assert (await scene.twilio_says(message, "delivered", sid)).status_code == 204
    row = await scene.row(message)
    assert (row["status"], row["provider_id"]) == ("delivered", sid)
    assert datetime.now(UTC) - row["delivered_at"] < timedelta(minutes=1)
    assert len(await scene.callbacks("twilio", f"{sid}:delivered")) == 1
    assert await scene.heard(person) == [("delivery_status", "delivered")]
    assert await scene.heard(person) == []


async def test_the_same_callback_at_the_same_moment_counts_once(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.DELIVERED])
    answers = await asyncio.gather(*(scene.twilio_says(message, "delivered", "SMsame") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {204}
    assert await scene.heard(person) == [("delivery_status", "delivered")]


async def test_what_no_run_waits_for_is_kept_and_signals_nobody(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.REPLIED])
    await scene.twilio_says(message, "delivered")
    assert await scene.status(message) == "delivered"
    assert await scene.heard(person) == []


async def test_statuses_out_of_order_only_move_a_message_forward(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.WHATSAPP, awaits=[Status.DELIVERED, Status.READ])
    for status in ("read", "queued", "delivered", "sent", "sending"):
        assert (await scene.twilio_says(message, status)).status_code == 204
    assert await scene.status(message) == "read"
    assert await scene.heard(person) == [("delivery_status", "read")]


async def test_a_callback_settles_a_send_of_uncertain_outcome(scene: Scene) -> None:
    message = await scene.sent(await scene.person(), Channel.SMS, status=Status.UNKNOWN)
    await scene.twilio_says(message, "queued")
    assert await scene.status(message) == "accepted"


@pytest.mark.parametrize(
    ("code", "suppression"), [("30005", "dead"), ("21610", "opted_out"), ("30003", None), ("", None)]
)
async def test_a_failure_keeps_its_code_and_a_hard_one_the_number(
    scene: Scene, code: str, suppression: str | None
) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.FAILED])
    await scene.twilio_says(message, "undelivered", ErrorCode=code)
    row = await scene.row(message)
    assert (row["status"], row["reason"]) == ("failed", code or None)
    assert await scene.suppressed(Channel.SMS, person.phone) == suppression
    assert await scene.suppressed(Channel.WHATSAPP, person.phone) is None
    assert await scene.heard(person) == [("delivery_status", "failed")]


async def test_a_callback_for_a_message_we_do_not_know_is_kept(scene: Scene) -> None:
    for mid in (str(uuid4()), "", "no-uuid"):
        sid = f"SM{uuid4().hex}"
        assert (await scene.twilio_says(mid, "delivered", sid)).status_code == 204
        assert len(await scene.callbacks("twilio", f"{sid}:delivered")) == 1


async def test_no_provider_speaks_of_another_ones_message(scene: Scene) -> None:
    message = await scene.sent(await scene.person(), Channel.CALL)
    now = datetime.now(UTC).isoformat()
    await scene.app_says({"message_id": str(message), "event": "opened", "at": now})
    await scene.sendgrid_says(email_event("delivered", message))
    await scene.twilio_says(message, "delivered")
    assert await scene.status(message) == "accepted"


# Email.


@pytest.mark.parametrize(
    ("event", "status", "reason", "suppression"),
    [
        ({"event": "processed"}, "accepted", None, None),
        ({"event": "delivered"}, "delivered", None, None),
        ({"event": "open"}, "read", None, None),
        ({"event": "open", "sg_machine_open": True}, "accepted", None, None),
        ({"event": "click"}, "clicked", None, None),
        ({"event": "deferred", "response": "421 ada@example.com try later"}, "accepted", "deferred:421", None),
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, "failed", "bounce:5.1.1", "dead"),
        ({"event": "bounce", "type": "blocked", "status": "5.7.1"}, "failed", "blocked:5.7.1", None),
        ({"event": "bounce", "type": "bounce", "status": "<ada@example.com>"}, "failed", "bounce", "dead"),
        ({"event": "dropped", "reason": "Bounced Address"}, "failed", "dropped:dead", "dead"),
        ({"event": "dropped", "reason": "Spam Content"}, "failed", "dropped", None),
        ({"event": "spamreport"}, "accepted", None, "complained"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "failed", "dropped:unsubscribed", None),
        ({"event": "unsubscribe"}, "accepted", None, None),
        ({"event": "group_unsubscribe", "asm_group_id": 1}, "accepted", None, None),
        ({"event": "something_new"}, "accepted", None, None),
    ],
)
async def test_each_email_event_means_what_it_means(
    scene: Scene, event: dict[str, Any], status: str, reason: str | None, suppression: str | None
) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL)
    at = int(datetime.now(UTC).timestamp()) - 90
    answer = await scene.sendgrid_says(email_event(message=message, **{"timestamp": at, **event}))
    assert answer.status_code == 204
    row = await scene.row(message)
    assert (row["status"], row["reason"]) == (status, reason)
    assert await scene.suppressed(Channel.EMAIL, person.email) == suppression
    moment = {"delivered": "delivered_at", "read": "read_at", "clicked": "clicked_at", "failed": "failed_at"}.get(
        status
    )
    if moment:
        assert row[moment] == datetime.fromtimestamp(at, UTC)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("event", "given"),
    [
        ({"event": "unsubscribe"}, False),
        ({"event": "group_unsubscribe", "asm_group_id": 1}, False),
        ({"event": "group_resubscribe", "asm_group_id": 1}, True),
        ({"event": "spamreport"}, False),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, False),
        ({"event": "dropped", "reason": "Bounced Address"}, None),
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, None),
        ({"event": "open"}, None),
    ],
)
async def test_what_a_reader_told_sendgrid_is_a_wish_kept_once(
    scene: Scene, event: dict[str, Any], given: bool | None, named: bool
) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL)
    at = int(datetime.now(UTC).timestamp()) - 90
    told = email_event(**{"message": message if named else None, "email": person.email, "timestamp": at, **event})
    for _ in range(2):
        assert (await scene.sendgrid_says(told)).status_code == 204
    ledger = await scene.ledger(person)
    assert [each["given"] for each in ledger] == ([] if given is None else [given])
    for entry in ledger:
        assert (entry["channel"], entry["topic"], entry["source"]) == ("email", "*", f"sendgrid:{event['event']}")
        assert entry["proof"] == {"sg_event_id": told["sg_event_id"]}
        assert datetime.fromisoformat(entry["at"]) == datetime.fromtimestamp(at, UTC)


async def test_who_resubscribes_hears_of_us_again(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL)
    await scene.sendgrid_says(email_event("unsubscribe", message))
    assert await scene.allows(person, Channel.EMAIL) == (False, "withdrawn")
    assert await scene.allows(person, Channel.SMS) == (True, "assumed")
    await scene.sendgrid_says(email_event("group_resubscribe", message))
    assert await scene.allows(person, Channel.EMAIL) == (True, "given")


async def test_a_batch_in_wrong_order_and_sent_twice_leaves_what_happened(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL, awaits=[Status.DELIVERED, Status.READ, Status.CLICKED])
    batch = [email_event(name, message) for name in ("click", "open", "delivered", "processed")]
    for _ in range(2):
        assert (await scene.sendgrid_says(*batch)).status_code == 204
    assert await scene.status(message) == "clicked"
    assert await scene.heard(person) == [("delivery_status", "clicked")]


async def test_a_letter_that_bounces_after_it_was_taken_has_failed(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL)
    await scene.sendgrid_says(email_event("delivered", message))
    await scene.sendgrid_says(email_event("bounce", message, type="bounce", status="5.1.1"))
    assert await scene.status(message) == "failed"


async def test_a_bounce_without_our_id_still_spares_the_address(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL)
    event = email_event("bounce", type="bounce", status="5.1.1", email=person.email.upper())
    assert (await scene.sendgrid_says(event)).status_code == 204
    assert await scene.suppressed(Channel.EMAIL, person.email) == "dead"
    assert await scene.status(message) == "accepted"


async def test_an_event_without_an_id_is_told_from_another_by_what_it_says(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.EMAIL, awaits=[Status.DELIVERED, Status.READ])
    delivered = {**email_event("delivered", message), "sg_event_id": None}
    opened = {**email_event("open", message), "sg_event_id": None}
    for _ in range(2):
        assert (await scene.sendgrid_says(delivered, opened)).status_code == 204
    assert await scene.heard(person) == [("delivery_status", "delivered"), ("delivery_status", "read")]
    kept = "select count(*) from callbacks where message_id = $1"
    assert await scene.context.pool.fetchval(kept, message) == 2


async def test_a_malformed_event_is_named_and_its_neighbours_are_taken(scene: Scene) -> None:
    person = await scene.person()
    message, other = await scene.sent(person, Channel.EMAIL), await scene.sent(person, Channel.EMAIL)
    answer = await scene.sendgrid_says(
        email_event("delivered", message),
        {"event": "open"},
        7,
        email_event("open", message, timestamp=10**13),
        email_event("open", message, note="a\0b"),
        email_event("delivered", other),
    )
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == ["1.timestamp", "2.body", "3.timestamp", "4.body"]
    assert all(each["rule"] for each in answer.json()["errors"])
    assert (await scene.status(message), await scene.status(other)) == ("delivered", "delivered")


@pytest.mark.parametrize("body", [b"", b"{", b'{"event": "open"}', b"null", b"\xff", b"[" * 2000, b'["\\ud800"]'])
async def test_a_signed_body_that_is_no_batch_is_refused(scene: Scene, body: bytes) -> None:
    answer = await scene.sendgrid(body, datetime.now(UTC))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "body")


async def test_a_body_nested_too_deep_to_be_kept_is_refused(scene: Scene) -> None:
    deep = '{"event": "open", "timestamp": 1, "x": ' + "[" * 400 + "]" * 400 + "}"
    answer = await scene.sendgrid(f"[{deep}]".encode(), datetime.now(UTC))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "0.body")


# Twilio's forms.


async def test_a_signed_form_without_its_fields_is_refused(scene: Scene) -> None:
    for path, form, field in (
        ("/webhooks/twilio/status", [("MessageStatus", "sent")], "MessageSid"),
        ("/webhooks/twilio/status", [("MessageSid", "SM1")], "MessageStatus"),
        ("/webhooks/twilio/status", [("MessageSid", "S" * 256), ("MessageStatus", "sent")], "MessageSid"),
        ("/webhooks/twilio/inbound", [("MessageSid", "SM1"), ("Body", "hi")], "From"),
    ):
        answer = await scene.twilio(path, form)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)


async def test_a_form_is_kept_with_repeated_and_blank_fields(scene: Scene) -> None:
    form = [
        ("MessageSid", "SMr"),
        ("MessageStatus", "sent"),
        ("Media", "b"),
        ("Media", "a"),
        ("Empty", ""),
    ]
    assert (await scene.twilio("/webhooks/twilio/status", form)).status_code == 204
    (row,) = await scene.callbacks("twilio", "SMr:sent")
    assert row["body"]["Media"] == ["b", "a"]
    assert row["body"]["Empty"] == [""]


# Calls and pushes.


@pytest.mark.parametrize(
    ("result", "status", "reason", "suppression"),
    [
        ("answered", "read", "answered", None),
        ("declined", "delivered", "declined", None),
        ("no_answer", "failed", "no_answer", None),
        ("busy", "failed", "busy", None),
        ("wrong_number", "failed", "wrong_number", "wrong_number"),
    ],
)
async def test_each_call_result_means_what_it_means(
    scene: Scene, result: str, status: str, reason: str | None, suppression: str | None
) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.CALL, awaits=list(Status))
    body = {"id": str(message), "result": result, "at": "2026-11-22T03:00:00+03:00"}
    for _ in range(2):
        assert (await scene.call_centre_says(body, callback_id=f"call-{message}")).status_code == 204
    row = await scene.row(message)
    assert (row["status"], row["reason"]) == (status, reason)
    assert await scene.suppressed(Channel.CALL, person.phone) == suppression
    assert await scene.heard(person) == [("delivery_status", status)]


async def test_what_the_app_saw_of_a_push(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.PUSH, awaits=[Status.CLICKED])
    at = datetime.now(UTC) - timedelta(minutes=3)
    for event, status in (
        ("received", "delivered"),
        ("dismissed", "read"),
        ("opened", "clicked"),
        ("received", "clicked"),
    ):
        body = {"message_id": str(message), "event": event, "at": at.isoformat()}
        assert (await scene.app_says(body)).status_code == 204
        assert await scene.status(message) == status
    row = await scene.row(message)
    assert row["delivered_at"] == row["dismissed_at"] == row["clicked_at"] == at
    assert await scene.heard(person) == [("delivery_status", "clicked")]


async def test_nothing_happened_later_than_now(scene: Scene) -> None:
    message = await scene.sent(await scene.person(), Channel.PUSH)
    ahead = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    await scene.app_says({"message_id": str(message), "event": "dismissed", "at": ahead})
    row = await scene.row(message)
    assert max(row["read_at"], row["dismissed_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ({"id": "7"}, "id"),
        ({"result": "bored"}, "result"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-11-22T10:00:00"}, "at"),
        ({"note": "a\0b"}, "body"),
    ],
)
async def test_a_malformed_call_result_is_refused_without_repeating_it(
    scene: Scene, broken: dict[str, str], field: str
) -> None:
    body = {"id": str(uuid4()), "result": "busy", "at": "2026-11-22T10:00:00Z", **broken}
    answer = await scene.call_centre_says(body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert "bored" not in answer.text
    assert (await scene.call_centre_says([body])).json()["errors"][0]["field"] == "body"


# What customers write.

TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


@pytest.mark.parametrize(
    "word",
    [
        *("STOP", " stop ", "StopAll", "UNSUBSCRIBE", "cancel", "END", "Quit", "revoke", "Opt  out", "OPTOUT"),
        *("Stop!", "«Стоп».", "ОТПИСКА", "стоп!!!"),
    ],
)
async def test_stop_in_any_case_stops_that_channel_to_that_number(scene: Scene, word: str) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.REPLIED])
    answer = await scene.texts(person.phone, word)
    assert (answer.status_code, answer.text) == (200, TWIML)
    assert answer.headers["content-type"].startswith("text/xml")
    assert await scene.suppressed(Channel.SMS, person.phone) == "opted_out"
    assert await scene.suppressed(Channel.WHATSAPP, person.phone) is None
    assert await scene.status(message) == "accepted"
    assert await scene.heard(person) == []


async def test_stop_and_start_are_kept_as_wishes_of_whoever_is_reached_there(scene: Scene) -> None:
    person = await scene.person()
    other = await scene.person(phone=person.phone)
    await scene.sent(person, Channel.SMS)
    for word, given in (("STOP", False), ("START", True)):
        sid = f"SM{uuid4().hex}"
        for _ in range(2):
            await scene.texts(person.phone, word, sid)
        (entry, *_) = await scene.ledger(person)
        assert (entry["channel"], entry["topic"], entry["given"]) == ("sms", "*", given)
        assert (entry["source"], entry["proof"]) == (f"twilio:{word.lower()}", {"sid": sid})
        why = (True, "given") if given else (False, "suppressed:opted_out")
        for each in (person, other):
            assert await scene.allows(each, Channel.SMS) == why
            assert await scene.allows(each, Channel.CALL) == (True, "assumed")
    assert len(await scene.ledger(person)) == 2


@pytest.mark.parametrize(
    ("text", "kind", "suppressed", "ledger", "status"),
    [
        ("no more please", "STOP", "opted_out", [False], "accepted"),
        ("come back", "START", None, [True], "accepted"),
        ("who are you", "HELP", None, [], "accepted"),
        ("HELP", "help", None, [], "accepted"),
        ("hello", "", None, [], "replied"),
        ("hello", "SOMETHING", None, [], "replied"),
        ("yes", "", None, [], "replied"),
    ],
)
async def test_twilios_own_word_on_an_opt_out_is_believed(
    scene: Scene, text: str, kind: str, suppressed: str | None, ledger: list[bool], status: str
) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS)
    await scene.texts(person.phone, text, OptOutType=kind)
    assert await scene.suppressed(Channel.SMS, person.phone) == suppressed
    assert [each["given"] for each in await scene.ledger(person)] == ledger
    assert await scene.status(message) == status


async def test_a_stop_that_twilio_kept_is_kept_here_too(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS)
    await scene.twilio_says(message, "failed", "SMkept", ErrorCode="21610", To=person.phone)
    (entry,) = await scene.ledger(person)
    assert (entry["given"], entry["source"], entry["proof"]) == (False, "twilio:21610", {"sid": "SMkept"})
    # The wish is the customer's, also at a new number; what is suppressed is the old one.
    await scene.tells("identify", person.user_id, traits={"phone": "+14155550177"})
    assert await scene.allows(person, Channel.SMS) == (False, "withdrawn")


async def test_stop_within_a_sentence_is_an_answer(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS)
    await scene.texts(person.phone, "please do not stop")
    assert await scene.suppressed(Channel.SMS, person.phone) is None
    assert await scene.status(message) == "replied"


@pytest.mark.parametrize("word", ["START", "unstop", "Yes"])
async def test_start_undoes_stop_and_nothing_else(scene: Scene, word: str) -> None:
    stopped, complained = await scene.person(), await scene.person()
    await scene.texts(stopped.phone, "STOP")
    async with scene.context.pool.acquire() as connection:
        await messages.suppress(connection, Channel.SMS, complained.phone, "complained", "operator:desk")
    for person in (stopped, complained):
        await scene.texts(person.phone, word)
    assert await scene.suppressed(Channel.SMS, stopped.phone) is None
    assert await scene.suppressed(Channel.SMS, complained.phone) == "complained"


async def test_yes_to_an_open_question_is_its_answer(scene: Scene) -> None:
    person = await scene.person()
    await scene.texts(person.phone, "STOP")
    question = await scene.sent(person, Channel.SMS, awaits=[Status.REPLIED, Status.FAILED])
    await scene.texts(person.phone, "yes")
    assert await scene.suppressed(Channel.SMS, person.phone) == "opted_out"
    assert await scene.status(question) == "replied"
    await scene.texts(person.phone, "yes")
    assert await scene.suppressed(Channel.SMS, person.phone) is None


@pytest.mark.parametrize(
    ("text", "fields", "choice"),
    [
        ("1", {}, "now"),
        (" 2 ", {}, "never"),
        ("RIGHT NOW", {}, "now"),
        ("не звонить", {}, "never"),
        ("Right now", {"ButtonPayload": "now", "ButtonText": "Right now"}, "now"),
        ("3", {}, None),
        ("ring me at +1 415 555 0199", {}, None),
    ],
)
async def test_an_answer_reaches_the_run_as_the_choice_and_never_as_text(
    scene: Scene, text: str, fields: dict[str, str], choice: str | None
) -> None:
    person = await scene.person()
    question = await scene.sent(person, Channel.WHATSAPP, awaits=[Status.REPLIED, Status.FAILED])
    sid = f"SM{uuid4().hex}"
    for _ in range(2):
        assert (await scene.texts(f"whatsapp:{person.phone}", text, sid, **fields)).status_code == 200
    row = await scene.row(question)
    assert row["status"] == "replied"
    assert row["replied_at"] is not None
    (callback,) = await scene.callbacks("twilio", sid)
    assert callback["body"]["Body"] == [text]
    told = await scene.context.pool.fetchval(
        "select properties from events where type = 'message_reply' and message_id = $1", sid
    )
    assert told == {"enrolment": person.enrolment, "message": str(question), "choice": choice}
    assert await scene.heard(person) == [("reply", choice)]


async def test_an_answer_goes_to_the_newest_message_of_its_channel_or_to_the_one_it_names(scene: Scene) -> None:
    person = await scene.person()
    named = await scene.sent(person, Channel.WHATSAPP, provider_id="SMnamed")
    first, newest = [await scene.sent(person, Channel.SMS) for _ in range(2)]
    failed = await scene.sent(person, Channel.SMS, status=Status.FAILED)
    other = await scene.sent(person, Channel.WHATSAPP, provider_id="SMother")
    await scene.texts(person.phone, "hello")
    assert [await scene.status(each) for each in (first, newest, failed)] == ["accepted", "replied", "failed"]
    await scene.texts(f"whatsapp:{person.phone}", "hello", OriginalRepliedMessageSid="SMnamed")
    assert [await scene.status(each) for each in (named, other)] == ["replied", "accepted"]
    await scene.texts(f"whatsapp:{person.phone}", "hello", OriginalRepliedMessageSid="SMnobody")
    assert await scene.status(other) == "replied"


async def test_of_two_who_share_a_phone_the_message_decides_who_answered(scene: Scene) -> None:
    first = await scene.person()
    second = await scene.person(phone=first.phone)
    awaits = [Status.REPLIED]
    asked_first = await scene.sent(first, Channel.SMS, awaits=awaits)
    asked_second = await scene.sent(second, Channel.SMS, awaits=awaits, provider_id="SMsecond")
    await scene.texts(first.phone, "first of all, yes")
    assert (await scene.status(asked_first), await scene.status(asked_second)) == ("accepted", "replied")
    assert await scene.heard(first) == []
    assert await scene.heard(second) == [("reply", None)]


async def test_a_text_long_after_our_last_message_answers_nothing_and_is_kept(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS)
    await scene.context.pool.execute(
        "update messages set sending_at = now() - interval '31 days' where id = $1", message
    )
    sid = f"SM{uuid4().hex}"
    assert (await scene.texts(person.phone, "hello \0 there", sid)).status_code == 200
    assert await scene.status(message) == "accepted"
    (callback,) = await scene.callbacks("twilio", sid)
    assert (callback["message_id"], callback["address"]) == (None, person.phone)


async def test_a_reply_after_the_goal_is_kept_and_signals_nobody(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.REPLIED])
    await scene.tells("track", person.user_id, event="credit_application_submitted")
    assert await scene.heard(person) == [("depart", "goal")]
    await scene.texts(person.phone, "done")
    assert await scene.status(message) == "replied"
    assert await scene.heard(person) == []


async def test_a_callback_follows_its_message_to_the_customer_it_was_merged_into(scene: Scene) -> None:
    person, other = await scene.person(), await scene.person()
    message = await scene.sent(person, Channel.SMS, awaits=[Status.DELIVERED])
    await scene.tells("alias", other.user_id, previousId=person.user_id)
    await scene.dispatched(other.customer)
    await scene.twilio_says(message, "delivered")
    assert await scene.heard(person) == []
    assert await scene.heard(other) == [("delivery_status", "delivered")]


async def test_a_button_of_last_months_message_pressed_today_answers_that_message(scene: Scene) -> None:
    person = await scene.person()
    sid = f"SM{uuid4().hex}"
    old = await scene.sent(person, Channel.WHATSAPP, awaits=[Status.REPLIED], provider_id=sid)
    newest = await scene.sent(person, Channel.WHATSAPP)
    await scene.context.pool.execute("update messages set sending_at = now() - interval '45 days' where id = $1", old)
    pressed = {"ButtonPayload": "never", "ButtonText": "Do not call", "OriginalRepliedMessageSid": sid}
    await scene.texts(f"whatsapp:{person.phone}", "Do not call", **pressed)
    assert (await scene.status(old), await scene.status(newest)) == ("replied", "accepted")
    # Its run still waits for it, and hears which button it was.
    assert await scene.heard(person) == [("reply", "never")]


async def test_a_button_whose_stay_has_ended_is_kept_with_its_message_and_signals_nobody(scene: Scene) -> None:
    person = await scene.person()
    sid, tap = f"SM{uuid4().hex}", f"SM{uuid4().hex}"
    old = await scene.sent(person, Channel.WHATSAPP, awaits=[Status.REPLIED], provider_id=sid)
    await scene.tells("track", person.user_id, event="credit_application_submitted")
    await scene.dispatched(person.customer)
    await scene.context.pool.execute("update messages set sending_at = now() - interval '45 days' where id = $1", old)
    pressed = {"ButtonPayload": "now", "ButtonText": "Right now", "OriginalRepliedMessageSid": sid}
    await scene.texts(f"whatsapp:{person.phone}", "Right now", tap, **pressed)
    assert await scene.status(old) == "replied"
    assert await scene.heard(person) == []
    (callback,) = await scene.callbacks("twilio", tap)
    assert callback["body"]["ButtonPayload"] == ["now"]


async def test_a_payload_of_an_older_version_is_understood_by_the_title_that_was_pressed(scene: Scene) -> None:
    person = await scene.person()
    await scene.sent(person, Channel.WHATSAPP, awaits=[Status.REPLIED])
    pressed = {"ButtonPayload": "call_now_v1", "ButtonText": "Right now"}
    await scene.texts(f"whatsapp:{person.phone}", "Right now", **pressed)
    assert await scene.heard(person) == [("reply", "now")]


async def test_what_the_provider_took_is_kept_beside_the_estimate(scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.SMS)
    await scene.twilio_says(message, "delivered", Price="-0.00790", PriceUnit="usd")
    row = await scene.row(message)
    assert (row["price"], row["price_currency"]) == (Decimal("0.0079"), "USD")
    other = await scene.sent(person, Channel.SMS)
    await scene.twilio_says(other, "delivered", Price="nonsense", PriceUnit="usd")
    assert (await scene.row(other))["price"] is None


async def test_a_message_that_failed_for_its_sender_tells_of_the_sender(scene: Scene) -> None:
    person = await scene.person()
    sender = f"+1555{uuid4().int % 10_000_000:07d}"
    message = await scene.sent(person, Channel.WHATSAPP)
    await scene.twilio_says(message, "failed", ErrorCode="63112", From=f"whatsapp:{sender}")
    blocks = await scene.get("/v1/whatsapp/senders/blocks")
    (block,) = [each for each in blocks.json() if each["sender"] == sender]
    assert block["code"] == "63112"
    assert (await scene.as_operator("DELETE", f"/v1/whatsapp/senders/{sender}/block")).status_code == 204
    again = await scene.as_operator("DELETE", f"/v1/whatsapp/senders/{sender}/block")
    assert (again.status_code, again.json()["code"]) == (404, "not_blocked")


async def test_what_somebody_writes_opens_the_window_of_the_number_they_wrote_to(scene: Scene) -> None:
    person = await scene.person()
    await scene.texts(f"whatsapp:{person.phone}", "hello", To="whatsapp:+15550001111")
    await scene.texts(person.phone, "an SMS")
    rows = await scene.context.pool.fetch("select * from whatsapp_conversations where address = $1", person.phone)
    assert [(row["sender"], row["wrote_at"] is not None, row["sent_at"]) for row in rows] == [
        ("+15550001111", True, None)
    ]
