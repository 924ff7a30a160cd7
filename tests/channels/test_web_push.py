"""Web push on the wire: RFC 8030, 8291 and 8292, read by somebody else than who wrote it."""

import base64
import json
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from channels.protocol import NotProcessed, Receipt, Refused, Uncertain
from channels.web_push import (
    PAYLOAD_LIMIT,
    NotASubscription,
    PushServices,
    WebPush,
    decoded,
    encrypt,
    public_key_of,
    subscription_of,
)
from domain.messages import PushKeys
from tests.channels import letters
from tests.channels.browser import Browser, base64url, unbase64url
from tests.channels.conftest import VAPID_KEY
from tests.channels.provider import Answer, Provider

MID = str(letters.MESSAGE_ID)
LINK = "https://j.example/r/abc"


def test_the_encryption_is_the_one_of_the_rfcs_example() -> None:
    """RFC 8291, appendix A."""
    keys = PushKeys(
        p256dh="BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        auth="BTBZMqHH6r4Tts7J_aSIgg",
    )
    ours = ec.derive_private_key(int.from_bytes(decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")), ec.SECP256R1())
    written = encrypt(
        b"When I grow up, I want to be a watermelon", keys, ours=ours, salt=decoded("DGv6ra1nlYgDCS1FRnbzlw")
    )
    assert base64url(written) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


async def test_a_push_as_a_push_service_takes_it(web_push: WebPush, browser: Browser, provider: Provider) -> None:
    provider.will(Answer(201, headers={"Location": f"{provider.url}/message/0:17"}))

    letter = letters.web_push(browser.endpoint, browser.keys, link=LINK, valid_for=timedelta(hours=1))
    assert await web_push.send(letter) == Receipt("0:17")

    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", "/send/anna")
    assert {name: asked.headers[name] for name in ("content-encoding", "ttl", "topic", "urgency")} == {
        "content-encoding": "aes128gcm",
        "ttl": "3600",
        "topic": letters.MESSAGE_ID.hex,
        "urgency": "normal",
    }
    assert browser.read(asked.body) == {
        "message_id": MID,
        "tag": MID,
        "title": "Title",
        "body": letters.TEXT,
        "lang": "en",
        "link": LINK,
    }


async def test_who_we_are_is_proved_to_that_push_service_alone_and_for_a_while(
    web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    provider.will(Answer(201))
    await web_push.send(letters.web_push(browser.endpoint, browser.keys))
    scheme, _, given = provider.asked[0].headers["authorization"].partition(" ")
    parts = dict(part.split("=", 1) for part in given.split(", "))
    assert (scheme, parts["k"]) == ("vapid", public_key_of(VAPID_KEY))
    head, claims, signature = (unbase64url(part) for part in parts["t"].split("."))
    assert json.loads(head) == {"typ": "JWT", "alg": "ES256"}
    told = json.loads(claims)
    assert (told["aud"], told["sub"]) == (provider.url, "mailto:push@cars.example")
    assert time.time() < told["exp"] <= time.time() + 24 * 3600
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unbase64url(parts["k"]))
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    key.verify(der, parts["t"].rpartition(".")[0].encode(), ec.ECDSA(SHA256()))


@pytest.mark.parametrize(
    ("valid_for", "ttl"),
    [(None, "2419200"), (timedelta(days=365), "2419200"), (timedelta(seconds=-1), "0"), (timedelta(minutes=1), "60")],
)
async def test_a_push_waits_no_longer_than_it_is_worth(
    valid_for: timedelta | None, ttl: str, web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    provider.will(Answer(201))
    await web_push.send(letters.web_push(browser.endpoint, browser.keys, valid_for=valid_for))
    assert provider.asked[0].headers["ttl"] == ttl


async def test_a_push_without_a_link_and_without_a_place(
    web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    provider.will(Answer(201, headers={"Location": "/m/" + "x" * 300}))
    assert await web_push.send(letters.web_push(browser.endpoint, browser.keys)) == Receipt(None)
    assert "link" not in browser.read(provider.asked[0].body)


@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_is_gone(status: int, web_push: WebPush, browser: Browser, provider: Provider) -> None:
    provider.will(Answer(status))
    with pytest.raises(Refused, match=f"http_{status}") as caught:
        await web_push.send(letters.web_push(browser.endpoint, browser.keys))
    assert caught.value.recipient_is_dead


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_a_refusal_that_is_not_the_browsers_fault(
    status: int, web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    provider.will(Answer(status))
    with pytest.raises(Refused) as caught:
        await web_push.send(letters.web_push(browser.endpoint, browser.keys))
    assert not caught.value.recipient_is_dead


async def test_a_push_service_that_asks_to_wait_and_one_that_fails(
    web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    provider.will(Answer(429, headers={"Retry-After": "120"}))
    with pytest.raises(NotProcessed) as caught:
        await web_push.send(letters.web_push(browser.endpoint, browser.keys))
    assert caught.value.retry_after == timedelta(minutes=2)
    provider.will(Answer(502))
    with pytest.raises(Uncertain):
        await web_push.send(letters.web_push(browser.endpoint, browser.keys))


async def test_the_largest_message_a_push_service_takes_and_one_larger(
    web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    provider.will(Answer(201))
    await web_push.send(letters.web_push(browser.endpoint, browser.keys, body=""))
    room = PAYLOAD_LIMIT - len(json.dumps(browser.read(provider.asked[0].body), ensure_ascii=False).encode())
    await web_push.send(letters.web_push(browser.endpoint, browser.keys, body="x" * room))
    assert len(provider.asked[1].body) == 4096
    with pytest.raises(Refused, match="payload_too_large"):
        await web_push.send(letters.web_push(browser.endpoint, browser.keys, body="x" * (room + 1)))
    assert len(provider.asked) == 2


async def test_nobody_is_called_who_is_not_allowed_any_more(
    web_push: WebPush, browser: Browser, provider: Provider
) -> None:
    with pytest.raises(Refused, match="service_not_allowed"):
        await web_push.send(letters.web_push("http://169.254.169.254/latest", browser.keys))
    assert provider.asked == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc",
        "https://updates.push.services.mozilla.com/wpush/v2/abc",
        "https://wns2-par02p.notify.windows.com/w/?token=abc%3d",
        "https://web.push.apple.com/QAbc",
        "https://fcm.googleapis.com:443/fcm/send/abc",
        "https://FCM.googleapis.com/fcm/send/abc",
    ],
)
def test_the_push_services_of_the_browsers_are_called(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_PUSH_SERVICES", raising=False)
    assert PushServices().allow(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/fcm/send/abc",
        "https://fcm.googleapis.com.evil.example/x",
        "https://evil.example/fcm.googleapis.com",
        "https://evil-push.apple.com.example/x",
        "https://push.apple.com/x",
        "https://evilpush.apple.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://user@fcm.googleapis.com/x",
        "https://fcm.googleapis.com\\@evil.example/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[x/",
        "https://fcm.googleapis.com:x/",
        "file:///etc/passwd",
        "fcm.googleapis.com/x",
        "https://fcm.googleapis.com/x#fragment",
    ],
)
def test_nobody_else_is_called(endpoint: str, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_PUSH_SERVICES", raising=False)
    assert not PushServices().allow(endpoint)
    with pytest.raises(NotASubscription, match="endpoint: must"):
        subscription_of({**browser.subscription, "endpoint": endpoint})


def test_a_subscription_as_browsers_write_it(browser: Browser, environment: dict[str, str]) -> None:
    read = subscription_of(browser.subscription)
    assert (read.endpoint, read.keys) == (browser.endpoint, browser.keys)
    padded = {"p256dh": base64.urlsafe_b64encode(browser.point).decode(), "auth": f"{browser.keys.auth}=="}
    assert subscription_of({**browser.subscription, "keys": padded}).keys == browser.keys


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/" + "x" * 1024}, "endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/\n"}, "endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/\ud800"}, "endpoint"),
        ({"keys": None}, "keys"),
        ({"keys": {}}, "keys.p256dh"),
        ({"keys": {"p256dh": "B" * 87, "auth": "A" * 22}}, "keys.p256dh"),
        ({"keys": {"p256dh": base64url(b"\x02" + b"\1" * 32), "auth": "A" * 22}}, "keys.p256dh"),
        ({"keys": {"p256dh": 7, "auth": "A" * 22}}, "keys.p256dh"),
    ],
)
def test_what_is_no_subscription_is_told_which_field_is_wrong(
    wrong: dict[str, object], field: str, browser: Browser, environment: dict[str, str]
) -> None:
    with pytest.raises(NotASubscription) as caught:
        subscription_of({**browser.subscription, **wrong})
    assert caught.value.field == field


@pytest.mark.parametrize("auth", ["", "A" * 21, "A" * 24, "Ä" * 22, None])
def test_an_authentication_secret_has_sixteen_bytes(
    auth: object, browser: Browser, environment: dict[str, str]
) -> None:
    with pytest.raises(NotASubscription, match=r"keys\.auth"):
        subscription_of({**browser.subscription, "keys": {"p256dh": browser.keys.p256dh, "auth": auth}})
