"""What can become of a call, the same for every provider: refused, not processed, or uncertain."""

import logging
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from channels import twilio
from channels.call_centre import CallCentre, CallCentreSettings
from channels.fcm import Fcm, FcmSettings
from channels.http import TALKATIVE_LOGGERS, open_client, retry_after
from channels.protocol import ChannelPort, NotProcessed, Refused, TooLate, Uncertain, leaving_by
from channels.sendgrid import SendGrid, SendGridSettings
from channels.twilio import Twilio, TwilioSettings, TwilioSms, TwilioWhatsApp
from channels.web_push import WebPush, WebPushSettings
from domain.messages import Letter
from tests.channels import letters
from tests.channels.browser import Browser
from tests.channels.conftest import PUBLIC_URL, taken_by_twilio
from tests.channels.provider import Answer, Drip, Provider, Reset, Silence, answer_json, closed_port

KINDS = ("email", "sms", "whatsapp", "push", "web_push", "call")
LETTERS: dict[str, Letter] = {
    "email": letters.email(),
    "sms": letters.sms(),
    "whatsapp": letters.whatsapp(),
    "push": letters.push(),
    "call": letters.call(),
}


@pytest.fixture(params=KINDS)
def channel_and_letter(
    request: pytest.FixtureRequest, environment: dict[str, str], client: httpx.AsyncClient, provider: Provider
) -> tuple[ChannelPort, Letter]:
    return _open(request.param, client), _letter(request.param, provider.url)


def _letter(kind: str, url: str) -> Letter:
    return letters.web_push(f"{url}/send/anna", Browser("").keys) if kind == "web_push" else LETTERS[kind]


def _open(kind: str, client: httpx.AsyncClient) -> ChannelPort:
    channels: dict[str, ChannelPort] = {
        "email": SendGrid(SendGridSettings(), client),
        "sms": TwilioSms(Twilio(TwilioSettings(), client, PUBLIC_URL)),
        "whatsapp": TwilioWhatsApp(Twilio(TwilioSettings(), client, PUBLIC_URL)),
        "push": Fcm(FcmSettings(), client),
        "web_push": WebPush(WebPushSettings(), client),
        "call": CallCentre(CallCentreSettings(), client),
    }
    return channels[kind]


