"""Asking a provider whether it has a letter: only what it says for certain is believed."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from standardwebhooks import Webhook

from channels.call_centre import RESULTS, CallCentre
from channels.fcm import Fcm
from channels.protocol import Absent, CannotTell, Finding, Found, Search
from channels.sendgrid import SendGrid
from channels.twilio import MOST_COMPARED, STATUSES, TwilioSms, TwilioWhatsApp
from domain.messages import Button, Status
from tests.channels import letters
from tests.channels.conftest import ACCOUNT_SID
from tests.channels.provider import Answer, Asked, Provider, Reset, Silence, answer_json

MID = str(letters.MESSAGE_ID)
SENT_AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SMS = Search(letters.sms(), since=SENT_AT)
CALL = Search(letters.call(), since=SENT_AT)


def listed(sid: str, body: str | None = letters.TEXT, *, after: float = 1, **fields: Any) -> dict[str, Any]:
    """A message as Twilio lists it."""
    return {
        "sid": sid,
        "body": body,
        "direction": "outbound-api",
        "status": "delivered",
        "error_code": None,
        "date_created": format_datetime(SENT_AT + timedelta(seconds=after)),
        "date_sent": None,
        "to": letters.PHONE,
        "from": "+15551234567",
        **fields,
    }


def a_list(*messages: dict[str, Any], next_page: str | None = None) -> Answer:
    return answer_json(200, {"messages": list(messages), "next_page_uri": next_page, "page_size": 100})


# Twilio.


async def test_twilio_is_asked_for_what_went_from_us_to_them(sms_channel: TwilioSms, provider: Provider) -> None:
    provider.will(a_list(listed("SM1")))
    assert await sms_channel.find(SMS) == Found("SM1", Status.DELIVERED)
    (asked,) = provider.asked
    target = urlsplit(asked.target)
    assert (asked.method, target.path) == ("GET", f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json")
    assert parse_qs(target.query) == {"To": [letters.PHONE], "From": ["+15551234567"], "PageSize": ["100"]}
    assert base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).startswith(ACCOUNT_SID.encode())


async def test_a_whatsapp_is_looked_for_as_it_was_sent(whatsapp_channel: TwilioWhatsApp, provider: Provider) -> None:
    provider.will(a_list(listed("SM1", f"{letters.TEXT}\n1 — Yes")))
    letter = letters.whatsapp(Button(id="y", title="Yes"))
    assert await whatsapp_channel.find(Search(letter, since=SENT_AT)) == Found("SM1", Status.DELIVERED)
    assert parse_qs(urlsplit(provider.asked[0].target).query)["To"] == [f"whatsapp:{letters.PHONE}"]


async def test_every_page_is_read(sms_channel: TwilioSms, provider: Provider) -> None:
    next_page = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json?PageSize=100&Page=1&PageToken=x"

    def answer(asked: Asked) -> Answer:
        return (
            a_list(listed("SM1")) if "Page=1" in asked.target else a_list(listed("SM2", "Other"), next_page=next_page)
        )

    provider.respond = answer
    assert await sms_channel.find(SMS) == Found("SM1", Status.DELIVERED)
    assert provider.asked[1].target == next_page


@pytest.mark.parametrize(("said", "status"), STATUSES.items())
async def test_what_twilio_says_became_of_it(
    said: str, status: Status, sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(a_list(listed("SM1", status=said)))
    found = await sms_channel.find(SMS)
    assert isinstance(found, Found)
    assert found.status is status


@pytest.mark.parametrize(
    ("code", "dead", "opted_out"), [(30005, True, False), (21610, False, True), (30003, False, False)]
)
async def test_why_a_found_message_did_not_arrive(
    code: int, dead: bool, opted_out: bool, sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(a_list(listed("SM1", status="undelivered", error_code=code)))
    found = await sms_channel.find(SMS)
    assert isinstance(found, Found)
    assert found.refusal is not None
    assert (found.status, found.refusal.code) == (Status.FAILED, str(code))
    assert (found.refusal.recipient_is_dead, found.refusal.opted_out) == (dead, opted_out)


@pytest.mark.parametrize(
    "other",
    [
        listed("SM1", "Another text"),
        listed("SM1", after=-120),
        listed("SM1", direction="inbound"),
    ],
)
async def test_what_is_another_message_is_not_taken_for_it(
    other: dict[str, Any], sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(a_list(other))
    assert await sms_channel.find(SMS) == Absent()


async def test_an_empty_list_means_twilio_does_not_have_it(sms_channel: TwilioSms, provider: Provider) -> None:
    provider.will(a_list())
    assert await sms_channel.find(SMS) == Absent()


@pytest.mark.parametrize("body", [f" {letters.TEXT}\n", f"Sent from your Twilio trial account - {letters.TEXT}"])
async def test_what_twilio_does_to_a_text_and_its_clock_do_not_matter(
    body: str, sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(a_list(listed("SM1", body, after=-30)))
    assert await sms_channel.find(SMS) == Found("SM1", Status.DELIVERED)


async def test_what_belongs_to_another_message_of_ours_is_not_taken_for_it(
    sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(a_list(listed("SM2", after=5), listed("SM1")))
    search = Search(letters.sms(), since=SENT_AT, not_these=["SM1"])
    assert await sms_channel.find(search) == Found("SM2", Status.DELIVERED)
    search = Search(letters.sms(), since=SENT_AT, not_these=["SM1", "SM2"])
    assert await sms_channel.find(search) == Absent()


async def test_of_several_that_look_the_same_and_are_in_doubt_nobody_can_tell_whose_the_one_is(
    sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(a_list(listed("SM1")))
    assert await sms_channel.find(Search(letters.sms(), since=SENT_AT, twins=1)) == CannotTell("ambiguous")
    provider.will(a_list(listed("SM2", after=5), listed("SM1")))
    found = await sms_channel.find(Search(letters.sms(), since=SENT_AT, twins=1))
    assert found == Found("SM1", Status.DELIVERED)


async def test_an_erased_text_cannot_be_compared(sms_channel: TwilioSms, provider: Provider) -> None:
    provider.will(a_list(listed("SM1", "")))
    assert await sms_channel.find(SMS) == CannotTell("text_erased")


async def test_a_list_too_long_to_read_tells_nothing(sms_channel: TwilioSms, provider: Provider) -> None:
    provider.will(a_list(*(listed(f"SM{number}", "Other") for number in range(MOST_COMPARED))))
    assert await sms_channel.find(SMS) == CannotTell("too_many")


# The call centre.


@pytest.mark.parametrize(("status", "became"), [("accepted", Status.ACCEPTED), *RESULTS.items()])
async def test_the_call_centre_knows_our_id(
    status: str, became: Status, call_centre: CallCentre, provider: Provider, environment: dict[str, str]
) -> None:
    provider.will(answer_json(200, {"id": MID, "status": status}))
    found = await call_centre.find(CALL)
    assert isinstance(found, Found)
    assert (found.provider_id, found.status) == (MID, became)
    assert (found.refusal.code if found.refusal else None) == (status if became is Status.FAILED else None)
    (asked,) = provider.asked
    assert (asked.method, asked.target, asked.headers["webhook-id"]) == ("GET", f"/calls/{MID}", MID)
    Webhook(environment["CALL_CENTRE_SECRET"]).verify(asked.body, asked.headers, json_parse=False)


async def test_a_wrong_number_is_not_called_again(call_centre: CallCentre, provider: Provider) -> None:
    provider.will(answer_json(200, {"id": MID, "status": "wrong_number"}))
    found = await call_centre.find(CALL)
    assert isinstance(found, Found)
    assert found.refusal is not None
    assert found.refusal.recipient_is_dead


async def test_the_call_centre_says_it_never_had_it(call_centre: CallCentre, provider: Provider) -> None:
    provider.will(answer_json(404, {"id": MID, "status": "unknown"}))
    assert await call_centre.find(CALL) == Absent()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(404, b"<html>Not found</html>"), "http_404"),
        (answer_json(404, {"id": "another", "status": "unknown"}), "http_404"),
        (answer_json(410, {"id": MID, "status": "unknown"}), "http_410"),
        (Answer(405), "http_405"),
        (answer_json(200, {"id": MID, "status": "lost"}), "unreadable_answer"),
        (answer_json(200, {"id": "another", "status": "answered"}), "unreadable_answer"),
        (Answer(200, b"OK"), "unreadable_answer"),
    ],
)
async def test_a_call_centre_that_does_not_speak_of_the_order_tells_nothing(
    answer: Answer, code: str, call_centre: CallCentre, provider: Provider
) -> None:
    provider.will(answer)
    assert await call_centre.find(CALL) == CannotTell(code)


# All of them.


@pytest.fixture(params=["sms", "call"])
def ask(request: pytest.FixtureRequest, sms_channel: TwilioSms, call_centre: CallCentre) -> Callable[[], Any]:
    return {"sms": lambda: sms_channel.find(SMS), "call": lambda: call_centre.find(CALL)}[request.param]


@pytest.mark.parametrize(
    "trouble", [Answer(500), Answer(503, b"<html>"), Answer(401), Answer(200, b"<html>"), Silence(), Reset()]
)
async def test_a_question_that_goes_wrong_tells_nothing(
    trouble: Answer | Silence | Reset, ask: Callable[[], Any], provider: Provider
) -> None:
    provider.will(trouble)
    finding: Finding = await ask()
    assert isinstance(finding, CannotTell)
    assert finding.later


async def test_a_provider_that_is_asked_too_often_says_how_long_to_wait(
    ask: Callable[[], Any], provider: Provider
) -> None:
    provider.will(Answer(429, b"{}", {"Retry-After": "17"}))
    finding: Finding = await ask()
    assert isinstance(finding, CannotTell)
    assert finding.retry_after == timedelta(seconds=17)


async def test_who_cannot_be_asked_says_so(fcm: Fcm, sendgrid: SendGrid, provider: Provider) -> None:
    assert await fcm.find(Search(letters.push(), since=SENT_AT)) == CannotTell("no_lookup", later=False)
    assert await sendgrid.find(Search(letters.email(), since=SENT_AT)) == CannotTell("no_lookup", later=False)
    assert provider.asked == []


def test_only_a_push_is_asked_for_by_replacing_it(
    fcm: Fcm, sendgrid: SendGrid, sms_channel: TwilioSms, whatsapp_channel: TwilioWhatsApp, call_centre: CallCentre
) -> None:
    ports = (fcm, sendgrid, sms_channel, whatsapp_channel, call_centre)
    assert [port.provider for port in ports if port.replaces] == ["fcm"]
