"""Web push: a push service that asks who pushes, and a browser that reads what was encrypted to it."""

import base64
import json
import time
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt.es256 import ES256Signer

from channels.web_push import WebPushSettings, decoded, encrypt, public_key_of
from domain.messages import PushKeys
from tests.sandbox.conftest import Product, Sandbox


def subscribed(sandbox: Sandbox, name: str) -> dict[str, Any]:
    answer = sandbox.post(f"people/{name}/browser")
    assert answer.is_success, answer.text
    subscription: dict[str, Any] = answer.json()
    return subscription


def token(sandbox: Sandbox, key: str, **claims: object) -> str:
    private = ec.derive_private_key(int.from_bytes(decoded(key)), ec.SECP256R1())
    told = {"aud": sandbox.url, "exp": int(time.time()) + 3600, "sub": "mailto:push@cars.example", **claims}
    written: bytes = jwt.encode(ES256Signer(private), told)  # type: ignore[no-untyped-call]
    return written.decode()


def push(
    sandbox: Sandbox,
    subscription: dict[str, Any],
    shown: object,
    *,
    body: bytes | None = None,
    authorization: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    key = sandbox.environment["WEB_PUSH_PRIVATE_KEY"]
    proof = authorization if authorization is not None else f"vapid t={token(sandbox, key)}, k={public_key_of(key)}"
    sealed = encrypt(json.dumps(shown).encode(), PushKeys(**subscription["keys"])) if body is None else body
    given = {"TTL": "60", "Content-Encoding": "aes128gcm", "Topic": "t1", "Authorization": proof, **(headers or {})}
    return sandbox.client.post(
        subscription["endpoint"], content=sealed, headers={name: value for name, value in given.items() if value}
    )


def notification(message_id: str, link: str = "") -> dict[str, str]:
    return {
        "message_id": message_id,
        "tag": message_id,
        "title": "Almost done",
        "body": "Осталось два поля",
        "link": link,
    }


def reported(product: Product, message_id: str, count: int) -> list[str]:
    requests = product.wait_for(
        lambda each: each.path == "/webhooks/push" and each.json["message_id"] == message_id, count
    )
    return [request.json["event"] for request in requests]


def test_a_push_is_decrypted_shown_and_its_link_followed(sandbox: Sandbox, product: Product, message_id: str) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    link = f"{product.url}/r/{message_id}"
    answer = push(sandbox, subscription, notification(message_id, link))
    assert answer.status_code == 201
    assert answer.headers["Location"].startswith(f"{sandbox.url}/web-push-messages/")
    entry = sandbox.effect(message_id)
    assert (entry["channel"], entry["subject"], entry["text"]) == ("web_push", "Almost done", "Осталось два поля")
    assert reported(product, message_id, 1) == ["received"]
    assert sandbox.post(f"messages/{entry['id']}/click").json()["status"] == 302
    assert reported(product, message_id, 2) == ["received", "opened"]
    assert sandbox.post(f"messages/{entry['id']}/dismiss").status_code == 202


def test_the_same_push_again_takes_its_own_place(sandbox: Sandbox, message_id: str) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    for _ in range(2):
        assert push(sandbox, subscription, notification(message_id)).status_code == 201
    assert len(sandbox.effects(message_id)) == 1


def test_a_browser_that_is_gone_and_one_nobody_knows(sandbox: Sandbox, message_id: str) -> None:
    name = f"Anna {message_id[:8]}"
    subscription = subscribed(sandbox, name)
    unknown = {**subscription, "endpoint": f"{subscription['endpoint']}x"}
    assert push(sandbox, unknown, notification(message_id)).status_code == 410
    sandbox.put(f"people/{name}", browser=subscription["endpoint"], delivery="unregistered")
    assert push(sandbox, subscription, notification(message_id)).status_code == 410
    assert sandbox.effects(message_id) == []


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "https://fcm.googleapis.com"}, "aud"),
        ({"exp": 0}, "exp"),
        ({"exp": 2**40}, "exp"),
        ({"exp": None}, "exp"),
        ({"sub": "push@cars.example"}, "sub"),
    ],
)
def test_a_token_that_proves_too_little_is_refused(
    claims: dict[str, object], why: str, sandbox: Sandbox, message_id: str
) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    key = sandbox.environment["WEB_PUSH_PRIVATE_KEY"]
    proof = f"vapid t={token(sandbox, key, **claims)}, k={public_key_of(key)}"
    answer = push(sandbox, subscription, notification(message_id), authorization=proof)
    assert answer.status_code == 403
    assert why in answer.json()["message"]


def test_a_token_somebody_else_signed_is_refused(sandbox: Sandbox, message_id: str) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    key = sandbox.environment["WEB_PUSH_PRIVATE_KEY"]
    other = base64.urlsafe_b64encode(b"\7" * 32).rstrip(b"=").decode()
    for proof, status in (
        ("", 401),
        ("Bearer x", 401),
        ("vapid t=a.b.c, k=AAAA", 403),
        (f"vapid t={token(sandbox, other)}, k={public_key_of(key)}", 403),
    ):
        answer = push(sandbox, subscription, notification(message_id), authorization=proof)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"TTL": ""}, 400),
        ({"TTL": "soon"}, 400),
        ({"Topic": "t" * 33}, 400),
        ({"Topic": "not a topic"}, 400),
        ({"Urgency": "very"}, 400),
        ({"Content-Encoding": "aesgcm"}, 415),
    ],
)
def test_a_request_that_is_not_as_the_rfc_says_is_refused(
    headers: dict[str, str], status: int, sandbox: Sandbox, message_id: str
) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    assert push(sandbox, subscription, notification(message_id), headers=headers).status_code == status
    assert sandbox.effects(message_id) == []


def test_what_the_browser_cannot_read_and_what_is_too_large_is_refused(sandbox: Sandbox, message_id: str) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    other = subscribed(sandbox, f"Boris {message_id[:8]}")
    for_another = encrypt(json.dumps(notification(message_id)).encode(), PushKeys(**other["keys"]))
    assert push(sandbox, subscription, None, body=for_another).status_code == 400
    assert push(sandbox, subscription, None, body=b"plain").status_code == 400
    assert push(sandbox, subscription, {"body": "no title"}).status_code == 400
    assert push(sandbox, subscription, None, body=b"x" * 4097).status_code == 413


def test_bad_luck_strikes_web_push_too(sandbox: Sandbox, message_id: str) -> None:
    subscription = subscribed(sandbox, f"Anna {message_id[:8]}")
    fault = {"provider": "web_push", "address": subscription["endpoint"], "kind": "status_429", "retry_after": 7}
    sandbox.put("faults", **fault)
    refused = push(sandbox, subscription, notification(message_id))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    assert push(sandbox, subscription, notification(message_id)).status_code == 201


def test_the_sandboxs_credentials_are_ones_the_product_takes(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sandbox.environment.items():
        if name.startswith("WEB_PUSH_"):
            monkeypatch.setenv(name, value)
    settings = WebPushSettings()
    assert settings.allow(f"{sandbox.url}/web-push/x")
    assert settings.public_key == public_key_of(sandbox.environment["WEB_PUSH_PRIVATE_KEY"])
