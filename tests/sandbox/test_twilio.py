"""Twilio's official library against the sandbox, and its validator as judge of the callbacks."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http import HttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from sandbox.sms_segments import segments
from tests.sandbox.conftest import Product, Received, Sandbox


class LocalHttp(HttpClient):  # type: ignore[misc]
    """The library's requests, sent to the sandbox instead of *.twilio.com."""

    def __init__(self, base: str) -> None:
        super().__init__(logger=logging.getLogger("twilio"), is_async=False, timeout=20)
        self._base = base
        self._session = requests.Session()
        self._session.trust_env = False

    def request(
        self,
        method: str,
        uri: str,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        auth: Any = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        parts = urlsplit(uri)
        local = self._base + parts.path + (f"?{parts.query}" if parts.query else "")
        as_json = (headers or {}).get("Content-Type") == "application/json"
        answer = self._session.request(
            method,
            local,
            params=params,
            data=None if as_json else data,
            json=data if as_json else None,
            headers=headers,
            auth=auth,
            timeout=20,
        )
        return Response(answer.status_code, answer.text, answer.headers)


@pytest.fixture
def twilio(sandbox: Sandbox) -> Client:
    return Client(
        sandbox.environment["TWILIO_ACCOUNT_SID"],
        sandbox.environment["TWILIO_AUTH_TOKEN"],
        http_client=LocalHttp(sandbox.url),
    )


@pytest.fixture
def sender(sandbox: Sandbox) -> str:
    return sandbox.environment["TWILIO_SMS_FROM"]


def is_signed(sandbox: Sandbox, request: Received) -> bool:
    validator = RequestValidator(sandbox.environment["TWILIO_AUTH_TOKEN"])
    return bool(validator.validate(request.url, request.form, request.headers["x-twilio-signature"]))


def written_by(product: Product, person: str, count: int = 1) -> list[dict[str, str]]:
    requests = product.wait_for(
        lambda request: request.path == "/webhooks/twilio/inbound" and request.form["From"] == person,
        count,
    )
    return [request.form for request in requests]


def test_an_sms_is_accepted_and_every_status_comes_back_signed(
    twilio: Client, sandbox: Sandbox, product: Product, sender: str, phone: str, message_id: str
) -> None:
    callback = sandbox.status_callback(message_id)
    created = twilio.messages.create(to=phone, from_=sender, body="Привет", status_callback=callback)

    assert re.fullmatch("SM[0-9a-f]{32}", created.sid or "")
    assert (created.status, created.num_segments, created.direction) == ("queued", "1", "outbound-api")
    callbacks = product.statuses(message_id, 3)
    assert [each.form["MessageStatus"] for each in callbacks] == ["queued", "sent", "delivered"]
    assert all(is_signed(sandbox, each) for each in callbacks)
    assert {each.form["MessageSid"] for each in callbacks} == {created.sid}
    fetched = twilio.messages(created.sid).fetch()
    assert (fetched.status, fetched.to, fetched.body) == ("delivered", phone, "Привет")
    assert fetched.date_sent is not None
    assert sandbox.effect(message_id)["provider_id"] == created.sid


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "12ab"}, 21211),
        ({"to": "+15005550001"}, 21211),
        ({"to": "+15005550009"}, 21614),
        ({"to": "+15005550004"}, 21610),
        ({"to": ""}, 21604),
        ({"body": ""}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"from_": ""}, 21603),
        ({"from_": "+15005550007"}, 21606),
        ({"from_": "whatsapp:+14155238886"}, 21910),
        ({"validity_period": 40000}, 90007),
        ({"status_callback": "nonsense"}, 21609),
        ({"status_callback": "http://[broken/"}, 21609),
        ({"content_sid": "nonsense"}, 21655),
        ({"content_variables": "nonsense"}, 21656),
    ],
)
def test_a_wrong_message_is_refused_with_twilios_code(
    twilio: Client, sandbox: Sandbox, sender: str, phone: str, fields: dict[str, Any], code: int
) -> None:
    with pytest.raises(TwilioRestException) as refusal:
        twilio.messages.create(**{"to": phone, "from_": sender, "body": "Hello"} | fields)

    assert (refusal.value.code, refusal.value.status) == (code, 400)
    ledger = sandbox.client.get("/_sandbox/ledger", params={"address": phone}).json()
    assert ledger["entries"] == []


def test_another_token_is_refused(sandbox: Sandbox, sender: str, phone: str) -> None:
    stranger = Client(sandbox.environment["TWILIO_ACCOUNT_SID"], "0" * 32, http_client=LocalHttp(sandbox.url))
    with pytest.raises(TwilioRestException) as refusal:
        stranger.messages.create(to=phone, from_=sender, body="Hello")
    assert (refusal.value.code, refusal.value.status) == (20003, 401)


def test_what_cannot_be_delivered_says_why(
    twilio: Client, sandbox: Sandbox, product: Product, sender: str, phone: str, message_id: str
) -> None:
    sandbox.put(f"people/{phone}", delivery="undelivered", error_code=30005)
    created = twilio.messages.create(
        to=phone, from_=sender, body="Hello", status_callback=sandbox.status_callback(message_id)
    )
    last = product.statuses(message_id, 3)[-1].form
    assert (last["MessageStatus"], last["ErrorCode"]) == ("undelivered", "30005")
    assert created.sid
    fetched = twilio.messages(created.sid).fetch()
    assert (fetched.status, fetched.error_code) == ("undelivered", 30005)


