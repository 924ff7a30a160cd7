"""The codec server: who may read what payload keys have encrypted, and from where."""

import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from api import codec
from dispatch.codec import Encryption
from store import keys
from tests.api.scene import DECODER, OPERATOR, PUBLIC, Scene

UI = "https://temporal.example.com"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"words"')
BEARER = {"Authorization": f"Bearer {DECODER}"}


@pytest.fixture
async def browser(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, as far as cookies go: it reaches the API by https."""
    async with httpx.AsyncClient(transport=scene.http._transport, base_url=PUBLIC) as client:
        yield client


def json_of(payloads: Sequence[Payload]) -> str:
    return json_format.MessageToJson(Payloads(payloads=payloads))


def payloads_in(answer: httpx.Response) -> list[Payload]:
    assert answer.status_code == 200, answer.text
    return list(json_format.Parse(answer.text, Payloads()).payloads)


async def asked(client: httpx.AsyncClient, to: str, payloads: Sequence[Payload], **headers: str) -> httpx.Response:
    # As Temporal's interface asks.
    return await client.post(
        f"/codec/{to}?preserveStorageRefs=true",
        content=json_of(payloads),
        headers={"Content-Type": "application/json", "X-Namespace": "default", **headers},
    )


async def signed_in(browser: httpx.AsyncClient, key: str = DECODER) -> httpx.Response:
    # Our pages send no referrer, and so their forms no origin.
    return await browser.post("/codec", data={"key": key}, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"})


async def test_what_is_encrypted_is_decrypted_for_whoever_has_the_key(scene: Scene) -> None:
    (encrypted,) = payloads_in(await asked(scene.http, "encode", [PLAIN], **BEARER))
    assert encrypted.metadata["encoding"] == b"binary/encrypted"
    assert b"words" not in encrypted.SerializeToString()
    assert payloads_in(await asked(scene.http, "decode", [PLAIN, encrypted], **BEARER)) == [PLAIN, PLAIN]


async def test_what_no_key_is_known_for_stays_encrypted_beside_what_is_read(scene: Scene) -> None:
    (ours,) = payloads_in(await asked(scene.http, "encode", [PLAIN], **BEARER))
    (foreign,) = await Encryption({"removed": secrets.token_bytes(32)}).encode([PLAIN])
    assert payloads_in(await asked(scene.http, "decode", [foreign, ours], **BEARER)) == [foreign, PLAIN]


@pytest.mark.parametrize(
    "body", ["", "{", '{"payloads": 1}', '{"payloads": [{"words": ""}]}', '{"payloads":' + "[" * 100_000]
)
async def test_what_is_no_payloads_is_refused(scene: Scene, body: str) -> None:
    answer = await scene.http.post("/codec/decode", content=body, headers=BEARER)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payloads")


async def test_a_payload_that_was_changed_is_refused(scene: Scene) -> None:
    (encrypted,) = payloads_in(await asked(scene.http, "encode", [PLAIN], **BEARER))
    encrypted.data = encrypted.data[:-1] + bytes([encrypted.data[-1] ^ 1])
    assert (await asked(scene.http, "decode", [encrypted], **BEARER)).status_code == 400


@pytest.mark.parametrize("to", ["encode", "decode"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer nobodys-key"}, 401), ({"Authorization": f"Bearer {OPERATOR}"}, 403)],
)
async def test_nobody_else_may(scene: Scene, to: str, headers: dict[str, str], status: int) -> None:
    assert (await asked(scene.http, to, [PLAIN], **headers)).status_code == status


async def test_a_browser_with_a_session_may_from_the_interface_and_from_nowhere_else(
    browser: httpx.AsyncClient,
) -> None:
    (encrypted,) = payloads_in(await asked(browser, "encode", [PLAIN], **BEARER))
    came = await signed_in(browser)
    assert (came.status_code, came.headers["location"]) == (303, f"{PUBLIC}/codec")
    cookie = came.headers["set-cookie"].lower()
    for property in ("httponly", "secure", "samesite=strict", "path=/codec", "max-age=43200"):
        assert property in cookie
    assert DECODER not in cookie
    assert "This browser may show" in (await browser.get("/codec")).text

    seen = await asked(browser, "decode", [encrypted], Origin=UI)
    assert payloads_in(seen) == [PLAIN]
    assert seen.headers["access-control-allow-origin"] == UI
    assert seen.headers["access-control-allow-credentials"] == "true"
    for origin in ({"Origin": "https://elsewhere.example.com"}, {"Origin": "null"}, {"Origin": PUBLIC}, {}):
        refused = await asked(browser, "decode", [encrypted], **origin)
        assert refused.status_code == 401
        assert "access-control-allow-origin" not in refused.headers

    await browser.post("/codec")
    assert (await asked(browser, "decode", [encrypted], Origin=UI)).status_code == 401


async def test_only_a_key_that_decodes_begins_a_session_and_only_on_our_page(browser: httpx.AsyncClient) -> None:
    for key in (OPERATOR, "nobodys-key", f"{DECODER}x"):
        refused = await signed_in(browser, key)
        assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
        assert key not in refused.text
    for site in ("cross-site", "same-site"):
        foreign = await browser.post("/codec", data={"key": DECODER}, headers={"Sec-Fetch-Site": site})
        assert (foreign.status_code, "set-cookie" in foreign.headers) == (403, False)


async def test_a_session_ends_with_its_key(scene: Scene, browser: httpx.AsyncClient) -> None:
    async with scene.context.pool.acquire() as connection:
        token = await keys.create(connection, "cli:tests", "passing", [keys.Scope.DECODE])
    assert token
    await signed_in(browser, token)
    (encrypted,) = payloads_in(await asked(browser, "encode", [PLAIN], Origin=UI))
    async with scene.context.pool.acquire() as connection:
        assert await keys.revoke(connection, "cli:tests", "passing")
    while (await asked(browser, "decode", [encrypted], Origin=UI)).status_code == 200:
        pass  # until the process has heard of it
    assert (await asked(browser, "decode", [encrypted], Origin=UI)).status_code == 401


@pytest.mark.parametrize("cookie", ["", "00", "zz", secrets.token_hex(60)])
async def test_a_cookie_we_did_not_make_opens_nothing(browser: httpx.AsyncClient, cookie: str) -> None:
    browser.cookies.set(codec.COOKIE, cookie, path="/codec")
    assert (await asked(browser, "decode", [PLAIN], Origin=UI)).status_code == 401


async def test_the_interface_may_ask_before_it_asks(scene: Scene) -> None:
    def preflight(origin: str, **headers: str) -> Any:
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-namespace"}
        return scene.http.options("/codec/decode", headers={"Origin": origin, **wanted, **headers})

    allowed = await preflight(UI)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == UI
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert "x-namespace" in allowed.headers["access-control-allow-headers"].lower()
    refused = await preflight("https://elsewhere.example.com")
    assert "access-control-allow-origin" not in refused.headers
    # Nothing else of the API may be read from there.
    other = await scene.http.get("/healthz", headers={"Origin": UI})
    assert "access-control-allow-origin" not in other.headers


async def test_there_is_no_codec_where_nothing_is_encrypted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = await Client.connect("127.0.0.1:1", data_converter=pydantic_data_converter, lazy=True)
    monkeypatch.setattr(scene.context, "temporal", plain)
    for answer in (
        await asked(scene.http, "decode", [PLAIN], **BEARER),
        await scene.http.get("/codec"),
        await scene.http.post("/codec", data={"key": DECODER}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_encrypted")


def test_a_session_ends_by_itself_and_shows_no_key() -> None:
    sessions, now = codec.Sessions(b"s" * 32), datetime.now(UTC)
    cookie = sessions.open("a-token-of-a-key", now)
    assert sessions.token_in(cookie, now) == "a-token-of-a-key"
    assert sessions.token_in(cookie, now + codec.SESSION - timedelta(seconds=1)) == "a-token-of-a-key"
    assert sessions.token_in(cookie, now + codec.SESSION) is None
    assert codec.Sessions(b"t" * 32).token_in(cookie, now) is None
    assert b"a-token" not in bytes.fromhex(cookie)
