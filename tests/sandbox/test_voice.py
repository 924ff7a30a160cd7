"""Calls by a machine: Twilio's own library makes them, its own validator checks what comes of them."""

import uuid
from typing import Any

import pytest
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from tests.sandbox.conftest import Product, Received, Sandbox

SAYS = "Two fields are left."


class _HttpClient(TwilioHttpClient):  # type: ignore[misc]
    def __init__(self, url: str) -> None:
        super().__init__(timeout=20)
        self._url = url

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._url), *arguments, **options)


@pytest.fixture
def twilio(sandbox: Sandbox) -> Client:
    account, token = sandbox.environment["TWILIO_ACCOUNT_SID"], sandbox.environment["TWILIO_AUTH_TOKEN"]
    return Client(account, token, http_client=_HttpClient(sandbox.url))


def calls(twilio: Client, product: Product, phone: str, message_id: str, **further: Any) -> Any:
    base = f"{product.url}/webhooks/twilio/voice"
    return twilio.calls.create(
        to=phone,
        from_="+15550001111",
        twiml=f'<Response><Gather action="{base}/key?mid={message_id}"><Say>{SAYS}</Say></Gather></Response>',
        status_callback=f"{base}/status?mid={message_id}",
        status_callback_event=["initiated", "ringing", "answered", "completed"],
        machine_detection="Enable",
        async_amd="true",
        async_amd_status_callback=f"{base}/answered-by?mid={message_id}",
        **further,
    )


def reported(sandbox: Sandbox, product: Product, message_id: str, count: int) -> list[Received]:
    """What was posted about a call, every request signed as Twilio's validator wants it."""
    requests = product.wait_for(lambda each: f"mid={message_id}" in each.url, count)
    validator = RequestValidator(sandbox.environment["TWILIO_AUTH_TOKEN"])
    for request in requests:
        assert validator.validate(request.url, request.form, request.headers["x-twilio-signature"])
    return requests


def told(requests: list[Received]) -> list[str]:
    return [each.form.get("AnsweredBy") or each.form["CallStatus"] for each in requests]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("answered", ["initiated", "ringing", "in-progress", "human", "completed"]),
        ("machine", ["initiated", "ringing", "in-progress", "machine_start", "completed"]),
        ("no_answer", ["initiated", "ringing", "no-answer"]),
        ("busy", ["initiated", "ringing", "busy"]),
        ("declined", ["initiated", "ringing", "busy"]),
        ("wrong_number", ["initiated", "ringing", "failed"]),
    ],
)
def test_a_call_ends_as_the_person_takes_it(
    result: str, expected: list[str], twilio: Client, sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    sandbox.put(f"people/{phone}", call_result=result)
    call = calls(twilio, product, phone, message_id)
    assert (call.status, call.sid[:2]) == ("queued", "CA")
    assert told(reported(sandbox, product, message_id, len(expected))) == expected
    entry = sandbox.effect(message_id)
    assert (entry["text"], entry["status"]) == (SAYS, expected[-1])


def test_a_person_takes_a_ringing_call_and_presses_a_key(
    twilio: Client, sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    calls(twilio, product, phone, message_id)
    reported(sandbox, product, message_id, 2)
    entry = sandbox.effect(message_id)["id"]
    assert sandbox.post(f"calls/{entry}/key", key="1").status_code == 409
    assert sandbox.post(f"calls/{entry}/result", result="answered").status_code == 202
    assert sandbox.post(f"calls/{entry}/result", result="busy").status_code == 409
    assert sandbox.post(f"calls/{entry}/key", key="1").json() == {"connected_with": None}
    pressed = product.wait_for(lambda each: each.path.endswith("/key") and f"mid={message_id}" in each.url)
    assert pressed[0].form["Digits"] == "1"
    assert sandbox.post(f"calls/{entry}/key", key="x").status_code == 422


def test_calls_are_listed_and_deleted(
    twilio: Client, sandbox: Sandbox, product: Product, phone: str, message_id: str
) -> None:
    sandbox.put(f"people/{phone}", call_result="busy")
    call = calls(twilio, product, phone, message_id)
    sandbox.send_sms(phone, str(uuid.uuid4()))
    assert [each.sid for each in twilio.calls.list(to=phone, from_="+15550001111")] == [call.sid]
    assert twilio.calls.list(to=phone, from_="+15550009999") == []
    reported(sandbox, product, message_id, 3)
    assert twilio.calls(call.sid).delete()
    assert twilio.calls.list(to=phone) == []
    assert sandbox.effect(message_id)["text"] == ""


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"To": "12345"}, 21211),
        ({"To": ""}, 21201),
        ({"From": "Cars"}, 21212),
        ({"To": "+15005550001"}, 21211),
        ({"Twiml": ""}, 21218),
        ({"Twiml": "x" * 4001}, 21218),
        ({"Twiml": "<Response"}, 12100),
        ({"StatusCallback": "nowhere"}, 21609),
        ({"StatusCallbackEvent": "levitated"}, 21626),
    ],
)
def test_a_wrong_call_is_refused_with_twilios_code(
    wrong: dict[str, str], code: int, sandbox: Sandbox, phone: str
) -> None:
    account, token = sandbox.environment["TWILIO_ACCOUNT_SID"], sandbox.environment["TWILIO_AUTH_TOKEN"]
    form = {"To": phone, "From": "+15550001111", "Twiml": "<Response><Say>Hello</Say></Response>", **wrong}
    answer = sandbox.client.post(f"/2010-04-01/Accounts/{account}/Calls.json", data=form, auth=(account, token))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
