"""Calls by a machine, as Twilio takes them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from channels.protocol import Absent, CannotTell, Found, NotProcessed, Receipt, Refused, Search
from channels.registry import ChannelsNotConfigured, open_channels
from channels.twilio import Twilio
from channels.twilio_voice import TwilioVoice, TwilioVoiceSettings, connecting
from domain.messages import CallContent, Channel, Letter, Status
from tests.channels import letters
from tests.channels.conftest import ACCOUNT_SID, PUBLIC_URL
from tests.channels.provider import Answer, Provider, answer_json

MID = str(letters.MESSAGE_ID)
SID = "CA" + "1" * 32
SAYS = "Hello, Анна & <friends>!"
CONTENT = CallContent(topic="Help", script="Ask what is missing.", spoken=SAYS)


def spoken(content: CallContent = CONTENT, locale: str = "en") -> Letter:
    return letters.letter(content, letters.PHONE).model_copy(update={"locale": locale})


@pytest.fixture
def voice(twilio: Twilio, monkeypatch: pytest.MonkeyPatch) -> TwilioVoice:
    monkeypatch.setenv("TWILIO_VOICE_FROM", "+15550001111")
    return TwilioVoice(TwilioVoiceSettings(), twilio, PUBLIC_URL)


@pytest.fixture
def connecting_voice(voice: TwilioVoice, twilio: Twilio, monkeypatch: pytest.MonkeyPatch) -> TwilioVoice:
    monkeypatch.setenv("TWILIO_VOICE_CONNECT_TO", "+15550002222")
    return TwilioVoice(TwilioVoiceSettings(), twilio, PUBLIC_URL)


def made(provider: Provider) -> dict[str, list[str]]:
    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json")
    return parse_qs(asked.body.decode(), keep_blank_values=True, strict_parsing=True)


async def test_a_call_as_twilio_takes_it(voice: TwilioVoice, provider: Provider) -> None:
    provider.will(answer_json(201, {"sid": SID, "status": "queued"}))
    assert await voice.send(spoken()) == Receipt(SID)
    form = made(provider)
    twiml = ElementTree.fromstring(form.pop("Twiml")[0])
    (say,) = twiml
    assert (say.tag, say.attrib, say.text) == ("Say", {"language": "en-US"}, SAYS)
    callbacks = f"{PUBLIC_URL}/webhooks/twilio/voice"
    assert form == {
        "To": [letters.PHONE],
        "From": ["+15550001111"],
        "Timeout": ["30"],
        "TimeLimit": ["600"],
        "StatusCallback": [f"{callbacks}/status?mid={MID}"],
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        "MachineDetection": ["Enable"],
        "AsyncAmd": ["true"],
        "AsyncAmdStatusCallback": [f"{callbacks}/answered-by?mid={MID}"],
    }


@pytest.mark.parametrize(
    ("locale", "languages"),
    [("en", ["en-US", "en-US"]), ("ru-KZ", ["ru-RU", "ru-RU"]), ("de-AT", ["de-AT", "en-US"])],
)
async def test_whoever_presses_one_can_be_connected_where_somebody_is_there(
    locale: str, languages: list[str], connecting_voice: TwilioVoice, provider: Provider
) -> None:
    provider.will(answer_json(201, {"sid": SID, "status": "queued"}))
    await connecting_voice.send(spoken(locale=locale))
    (gather,) = ElementTree.fromstring(made(provider)["Twiml"][0])
    assert gather.attrib == {
        "action": f"{PUBLIC_URL}/webhooks/twilio/voice/key?mid={MID}",
        "method": "POST",
        "numDigits": "1",
        "timeout": "6",
    }
    assert [say.attrib["language"] for say in gather] == languages
    assert gather[0].text == SAYS


async def test_what_is_for_people_is_never_read_out(voice: TwilioVoice, provider: Provider) -> None:
    with pytest.raises(Refused, match="nothing_to_say"):
        await voice.send(letters.call())
    with pytest.raises(Refused, match="twiml_too_long"):
        await voice.send(spoken(CONTENT.model_copy(update={"spoken": "x" * 4000})))
    assert provider.asked == []


@pytest.mark.parametrize(("code", "dead"), [(21211, True), (21215, False), (13224, False)])
async def test_a_number_twilio_will_not_call(code: int, dead: bool, voice: TwilioVoice, provider: Provider) -> None:
    provider.will(answer_json(400, {"code": code, "message": letters.PHONE, "status": 400}))
    with pytest.raises(Refused, match=str(code)) as caught:
        await voice.send(spoken())
    assert caught.value.recipient_is_dead is dead


async def test_a_rate_limit_keeps_how_long_to_wait(voice: TwilioVoice, provider: Provider) -> None:
    provider.will(answer_json(429, {"code": 20429}, Retry_After="3"))
    with pytest.raises(NotProcessed) as caught:
        await voice.send(spoken())
    assert caught.value.retry_after == timedelta(seconds=3)


def listed(*calls: dict[str, Any]) -> Answer:
    return answer_json(200, {"calls": list(calls), "page_size": 100, "next_page_uri": None})


def call(sid: str, status: str = "completed", created: str = "Thu, 26 Nov 2026 10:00:00 +0000") -> dict[str, Any]:
    return {"sid": sid, "status": status, "date_created": created, "to": letters.PHONE}


SINCE = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
BEFORE = call("CA" + "2" * 32, created="Thu, 26 Nov 2026 09:00:00 +0000")


async def test_a_call_is_found_by_its_number_and_its_time(voice: TwilioVoice, provider: Provider) -> None:
    provider.will(listed(call(SID, "ringing"), BEFORE))
    assert await voice.find(Search(spoken(), SINCE)) == Found(SID, Status.SENT)
    assert provider.asked[0].target.startswith(f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json?To=%2B79161234567&From=")


async def test_a_call_that_nobody_took_is_found_as_failed(voice: TwilioVoice, provider: Provider) -> None:
    provider.will(listed(call(SID, "no-answer")))
    found = await voice.find(Search(spoken(), SINCE))
    assert isinstance(found, Found)
    assert found.refusal is not None
    assert (found.status, found.refusal.code, found.refusal.recipient_is_dead) == (Status.FAILED, "no-answer", False)


@pytest.mark.parametrize(
    ("answer", "search", "finding"),
    [
        (listed(BEFORE), {}, Absent()),
        (listed(call(SID)), {"not_these": [SID]}, Absent()),
        (listed(call(SID)), {"twins": 1}, CannotTell("ambiguous")),
        (listed(call(SID, "somehow")), {}, CannotTell("unreadable_answer")),
        (Answer(200, b"{}"), {}, CannotTell("unreadable_answer")),
        (Answer(503), {}, CannotTell("http_503")),
    ],
)
async def test_a_call_that_is_not_found_for_certain(
    answer: Answer, search: dict[str, Any], finding: object, voice: TwilioVoice, provider: Provider
) -> None:
    provider.will(answer)
    assert await voice.find(Search(spoken(), SINCE, **search)) == finding


async def test_a_call_is_erased_by_its_id(voice: TwilioVoice, provider: Provider) -> None:
    provider.will(Answer(204))
    assert await voice.erase(SID) == "deleted"
    assert (provider.asked[0].method, provider.asked[0].target) == (
        "DELETE",
        f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls/{SID}.json",
    )
    provider.will(answer_json(404, {"code": 20404}))
    assert await voice.erase(SID) == "gone before"


def test_a_pressed_key_connects_or_hangs_up() -> None:
    assert "<Dial>+15550002222</Dial>" in connecting("+15550002222")
    assert "<Hangup />" in connecting(None)


async def test_who_makes_calls_is_chosen_by_configuration(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALL_PROVIDER", "twilio")
    monkeypatch.setenv("TWILIO_VOICE_FROM", "+15550001111")
    for name in ("CALL_CENTRE_URL", "CALL_CENTRE_SECRET"):
        monkeypatch.delenv(name)
    async with open_channels(PUBLIC_URL) as channels:
        assert channels[Channel.CALL].provider == "twilio_voice"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"CALL_PROVIDER": "twilio"}, "TWILIO_VOICE_FROM is missing"),
        ({"CALL_PROVIDER": "twilio", "TWILIO_VOICE_FROM": "5550001111"}, "TWILIO_VOICE_FROM: "),
        (
            {"CALL_PROVIDER": "twilio", "TWILIO_VOICE_FROM": "+15550001111", "TWILIO_VOICE_CONNECT_TO": "us"},
            "TWILIO_VOICE_CONNECT_TO: ",
        ),
        ({"CALL_PROVIDER": "carrier pigeon"}, "CALL_PROVIDER: "),
    ],
)
async def test_a_wrong_choice_is_named(
    variables: dict[str, str], problem: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ChannelsNotConfigured) as caught:
        async with open_channels(PUBLIC_URL):
            pass
    assert any(each.startswith(problem) for each in caught.value.problems), caught.value.problems