def test_stop_blocks_the_pair_until_start(
    twilio: Client, sandbox: Sandbox, product: Product, sender: str, phone: str
) -> None:
    def write(text: str) -> None:
        answer = sandbox.post("inbound", **{"from": phone, "to": sender, "text": text})
        assert answer.status_code == 202, answer.text

    write("Stop ")
    assert written_by(product, phone)[0]["Body"] == "Stop "
    with pytest.raises(TwilioRestException) as refusal:
        twilio.messages.create(to=phone, from_=sender, body="Hello")
    assert refusal.value.code == 21610
    assert twilio.messages.create(to=phone, from_="+15005550010", body="Another sender").sid
    write("START")
    assert twilio.messages.create(to=phone, from_=sender, body="Hello").sid


def test_an_inbound_sms_is_signed(sandbox: Sandbox, product: Product, sender: str, phone: str) -> None:
    sandbox.post("inbound", **{"from": phone, "to": sender, "text": "When do you open?"})
    (request,) = product.wait_for(lambda each: each.path == "/webhooks/twilio/inbound" and each.form["From"] == phone)
    assert is_signed(sandbox, request)
    assert request.form["NumMedia"] == "0"
    assert request.form["To"] == sender


def test_a_picture_comes_by_its_address(sandbox: Sandbox, product: Product, sender: str, phone: str) -> None:
    picture = "https://api.twilio.com/offer.jpg"
    sandbox.post("inbound", **{"from": phone, "to": sender, "text": "They offered me this", "picture": picture})
    (request,) = product.wait_for(lambda each: each.path == "/webhooks/twilio/inbound" and each.form["From"] == phone)
    assert is_signed(sandbox, request)
    assert (request.form["NumMedia"], request.form["MediaUrl0"]) == ("1", picture)


def test_a_whatsapp_button_is_pressed_and_the_message_read(
    twilio: Client, sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    content = {
        "friendly_name": "call_me",
        "language": "en",
        "types": {
            "twilio/quick-reply": {
                "body": "{{1}}, shall we call?",
                "actions": [{"type": "QUICK_REPLY", "title": "Yes, please", "id": "yes"}],
            }
        },
    }
    auth = (sandbox.environment["TWILIO_ACCOUNT_SID"], sandbox.environment["TWILIO_AUTH_TOKEN"])
    template = sandbox.client.post("/v1/Content", json=content, auth=auth).raise_for_status().json()
    asked = f"/v1/Content/{template['sid']}/ApprovalRequests"
    submitted = {"name": "call_me", "category": "MARKETING"}
    sandbox.client.post(f"{asked}/whatsapp", json=submitted, auth=auth).raise_for_status()
    assert sandbox.client.get(asked, auth=auth).json()["whatsapp"]["status"] == "approved"
    created = twilio.messages.create(
        to=f"whatsapp:{phone}",
        from_=sandbox.environment["TWILIO_WHATSAPP_FROM"],
        content_sid=template["sid"],
        content_variables=json.dumps({"1": "Anna"}),
        status_callback=sandbox.status_callback(message_id),
    )
    product.statuses(message_id, 3)
    effect = sandbox.effect(message_id)
    assert effect["text"] == "Anna, shall we call?"

    assert sandbox.post(f"messages/{effect['id']}/button", payload="other").status_code == 409
    assert sandbox.post(f"messages/{effect['id']}/button", payload="yes").status_code == 202
    assert sandbox.post(f"messages/{effect['id']}/open").status_code == 202

    (tap,) = written_by(product, f"whatsapp:{phone}")
    assert (tap["ButtonPayload"], tap["ButtonText"], tap["Body"]) == ("yes", "Yes, please", "Yes, please")
    assert tap["OriginalRepliedMessageSid"] == created.sid
    assert product.statuses(message_id, 4)[-1].form["MessageStatus"] == "read"


def test_messages_are_found_by_number_and_time_page_by_page(twilio: Client, sender: str, phone: str) -> None:
    sids = [twilio.messages.create(to=phone, from_=sender, body=str(n)).sid for n in range(5)]
    assert [each.sid for each in twilio.messages.list(to=phone, page_size=2)] == sids[::-1]
    assert twilio.messages.list(to=phone, from_="+15005550010") == []
    now = datetime.now(UTC)
    assert len(twilio.messages.list(to=phone, date_sent_after=now - timedelta(minutes=5))) == 5
    assert twilio.messages.list(to=phone, date_sent_before=now - timedelta(minutes=5)) == []


def test_a_message_is_redacted_then_deleted_but_stays_counted(
    twilio: Client, sandbox: Sandbox, product: Product, sender: str, phone: str, message_id: str
) -> None:
    created = twilio.messages.create(
        to=phone, from_=sender, body="secret", status_callback=sandbox.status_callback(message_id)
    )
    assert created.sid
    assert twilio.messages(created.sid).update(body="").body == ""
    product.statuses(message_id, 2)
    assert twilio.messages(created.sid).delete()
    with pytest.raises(TwilioRestException) as missing:
        twilio.messages(created.sid).fetch()
    assert (missing.value.code, missing.value.status) == (20404, 404)
    assert sandbox.effect(message_id)["text"] == ""


def test_what_is_on_its_way_cannot_be_deleted_yet(
    twilio: Client, sandbox: Sandbox, sender: str, phone: str, message_id: str
) -> None:
    sandbox.put(f"people/{phone}", delivery="never")
    created = twilio.messages.create(
        to=phone, from_=sender, body="secret", status_callback=sandbox.status_callback(message_id)
    )
    assert created.sid
    with pytest.raises(TwilioRestException) as refused:
        twilio.messages(created.sid).delete()
    assert refused.value.code == 20009
    assert sandbox.effect(message_id)["text"] == "secret"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_segments_are_counted_as_billed(text: str, parts: int) -> None:
    assert segments(text) == parts
