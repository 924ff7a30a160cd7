"""Who may call back: whoever proves it, over the raw body, in time. Everybody else gets the same refusal."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from starlette.requests import Request

from api.problems import Problem
from api.signatures import Keys, Signatures
from domain.messages import Channel
from tests.api.scene import Scene, email_event

# The vector of SendGrid's own library: sendgrid-python, test/unit/test_eventwebhook.py.
OFFICIAL_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dA"
    "fSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
OFFICIAL_HEADERS = {
    "X-Twilio-Email-Event-Webhook-Signature": (
        "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
    ),
    "X-Twilio-Email-Event-Webhook-Timestamp": "1600112502",
}
OFFICIAL_EVENT = {
    "email": "hello@world.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
    "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
    "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
    "timestamp": 1600112492,
}
OFFICIAL_BODY = json.dumps([OFFICIAL_EVENT], sort_keys=True, separators=(",", ":")).encode() + b"\r\n"
OFFICIAL_TIME = datetime.fromtimestamp(1600112502, UTC)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


BAD = (403, "bad_signature")


def test_sendgrids_own_vector_is_accepted_and_no_other_body_or_time() -> None:
    signatures = Signatures("https://x", Keys(sendgrid_webhook_public_key=OFFICIAL_KEY))
    signatures.sendgrid(OFFICIAL_HEADERS, OFFICIAL_BODY, OFFICIAL_TIME)
    signatures.sendgrid(OFFICIAL_HEADERS, OFFICIAL_BODY, OFFICIAL_TIME + timedelta(hours=24))
    later = {**OFFICIAL_HEADERS, "X-Twilio-Email-Event-Webhook-Timestamp": "1600112503"}
    for headers, body, now in (
        (OFFICIAL_HEADERS, OFFICIAL_BODY.rstrip(), OFFICIAL_TIME),
        (later, OFFICIAL_BODY, OFFICIAL_TIME),
        (OFFICIAL_HEADERS, OFFICIAL_BODY, OFFICIAL_TIME + timedelta(hours=26)),
        (OFFICIAL_HEADERS, OFFICIAL_BODY, OFFICIAL_TIME - timedelta(minutes=6)),
    ):
        with pytest.raises(Problem) as refused:
            signatures.sendgrid(headers, body, now)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("form", "signature"),
    [
        # The vectors of Twilio's own library: twilio-python, tests/unit/test_request_validator.py.
        (
            [
                ("CallSid", "CA1234567890ABCDE"),
                ("Digits", "1234"),
                ("From", "+14158675309"),
                ("To", "+18005551212"),
                ("Caller", "+14158675309"),
            ],
            "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
        ),
        (
            [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234")],
            "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
        ),
    ],
)
def test_twilios_own_vectors_are_accepted_by_the_public_address(form: list[tuple[str, str]], signature: str) -> None:
    signatures = Signatures("https://mycompany.com", Keys.model_validate({"twilio_auth_token": "12345"}))
    request = Request(
        {
            "type": "http",
            "path": "/myapp.php",
            "query_string": b"foo=1&bar=2",
            "server": ("10.0.0.7", 8000),
            "headers": [(b"x-twilio-signature", signature.encode()), (b"host", b"internal:8000")],
        }
    )
    assert signatures.twilio(request, urlencode(form).encode()).multi_items() == form
    with pytest.raises(Problem):
        signatures.twilio(request, urlencode([*form, ("Digits", "9")]).encode())


async def test_a_forged_twilio_callback_does_nothing(scene: Scene) -> None:
    person = await scene.person()
    message, other = await scene.sent(person, Channel.SMS), await scene.sent(person, Channel.SMS)
    form = [("MessageSid", "SM1"), ("MessageStatus", "delivered")]
    path = f"/webhooks/twilio/status?mid={message}"
    good = scene.providers.twilio(path, form)
    for target, sent, headers in (
        (path, form, {}),
        (path, form, {"X-Twilio-Signature": "AAAA"}),
        (path, [*form, ("ErrorCode", "30005")], good),
        (f"/webhooks/twilio/status?mid={other}", form, good),
        ("/webhooks/twilio/inbound", form, good),
    ):
        assert refusal(await scene.http.post(target, content=urlencode(sent), headers=headers)) == BAD
    assert await scene.status(message) == "accepted"
    assert (await scene.http.post(path, content=b"\xff\xfe", headers=good)).status_code == 403


async def test_a_forged_email_event_does_nothing(scene: Scene) -> None:
    message = await scene.sent(await scene.person(), Channel.EMAIL)
    body, now = json.dumps([email_event("delivered", message)]).encode(), datetime.now(UTC)
    good = scene.providers.sendgrid(body, now)
    for headers in (
        {},
        {**good, "X-Twilio-Email-Event-Webhook-Timestamp": str(int(now.timestamp()) + 1)},
        {**good, "X-Twilio-Email-Event-Webhook-Timestamp": "now"},
        {**good, "X-Twilio-Email-Event-Webhook-Signature": "no base64"},
        scene.providers.sendgrid(body + b" ", now),
        scene.providers.sendgrid(body, now - timedelta(hours=26)),
        scene.providers.sendgrid(body, now + timedelta(minutes=6)),
    ):
        assert refusal(await scene.http.post("/webhooks/sendgrid", content=body, headers=headers)) == BAD
    assert await scene.status(message) == "accepted"


async def test_a_forged_or_stale_report_of_app_or_call_centre_does_nothing(scene: Scene) -> None:
    person = await scene.person()
    push, call = await scene.sent(person, Channel.PUSH), await scene.sent(person, Channel.CALL)
    now = datetime.now(UTC)
    opened = {"message_id": str(push), "event": "opened", "at": now.isoformat()}
    answered = {"id": str(call), "result": "answered", "at": now.isoformat()}
    for minutes in (-6, 6):
        assert refusal(await scene.app_says(opened, at=now + timedelta(minutes=minutes))) == BAD
        assert refusal(await scene.call_centre_says(answered, at=now + timedelta(minutes=minutes))) == BAD
    # Each has a key of its own.
    assert refusal(await scene.standard("/webhooks/push", scene.providers.call_centre_secret, opened)) == BAD
    assert refusal(await scene.standard("/webhooks/call-centre", scene.providers.app_secret, answered)) == BAD
    for signature in ("", "v1", "v1,", "v2,AAAA", "v1,AAAA,AAAA"):
        headers = {"webhook-id": "1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
        assert refusal(await scene.http.post("/webhooks/push", json=opened, headers=headers)) == BAD
    assert await scene.status(push) == "accepted"
    assert await scene.status(call) == "accepted"


@pytest.mark.parametrize(
    "keys",
    [
        Keys.model_construct(),
        Keys(sendgrid_webhook_public_key="rubbish"),
        Keys.model_validate({"call_centre_secret": "whsec_!", "app_webhook_secret": "c2VjcmV0"}),
    ],
)
async def test_without_a_key_everything_is_refused(keys: Keys) -> None:
    signatures = Signatures("https://x", keys)
    request = Request({"type": "http", "path": "/", "query_string": b"", "server": ("x", 1), "headers": []})
    for attempt in (
        lambda: signatures.twilio(request, b""),
        lambda: signatures.sendgrid(OFFICIAL_HEADERS, OFFICIAL_BODY, OFFICIAL_TIME),
        lambda: signatures.call_centre({}, b""),
        lambda: signatures.app({}, b""),
    ):
        with pytest.raises(Problem) as refused:
            attempt()
        assert refused.value.status == 403


async def test_a_body_without_end_is_not_read(scene: Scene) -> None:
    for path, size in (
        ("twilio/status", 65 * 1024),
        ("twilio/inbound", 65 * 1024),
        ("call-centre", 65 * 1024),
        ("push", 65 * 1024),
        ("sendgrid", 2049 * 1024),
    ):
        answer = await scene.http.post(f"/webhooks/{path}", content=b"x" * size)
        assert refusal(answer) == (413, "too_large")
    assert (await scene.http.post(f"/webhooks/push?{uuid4()}", content=b"x" * 1024)).status_code == 403