Sending = tuple[ChannelPort, Letter]


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_listens(
    kind: str, environment: dict[str, str], client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = closed_port()
    for name in ("SENDGRID_BASE_URL", "TWILIO_BASE_URL", "FCM_BASE_URL", "WEB_PUSH_SERVICES", "CALL_CENTRE_URL"):
        monkeypatch.setenv(name, nobody)
    with pytest.raises(NotProcessed, match="ConnectError") as caught:
        await _open(kind, client).send(_letter(kind, nobody))
    assert caught.value.retry_after is None


async def test_a_rate_limit_keeps_how_long_to_wait(channel_and_letter: Sending, provider: Provider) -> None:
    channel, letter = channel_and_letter
    provider.will(Answer(429, b"slow down", {"Retry-After": "17"}))
    with pytest.raises(NotProcessed) as caught:
        await channel.send(letter)
    assert caught.value.retry_after == timedelta(seconds=17)


@pytest.mark.parametrize("trouble", [Answer(500), Answer(503, b"<html>Bad day</html>"), Silence(), Reset()])
async def test_a_letter_that_may_have_left(
    trouble: Answer | Silence | Reset, channel_and_letter: Sending, provider: Provider
) -> None:
    channel, letter = channel_and_letter
    provider.will(trouble)
    with pytest.raises(Uncertain):
        await channel.send(letter)
    assert len(provider.asked) == 1, "a letter that may have left is never sent again by a channel"


async def test_an_answer_that_drips_for_ever_is_given_up(sendgrid: SendGrid, provider: Provider) -> None:
    # Each read is quick, the whole never ends.
    provider.will(Drip())
    with pytest.raises(Uncertain):
        await sendgrid.send(letters.email())


@pytest.mark.parametrize(
    "body",
    [b"<html><body>403 Forbidden</body></html>", b'{"errors": [', b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 5000],
)
async def test_a_refusal_nobody_can_read_is_still_a_refusal(
    body: bytes, channel_and_letter: Sending, provider: Provider
) -> None:
    channel, letter = channel_and_letter
    provider.will(Answer(400, body, {"Content-Type": "application/json"}))
    with pytest.raises(Refused, match="400") as caught:
        await channel.send(letter)
    assert not caught.value.recipient_is_dead
    assert not caught.value.opted_out


@pytest.mark.parametrize(
    "body",
    [
        {"errors": "x", "error": "x", "code": {"a": 1}},
        {"errors": ["x", None, {"field": 5}], "error": {"details": ["x", {"fieldViolations": ["x"]}]}, "code": []},
        {"errors": [{"field": "anna.secret@cars.example is bad"}], "error": {"status": "anna secret"}, "code": "x"},
    ],
)
async def test_a_strange_refusal_is_still_a_refusal(
    body: object, channel_and_letter: Sending, provider: Provider
) -> None:
    channel, letter = channel_and_letter
    provider.will(answer_json(400, body))
    with pytest.raises(Refused) as caught:
        await channel.send(letter)
    assert "secret" not in str(caught.value)


async def test_a_redirect_is_not_followed(channel_and_letter: Sending, provider: Provider) -> None:
    channel, letter = channel_and_letter
    provider.will(Answer(302, headers={"Location": f"{provider.url}/elsewhere"}))
    with pytest.raises(Refused):
        await channel.send(letter)
    assert len(provider.asked) == 1


@pytest.mark.parametrize("body", [b"<html>Welcome to the hotel's network</html>", b"", b"{", b"[1]"])
async def test_a_success_twilio_did_not_write_is_uncertain(
    body: bytes, sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(Answer(200, body))
    with pytest.raises(Uncertain):
        await sms_channel.send(letters.sms())


@pytest.mark.parametrize(
    ("status", "code", "dead", "opted_out"),
    [
        (400, 21211, True, False),
        (400, 21614, True, False),
        (400, 21610, False, True),
        (403, 21408, False, False),
        (400, 21617, False, False),
    ],
)
async def test_twilios_codes(
    status: int, code: int, dead: bool, opted_out: bool, sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.will(answer_json(status, {"code": code, "message": f"no {letters.PHONE}", "status": status}))
    with pytest.raises(Refused) as caught:
        await sms_channel.send(letters.sms())
    assert str(caught.value) == caught.value.code == str(code)
    assert (caught.value.recipient_is_dead, caught.value.opted_out) == (dead, opted_out)


async def test_twilios_rate_limit_has_its_code(sms_channel: TwilioSms, provider: Provider) -> None:
    provider.will(answer_json(429, {"code": 20429, "status": 429}, Retry_After="2"))
    with pytest.raises(NotProcessed, match="20429"):
        await sms_channel.send(letters.sms())


async def test_a_key_that_is_not_accepted_says_nothing_of_a_letter(
    sms_channel: TwilioSms, sendgrid: SendGrid, provider: Provider
) -> None:
    provider.will(answer_json(401, {"code": 20003, "message": "Authenticate", "status": 401}))
    with pytest.raises(NotProcessed, match="20003"):
        await sms_channel.send(letters.sms())
    provider.will(answer_json(401, {"errors": [{"message": "authorization grant is invalid", "field": None}]}))
    with pytest.raises(NotProcessed, match="http_401"):
        await sendgrid.send(letters.email())


@pytest.mark.parametrize(
    ("code", "dead", "opted_out"),
    [
        ("30005", True, False),
        (30006, True, False),
        ("63003", True, False),
        ("63014", True, False),
        ("21610", False, True),
        ("30008", False, False),
    ],
)
def test_what_a_failed_delivery_means(code: str | int, dead: bool, opted_out: bool) -> None:
    refused = twilio.failure(code)
    assert (refused.code, refused.recipient_is_dead, refused.opted_out) == (str(code), dead, opted_out)


@pytest.mark.parametrize("code", [None, "", "+79161234567"])
def test_a_failed_delivery_without_a_code(code: str | None) -> None:
    assert twilio.failure(code).code == "unknown"


async def test_sendgrid_does_not_know_the_address(sendgrid: SendGrid, provider: Provider) -> None:
    field = "personalizations.0.to.0.email"
    error = {"message": f"{letters.ADDRESS} is no address.", "field": field, "help": None}
    provider.will(answer_json(400, {"errors": [error]}))
    with pytest.raises(Refused) as caught:
        await sendgrid.send(letters.email())
    assert caught.value.code == f"http_400:{field}"
    assert caught.value.recipient_is_dead


@pytest.mark.parametrize("field", ["from.email", "personalizations.0.tone", None])
async def test_sendgrid_objects_to_something_else(field: str | None, sendgrid: SendGrid, provider: Provider) -> None:
    provider.will(answer_json(400, {"errors": [{"message": "no", "field": field}]}))
    with pytest.raises(Refused) as caught:
        await sendgrid.send(letters.email())
    assert not caught.value.recipient_is_dead


async def test_sendgrids_rate_limit_says_when_it_ends(sendgrid: SendGrid, provider: Provider) -> None:
    reset = int((datetime.now(UTC) + timedelta(minutes=10)).timestamp())
    provider.will(Answer(429, headers={"X-RateLimit-Reset": str(reset)}))
    with pytest.raises(NotProcessed) as caught:
        await sendgrid.send(letters.email())
    assert caught.value.retry_after is not None
    assert timedelta(minutes=9) < caught.value.retry_after <= timedelta(minutes=10)


def _fcm_error(status: int, state: str, **detail: object) -> Answer:
    error = {"code": status, "message": f"no {letters.DEVICE}", "status": state, "details": [detail]}
    return answer_json(status, {"error": error})


TOKEN_VIOLATION = [{"field": "message.token", "description": "not a valid FCM registration token"}]
LINK_VIOLATION = [{"field": "message.data[0].value", "description": "invalid"}]


@pytest.mark.parametrize(
    ("answer", "code", "dead"),
    [
        (_fcm_error(404, "NOT_FOUND", errorCode="UNREGISTERED"), "UNREGISTERED", True),
        (_fcm_error(400, "INVALID_ARGUMENT", fieldViolations=TOKEN_VIOLATION), "INVALID_ARGUMENT", True),
        (_fcm_error(400, "INVALID_ARGUMENT", fieldViolations=LINK_VIOLATION), "INVALID_ARGUMENT", False),
        (_fcm_error(403, "PERMISSION_DENIED", errorCode="SENDER_ID_MISMATCH"), "SENDER_ID_MISMATCH", False),
        (_fcm_error(401, "UNAUTHENTICATED", errorCode="THIRD_PARTY_AUTH_ERROR"), "THIRD_PARTY_AUTH_ERROR", False),
    ],
)
async def test_fcms_codes(answer: Answer, code: str, dead: bool, fcm: Fcm, provider: Provider) -> None:
    provider.will(answer)
    with pytest.raises(Refused) as caught:
        await fcm.send(letters.push())
    assert str(caught.value) == code
    assert caught.value.recipient_is_dead == dead


async def test_a_token_google_took_back_is_replaced(fcm: Fcm, provider: Provider, token_server: Provider) -> None:
    provider.will(_fcm_error(401, "UNAUTHENTICATED"))
    with pytest.raises(NotProcessed):
        await fcm.send(letters.push())
    provider.will(answer_json(200, {"name": "projects/cars/messages/0:1"}))
    await fcm.send(letters.push())
    assert len(token_server.asked) == 2


async def test_google_rejects_the_account(fcm: Fcm, provider: Provider, token_server: Provider) -> None:
    token_server.will(answer_json(400, {"error": "invalid_grant", "error_description": "unknown journeys@"}))
    with pytest.raises(Refused) as caught:
        await fcm.send(letters.push())
    assert str(caught.value) == "token_refused"
    assert provider.asked == []


@pytest.mark.parametrize("trouble", [Silence(), Reset(), Answer(200, b"<html>"), Answer(200, b"[1]")])
async def test_google_gives_no_token(
    trouble: Answer | Silence | Reset, fcm: Fcm, provider: Provider, token_server: Provider
) -> None:
    token_server.will(trouble)
    with pytest.raises(NotProcessed, match="token_unavailable"):
        await fcm.send(letters.push())
    assert provider.asked == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0", timedelta(0)),
        ("999999999999999999999", None),
        ("86400", timedelta(hours=1)),
        ("-5", None),
        ("soon", None),
        (format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True), timedelta(0)),
        (format_datetime(datetime(9000, 1, 1, tzinfo=UTC), usegmt=True), timedelta(hours=1)),
    ],
)
def test_how_long_to_wait(header: str, expected: timedelta | None) -> None:
    assert retry_after(httpx.Response(429, headers={"Retry-After": header})) == expected


