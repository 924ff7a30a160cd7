"""What every request must keep to, and what every answer carries."""

import asyncio
import gzip
import html
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from api import edge
from cli.stack import EmbeddedStack
from tests.api.scene import DECODER, OPERATOR, WRITER, Scene

JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {OPERATOR}"}


def event(**call: Any) -> dict[str, Any]:
    return {"messageId": uuid4().hex, "userId": f"u-{uuid4().hex}", "event": "car_viewed", **call}


# Bodies.


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/journeys/AbandonedApplication/enrolments", "POST"),
        ("/v1/customers/nobody/speed", "PUT"),
        ("/v1/track", "POST"),
        ("/webhooks/push", "POST"),
        ("/v1/batch", "POST"),
    ],
)
async def test_a_body_too_large_is_refused_whether_it_says_so_or_not(
    app: FastAPI, scene: Scene, method: str, path: str, announced: bool
) -> None:
    large = b'{"a": "' + b"x" * 600 * 1024 + b'"}'

    async def piece_by_piece() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 16 * 1024):
            yield large[start : start + 16 * 1024]

    auth = (WRITER, "") if path in ("/v1/track", "/v1/batch") else None
    headers = {**JSON, **({} if auth else BEARER)}
    body: Any = large if announced else piece_by_piece()
    answer = await scene.http.request(method, path, content=body, headers=headers, auth=auth)
    assert answer.status_code == 413, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "too_large"


