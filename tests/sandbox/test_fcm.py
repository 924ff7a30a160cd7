"""FCM: Google's own library gets the tokens, and errors come in Google's shape."""

import json
from typing import Any

import httpx
import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from sandbox.credentials import generate
from tests.sandbox.conftest import Product, Sandbox


def bearer(account: str) -> str:
    credentials: Any = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        json.loads(account), scopes=["https://www.googleapis.com/auth/firebase.messaging"]
    )
    credentials.refresh(Request())
    return f"Bearer {credentials.token}"


@pytest.fixture(scope="module")
def authorization(running: Sandbox) -> str:
    return bearer(running.environment["FCM_SERVICE_ACCOUNT"])


def send(sandbox: Sandbox, authorization: str, **message: object) -> httpx.Response:
    return sandbox.client.post(
        "/v1/projects/sandbox/messages:send",
        json={"message": message},
        headers={"Authorization": authorization},
    )


def push(device: str, message_id: str, link: str = "") -> dict[str, object]:
    return {
        "token": device,
        "notification": {"title": "Almost done", "body": "Two fields are left."},
        "data": {"message_id": message_id, "link": link},
        "android": {"collapse_key": "application"},
    }


def reported(product: Product, message_id: str, count: int) -> list[str]:
    requests = product.wait_for(
        lambda each: each.path == "/webhooks/push" and each.json["message_id"] == message_id, count
    )
    return [request.json["event"] for request in requests]


def test_a_push_is_received_and_its_link_followed(
    sandbox: Sandbox, product: Product, authorization: str, message_id: str
) -> None:
    link = f"{product.url}/r/{message_id}"
    answer = send(sandbox, authorization, **push(f"device-{message_id}", message_id, link))
    assert answer.status_code == 200
    assert answer.json()["name"].startswith("projects/sandbox/messages/")
    assert reported(product, message_id, 1) == ["received"]
    entry = sandbox.effect(message_id)["id"]
    assert sandbox.post(f"messages/{entry}/click").json()["status"] == 302
    assert reported(product, message_id, 2) == ["received", "opened"]
    assert sandbox.post(f"messages/{entry}/dismiss").status_code == 202
    assert reported(product, message_id, 3)[-1] == "dismissed"


def test_a_push_replaces_the_unread_one_of_its_collapse_key(
    sandbox: Sandbox, authorization: str, message_id: str
) -> None:
    device = f"device-{message_id}"
    for number in (1, 2):
        send(sandbox, authorization, **push(device, f"{message_id}-{number}"))
    assert sandbox.effect(f"{message_id}-1")["status"] == "replaced"
    assert sandbox.effect(f"{message_id}-2")["status"] != "replaced"


def test_the_same_push_in_its_own_place_is_no_second_effect(
    sandbox: Sandbox, product: Product, authorization: str, message_id: str
) -> None:
    device = f"device-{message_id}"
    names = [send(sandbox, authorization, **push(device, message_id)).json()["name"] for _ in range(2)]
    (entry,) = sandbox.effects(message_id)
    assert entry["provider_id"] == names[0]
    assert [each["provider_id"] for each in entry["details"]["replacements"]] == names[1:]
    assert reported(product, message_id, 2) == ["received", "received"]
    assert message_id not in sandbox.client.get("/_sandbox/counts").json()["repeated"]


def test_the_same_push_after_it_was_read_is_a_second_one(sandbox: Sandbox, authorization: str, message_id: str) -> None:
    device = f"device-{message_id}"
    send(sandbox, authorization, **push(device, message_id))
    assert sandbox.post(f"messages/{sandbox.effect(message_id)['id']}/dismiss").status_code == 202
    send(sandbox, authorization, **push(device, message_id))
    assert len(sandbox.effects(message_id)) == 2


def test_a_device_without_the_app_is_unregistered(sandbox: Sandbox, authorization: str, message_id: str) -> None:
    device = f"device-{message_id}"
    sandbox.put(f"people/{device}", delivery="unregistered")
    answer = send(sandbox, authorization, **push(device, message_id))
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "code": 404,
        "message": "Requested entity was not found.",
        "status": "NOT_FOUND",
        "details": [
            {
                "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
                "errorCode": "UNREGISTERED",
            }
        ],
    }
    assert sandbox.effects(message_id) == []


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"token": "a", "topic": "b"},
        {"token": "a", "data": {"number": 1}},
        {"token": "a", "unknown": 1},
        {"token": "a", "data": {"long": "x" * 4100}},
    ],
)
def test_a_wrong_push_is_an_invalid_argument(sandbox: Sandbox, authorization: str, message: dict[str, object]) -> None:
    answer = send(sandbox, authorization, **message)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["status"], error["details"][0]["errorCode"]) == ("INVALID_ARGUMENT",) * 2
    assert error["details"][1]["fieldViolations"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("status_429", 429, "QUOTA_EXCEEDED"), ("status_503", 503, "UNAVAILABLE")],
)
def test_what_may_be_tried_again_says_when(
    sandbox: Sandbox, authorization: str, message_id: str, kind: str, status: int, code: str
) -> None:
    sandbox.put("faults", provider="fcm", kind=kind, retry_after=3)
    answer = send(sandbox, authorization, **push("device", message_id))
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "3")
    assert answer.json()["error"]["details"][0]["errorCode"] == code


def test_only_the_service_account_gets_in(sandbox: Sandbox, message_id: str) -> None:
    stranger = generate(sandbox.url)["FCM_SERVICE_ACCOUNT"]
    with pytest.raises(RefreshError, match="invalid_grant"):
        bearer(stranger)
    for forged in ("", "Bearer ya29.99999999999.forged", "Bearer x"):
        answer = send(sandbox, forged, **push("device", message_id))
        assert answer.status_code == 401
        assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    assert sandbox.effects(message_id) == []