@pytest.mark.parametrize(
    "answer",
    [
        Answer(202, headers={"X-Message-Id": "sg-1"}),
        Answer(400, f"no {letters.ADDRESS} {letters.PHONE} {letters.DEVICE}".encode()),
        Answer(429),
        Answer(500),
        Reset(),
    ],
)
async def test_neither_errors_nor_logs_tell_who_or_what_or_the_key(
    answer: Answer | Reset,
    channel_and_letter: Sending,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel, letter = channel_and_letter
    # A deployment that logs everything, which is when the libraries talk most.
    caplog.set_level(logging.DEBUG)
    provider.will(answer)
    said = ""
    try:
        await channel.send(letter)
    except (Refused, NotProcessed, Uncertain) as error:
        said = "".join(traceback.format_exception(error))
    told = said + caplog.text
    secrets = (
        letters.ADDRESS,
        letters.PHONE,
        letters.PHONE[1:],
        letters.DEVICE,
        letters.TEXT,
        "must-not-show",
        "ya29.",
    )
    assert [secret for secret in secrets if secret in told] == []
    talked = {record.name.partition(".")[0] for record in caplog.records}
    assert talked.isdisjoint(TALKATIVE_LOGGERS), "what these write depends on their version"


async def test_a_header_that_cannot_be_sent_does_not_show_the_key(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.key\nthat-must-not-show")
    async with open_client() as client:
        with pytest.raises(Refused) as caught:
            await SendGrid(SendGridSettings(), client).send(letters.email())
    assert str(caught.value) == "LocalProtocolError"


# Leaving in time.


async def test_a_call_whose_time_is_over_is_not_begun(
    channel_and_letter: tuple[ChannelPort, Letter], provider: Provider
) -> None:
    channel, letter = channel_and_letter
    with leaving_by(time.monotonic()), pytest.raises(TooLate):
        await channel.send(letter)
    assert provider.asked == []
    # The next one has time.
    provider.respond = taken_by_twilio
    with leaving_by(time.monotonic() + 60):
        await channel.send(letter)
    assert len(provider.asked) == 1