@pytest.mark.parametrize("nested", ['{"a":' * 40 + "1" + "}" * 40, "[" * 60_000, '{"a":' * 10_000])
async def test_json_nested_too_deep_is_refused_by_name(scene: Scene, nested: str) -> None:
    body = f'{{"user_id": "u-1", "properties": {nested}'
    answer = await scene.http.post(
        "/v1/journeys/AbandonedApplication/enrolments", content=body, headers={**JSON, **BEARER}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")
    assert "nested deeper than 32 levels" in answer.json()["message"]


@pytest.mark.parametrize("body", [b'{"speed": 2', b'{"speed": NaN}', b'{"a": "\\ud83d"}', b"\xff", b'{"a": "\xff"}'])
async def test_what_is_no_json_is_refused_by_name(scene: Scene, body: bytes) -> None:
    answer = await scene.http.put("/v1/customers/nobody/speed", content=body, headers={**JSON, **BEARER})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body"), answer.text


def test_brackets_in_texts_are_not_levels() -> None:
    assert edge._depth(json.dumps({"a": "[[[{{{", "b": 'x"]]\\', "c": [{}]}).encode()) == 3
    # What is hostile costs no more than what is not.
    assert edge._depth(b'"' + b'\\"' * 30_000) == 0


async def answer_to_a_stalled(app: FastAPI, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    """What a client hears who sends the beginning of a body and then nothing more."""
    parts = iter([{"type": "http.request", "body": b'{"speed"', "more_body": True}])
    answers: list[Message] = []

    async def receive() -> Message:
        for part in parts:
            return part
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        answers.append(message)

    given = {"content-type": "application/json", "authorization": f"Bearer {OPERATOR}", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    await asyncio.wait_for(app(scope, receive, send), 10)
    begun, body = answers[:2]
    return (
        begun["status"],
        {name.decode(): value.decode() for name, value in begun["headers"]},
        json.loads(body["body"]),
    )


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v1/customers/nobody/speed"), ("POST", "/webhooks/push"), ("POST", "/codec/decode")]
)
async def test_a_body_that_does_not_come_is_not_waited_for(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(edge, "BODY_WITHIN", 0.05)
    status, headers, body = await answer_to_a_stalled(app, method, path, authorization=f"Bearer {DECODER}")
    assert (status, body["code"]) == (408, "too_slow")
    assert headers["connection"] == "close"


async def test_a_body_announced_as_too_large_is_refused_before_it_comes(app: FastAPI) -> None:
    announced = {"content-length": str(edge.BODY_LIMIT + 1)}
    status, _, body = await answer_to_a_stalled(app, "PUT", "/v1/customers/nobody/speed", **announced)
    assert (status, body["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "code"),
    [
        ("POST", "/v1/track", b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, "unsupported_type"),
        ("POST", "/v1/track", b"{}", {"Content-Type": "text/plain"}, "unsupported_type"),
        ("POST", "/v1/track", b"{}", {**JSON, "Content-Encoding": "br"}, "unsupported_encoding"),
        ("POST", "/v1/batch", b"{}", {**JSON, "Content-Encoding": "deflate"}, "unsupported_encoding"),
        ("PUT", "/v1/customers/nobody/speed", b"{}", {"Content-Type": "text/xml"}, "unsupported_type"),
        ("PUT", "/v1/customers/nobody/speed", b"{}", {**JSON, "Content-Encoding": "gzip"}, "unsupported_encoding"),
        ("POST", "/webhooks/twilio/status", b"{}", JSON, "unsupported_type"),
        ("POST", "/webhooks/push", b"{}", {**JSON, "Content-Encoding": "gzip"}, "unsupported_encoding"),
    ],
)
async def test_a_body_of_another_kind_than_documented_is_415(
    scene: Scene, method: str, path: str, body: bytes, headers: dict[str, str], code: str
) -> None:
    answer = await scene.http.request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, code), answer.text
    if code == "unsupported_encoding":
        assert answer.headers["accept-encoding"] in ("gzip", "identity")


async def test_a_body_without_a_word_about_its_kind_is_taken_for_the_documented_one(scene: Scene) -> None:
    kept = await scene.http.post("/v1/track", content=json.dumps(event()), auth=(WRITER, ""))
    assert kept.status_code == 200, kept.text
    asked = await scene.http.put("/v1/customers/nobody/speed", content=b'{"speed": 2}', headers=BEARER)
    assert asked.status_code == 404, asked.text
    packed = gzip.compress(json.dumps(event()).encode())
    headers = {"Content-Encoding": "GZIP", "Content-Type": "application/json; charset=utf-8"}
    assert (await scene.http.post("/v1/track", content=packed, headers=headers, auth=(WRITER, ""))).status_code == 200


# What backends may not say.


@pytest.mark.parametrize(
    "name",
    [
        "customer_erased",
        "journey_stopped",
        "message_delivered",
        "message_replied",
        "customer_identified",
        "page_viewed",
    ],
)
async def test_no_backend_can_play_the_part_of_our_own_events(scene: Scene, name: str) -> None:
    call = event(event=name, userId=f"u-{uuid4().hex}")
    answer = await scene.http.post("/v1/track", json=call, auth=(WRITER, ""))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "event"
    batch = await scene.batch({**call, "type": "track"}, {**event(), "type": "track"})
    assert batch.json()["accepted"] == 1
    assert [each["field"] for each in batch.json()["rejected"]] == ["event"]
    assert await scene.customer_of(call["userId"]) is None


async def test_the_calls_that_make_our_events_still_make_them(scene: Scene) -> None:
    user = f"u-{uuid4().hex}"
    assert (await scene.tells("page", user, name="Form")).status_code == 200
    kept = await scene.context.pool.fetchval(
        "select name from events join identities using (customer_id) where value = $1", user
    )
    assert kept == "page_viewed"


@pytest.mark.parametrize("sent_at", ["yesterday", "2026-11-22T10:00:00", 7])
async def test_a_batch_whose_sent_at_is_no_time_is_told_so(scene: Scene, sent_at: object) -> None:
    calls = [{**event(), "type": "track"}, {**event(), "type": "track", "sentAt": "2026-11-22T10:00:00Z"}]
    body = {"batch": calls, "sentAt": sent_at}
    answer = (await scene.http.post("/v1/batch", json=body, auth=(WRITER, ""))).json()
    assert (answer["accepted"], len(answer["rejected"])) == (1, 1)
    assert answer["rejected"][0] == {
        "index": 0,
        "message_id": calls[0]["messageId"],
        "field": "sentAt",
        "rule": answer["rejected"][0]["rule"],
    }
    single = await scene.http.post("/v1/track", json=event(sentAt=sent_at), auth=(WRITER, ""))
    assert (single.status_code, single.json()["errors"][0]["field"]) == (400, "sentAt")


async def test_a_journey_is_not_started_for_somebody_nobody_told_of(scene: Scene) -> None:
    user = f"u-{uuid4().hex}"
    body = {"user_id": user, "properties": {"application_id": "A-1", "filled": 4, "total": 40}}
    answer = await scene.as_operator("POST", "/v1/journeys/AbandonedApplication/enrolments", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await scene.customer_of(user) is None


# Answers.


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/time", 200), ("/v1/customers/nobody", 404), ("/nowhere", 404), ("/healthz", 200)]
)
async def test_every_answer_tells_browsers_to_keep_and_guess_nothing(scene: Scene, path: str, status: int) -> None:
    answer = await scene.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    # The public address of this installation is https.
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "access-control-allow-origin" not in answer.headers


async def test_without_https_browsers_are_not_told_to_insist_on_it(stack: EmbeddedStack) -> None:
    async with httpx.AsyncClient(base_url=stack.api_url) as nobody:
        answer = await nobody.get("/healthz")
    assert "strict-transport-security" not in answer.headers
    assert "server" not in answer.headers


async def test_whatever_goes_wrong_inside_is_a_problem_without_its_words(
    app: FastAPI, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ada@example.com")

    monkeypatch.setattr("api.reports.installation.clock", broken)
    answer = await scene.get("/v1/time")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ada@example.com" not in answer.text


def _without_examples(page: str) -> str:
    """A page without the addresses that are only told: nothing of them is loaded."""
    for told in ("https://example.com/form", "https://fcm.googleapis.com/fcm/send/c1"):
        page = page.replace(told, "")
    return page


async def test_the_api_is_described_on_a_page_that_loads_nothing(scene: Scene) -> None:
    page = await scene.http.get("/docs")
    assert page.status_code == 200
    assert "script" not in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "//" not in _without_examples(page.text)
    document = (await scene.http.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        assert path in page.text
        for operation in operations.values():
            assert f'id="{operation["operationId"]}"' in page.text
    assert '"email": "ada@example.com"' in html.unescape(page.text)
    assert (await scene.http.get("/redoc")).status_code == 404


async def test_metrics_are_shown_to_who_may_read(app: FastAPI, scene: Scene) -> None:
    assert (await scene.http.get("/metrics")).status_code == 401
    assert (await scene.get("/metrics", WRITER)).status_code == 403
    shown = await scene.get("/metrics")
    assert shown.status_code == 200
    assert "journeys_events_received_total" in shown.text


async def test_endless_headers_are_cut_off(stack: EmbeddedStack) -> None:
    address = urlsplit(stack.api_url)

    def pour() -> bytes:
        with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Filler: ")
            try:
                for _ in range(64):
                    connection.sendall(b"a" * 64 * 1024)
                return b"all of it was taken"
            except OSError:
                return b"cut off"

    assert await asyncio.to_thread(pour) == b"cut off"
