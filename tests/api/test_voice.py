"""What Twilio reports of calls by a machine; every request is signed as Twilio's own library does."""

from uuid import UUID, uuid4
from xml.etree import ElementTree

import httpx
import pytest

from domain.messages import Channel, Status
from tests.api.scene import Scene

FROM = "+15550001111"


async def reports(
    scene: Scene, what: str, message: UUID | str, sid: str, *, signed: bool = True, **fields: str
) -> httpx.Response:
    form = [("CallSid", sid), ("From", FROM), ("To", "+14155550123"), *fields.items()]
    headers = {} if signed else {"X-Twilio-Signature": "d3Jvbmc="}
    return await scene.twilio(f"/webhooks/twilio/voice/{what}?mid={message}", form, **headers)


def a_call() -> str:
    return f"CA{uuid4().hex}"


@pytest.mark.parametrize(
    ("statuses", "became"),
    [
        (["initiated"], "accepted"),
        (["initiated", "ringing"], "sent"),
        (["initiated", "ringing", "in-progress"], "delivered"),
        (["initiated", "ringing", "in-progress", "completed"], "delivered"),
        (["ringing", "initiated"], "sent"),
        (["initiated", "ringing", "busy"], "failed"),
        (["no-answer"], "failed"),
        (["failed"], "failed"),
        (["canceled"], "failed"),
        (["levitating"], "accepted"),
    ],
)
async def test_a_call_becomes_what_twilio_says(statuses: list[str], became: str, scene: Scene) -> None:
    person, sid = await scene.person(), a_call()
    message = await scene.sent(person, Channel.CALL)
    for status in statuses:
        assert (await reports(scene, "status", message, sid, CallStatus=status)).status_code == 204
    row = await scene.row(message)
    assert row["status"] == became
    assert row["reason"] == (statuses[-1] if became == "failed" else None)
    assert row["provider_id"] == (None if became == "accepted" else sid)


@pytest.mark.parametrize(
    ("answered_by", "became"),
    [("human", "read"), ("unknown", "read"), ("machine_start", "delivered"), ("fax", "delivered")],
)
async def test_only_a_person_has_heard_a_call(answered_by: str, became: str, scene: Scene) -> None:
    person, sid = await scene.person(), a_call()
    message = await scene.sent(person, Channel.CALL, awaits=[Status.READ])
    await reports(scene, "status", message, sid, CallStatus="in-progress")
    for _ in range(2):
        assert (await reports(scene, "answered-by", message, sid, AnsweredBy=answered_by)).status_code == 204
    await reports(scene, "status", message, sid, CallStatus="completed", CallDuration="31")
    assert await scene.status(message) == became
    assert await scene.heard(person) == ([("delivery_status", "read")] if became == "read" else [])


async def test_whoever_presses_one_is_connected_and_has_replied(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_VOICE_CONNECT_TO", "+15550002222")
    person, sid = await scene.person(), a_call()
    message = await scene.sent(person, Channel.CALL, awaits=[Status.REPLIED])
    for _ in range(2):
        answer = await reports(scene, "key", message, sid, Digits="1")
        assert answer.headers["content-type"].startswith("text/xml")
        (dial,) = ElementTree.fromstring(answer.text)
        assert (dial.tag, dial.text) == ("Dial", "+15550002222")
    assert await scene.status(message) == "replied"
    assert await scene.heard(person) == [("reply", "1")]


@pytest.mark.parametrize(("key", "number"), [("2", "+15550002222"), ("1", ""), ("", "+15550002222")])
async def test_any_other_key_and_nobody_there_ends_the_call(
    key: str, number: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_VOICE_CONNECT_TO", number)
    person = await scene.person()
    message = await scene.sent(person, Channel.CALL)
    (verb,) = ElementTree.fromstring((await reports(scene, "key", message, a_call(), Digits=key)).text)
    assert verb.tag == "Hangup"
    assert await scene.status(message) == ("replied" if key == "1" else "accepted")


@pytest.mark.parametrize("what", ["status", "answered-by", "key"])
async def test_nobody_else_reports_of_calls(what: str, scene: Scene) -> None:
    person = await scene.person()
    message = await scene.sent(person, Channel.CALL)
    fields = {"CallStatus": "busy", "AnsweredBy": "human", "Digits": "1"}
    refused = await reports(scene, what, message, a_call(), signed=False, **fields)
    assert (refused.status_code, refused.json()["code"]) == (403, "bad_signature")
    assert await scene.status(message) == "accepted"


async def test_a_report_about_nothing_we_called_about_is_kept_and_changes_nothing(scene: Scene) -> None:
    person, sid = await scene.person(), a_call()
    text = await scene.sent(person, Channel.SMS)
    for message in (text, uuid4(), "", "seven"):
        assert (await reports(scene, "status", message, sid, CallStatus="busy")).status_code in (204,)
    assert await scene.status(text) == "accepted"
    assert len(await scene.callbacks("twilio_voice", f"{sid}:busy")) == 1
    assert (await reports(scene, "status", text, "", CallStatus="busy")).json()["errors"][0]["field"] == "CallSid"
    assert (await reports(scene, "status", text, sid)).json()["errors"][0]["field"] == "CallStatus"
    assert (await reports(scene, "status", text, "C" * 256, CallStatus="busy")).status_code == 400
