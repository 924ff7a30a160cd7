"""Events over HTTP, as backends and Segment's own library send them."""

import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import segment.analytics as segment

from cli.stack import EmbeddedStack


@pytest.fixture
async def backend(stack: EmbeddedStack) -> AsyncIterator[httpx.AsyncClient]:
    """A backend with its write key."""
    async with httpx.AsyncClient(base_url=stack.api_url, auth=(stack.write_key, "")) as client:
        yield client


@pytest.fixture
async def operator(stack: EmbeddedStack) -> AsyncIterator[httpx.AsyncClient]:
    """An operator with their bearer key."""
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    async with httpx.AsyncClient(base_url=stack.api_url, headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
async def database(stack: EmbeddedStack) -> AsyncIterator[asyncpg.Pool]:
    """The product's database, to look into."""
    async with asyncpg.create_pool(stack.database_url, min_size=1) as pool:
        yield pool


def track(**call: Any) -> dict[str, Any]:
    return {"messageId": uuid4().hex, "userId": f"u-{uuid4().hex}", "event": "car_viewed", **call}


async def kept(database: asyncpg.Pool, message_id: str) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await database.fetch("select * from events where message_id = $1", message_id)
    return rows


async def test_the_same_event_twice_is_kept_once(backend: httpx.AsyncClient, database: asyncpg.Pool) -> None:
    call = track()
    first = await backend.post("/v1/track", json=call)
    second = await backend.post("/v1/track", json=call)
    assert (first.status_code, first.json()) == (200, {"success": True, "duplicate": False})
    assert (second.status_code, second.json()) == (200, {"success": True, "duplicate": True})
    assert len(await kept(database, call["messageId"])) == 1


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ({"messageId": None}, "messageId"),
        ({"messageId": "x" * 256}, "messageId"),
        ({"userId": None}, "userId"),
        ({"event": ""}, "event"),
        ({"event": 7}, "event"),
        ({"properties": [1]}, "properties"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2026-11-22T10:00:00"}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00Z", "sentAt": "9999-12-31T23:59:59Z"}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59Z", "sentAt": "0001-01-01T00:00:00Z"}, "timestamp"),
        ({"properties": {"note": "a\x00b"}}, "properties.note"),
        ({"properties": {"a\x00b": 1}}, "properties"),
        ({"properties": {"notes": [{"text": "\ud83d"}]}}, "properties.notes.0.text"),
        ({"properties": {"total": float("nan")}}, "properties.total"),
        ({"properties": {"total": float("inf")}}, "properties.total"),
        ({"properties": {"total": 10**400}}, "properties.total"),
        ({"properties": {"k" * 1000: float("nan")}}, f"properties.{'k' * 244}"),
        ({"context": {"device": {"token": "x" * 1025}}}, "context.device.token"),
        ({"context": {"device": {"token": ["x"]}}}, "context.device.token"),
        ({"properties": {"note": "x" * 33_000}}, "event"),
    ],
)
async def test_a_bad_event_is_refused_with_field_and_rule(
    backend: httpx.AsyncClient, broken: dict[str, Any], field: str
) -> None:
    answer = await backend.post("/v1/track", content=json.dumps(track(**broken)))
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_event"
    assert answer.json()["errors"][0]["field"] == field
    assert answer.json()["errors"][0]["rule"]


@pytest.mark.parametrize(
    ("traits", "field"),
    [
        ({"phone": "call me"}, "traits.phone"),
        ({"phone": "0151 1234567"}, "traits.phone"),
        ({"email": "nobody"}, "traits.email"),
        ({"timezone": "Mars/Olympus"}, "traits.timezone"),
        ({"locale": "!"}, "traits.locale"),
        *[
            ({name: value}, f"traits.{name}")
            for name in ("email", "phone", "timezone", "locale")
            for value in (["not-a-text"], {"not": "a-text"}, 47110815, True)
        ],
    ],
)
async def test_a_malformed_trait_is_refused_and_not_repeated(
    backend: httpx.AsyncClient, traits: dict[str, object], field: str
) -> None:
    answer = await backend.post("/v1/identify", json=track(traits=traits))
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert str(next(iter(traits.values()))) not in answer.text


@pytest.mark.parametrize("name", ["timezone", "locale"])
async def test_a_malformed_context_is_refused(backend: httpx.AsyncClient, name: str) -> None:
    answer = await backend.post("/v1/identify", json=track(context={name: ["UTC"]}))
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == f"context.{name}"


async def test_unusual_but_harmless_texts_are_kept(backend: httpx.AsyncClient, database: asyncpg.Pool) -> None:
    properties = {"path": r"C:\u0000", "note": "🚗 \u2028", "total": 1.5}
    call = track(properties=properties, context={"device": {"token": "t" + uuid4().hex + "x" * 991}})
    answer = await backend.post("/v1/track", json=call)
    assert answer.status_code == 200, answer.text
    (row,) = await kept(database, call["messageId"])
    assert json.loads(row["properties"]) == properties


async def test_in_a_batch_a_bad_event_does_not_take_its_neighbours_with_it(
    backend: httpx.AsyncClient, operator: httpx.AsyncClient, database: asyncpg.Pool
) -> None:
    good, bad, other = track(type="track"), track(type="track", event=None), track(type="screen")
    answer = await backend.post("/v1/batch", json={"batch": [good, bad, other], "writeKey": "secret"})
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["duplicate"]) == (2, 0)
    (rejected,) = answer.json()["rejected"]
    assert (rejected["index"], rejected["message_id"], rejected["field"]) == (1, bad["messageId"], "event")
    assert await kept(database, good["messageId"])
    assert await kept(database, other["messageId"])

    listed = (await operator.get("/v1/events/rejected")).json()
    (kept_aside,) = [each for each in listed if each["message_id"] == bad["messageId"]]
    mended = await operator.post(
        f"/v1/events/rejected/{kept_aside['id']}/resend", json={**kept_aside["body"], "event": "car_viewed"}
    )
    assert mended.json() == {"success": True, "duplicate": False}
    assert len(await kept(database, bad["messageId"])) == 1


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


BAD_CALLS = {
    "U+0000": ("properties.note", r'"properties": {"note": "a\u0000b"}'),
    "half an emoji": ("properties.note", r'"properties": {"note": "\ud83d"}'),
    "another encoding": ("properties.note", '"properties": {"note": "caf\udce9"}'),
    "NaN": ("properties.total", '"properties": {"total": NaN}'),
    "infinity": ("properties.total", '"properties": {"total": -Infinity}'),
    "too large a number": ("properties.total", '"properties": {"total": 1e999}'),
    "nested": ("event", f'"properties": {nested(400)}'),
    "nested deeper": ("event", f'"properties": {nested(980)}'),
    "a list as time zone": ("traits.timezone", '"type": "identify", "traits": {"timezone": ["UTC"]}'),
    "the year 1": ("timestamp", '"timestamp": "0001-01-01T00:00:00+14:00"'),
    "a long token": ("context.device.token", f'"context": {{"device": {{"token": "{"t" * 4000}"}}}}'),
}


@pytest.mark.parametrize(("field", "said"), BAD_CALLS.values(), ids=BAD_CALLS)
async def test_whatever_is_wrong_with_an_event_its_neighbours_are_kept_and_it_is_kept_aside(
    backend: httpx.AsyncClient, operator: httpx.AsyncClient, database: asyncpg.Pool, field: str, said: str
) -> None:
    good, other, message_id, user_id = track(type="track"), track(type="track"), uuid4().hex, f"u-{uuid4().hex}"
    bad = (
        f'{{"type": "track", "event": "car_viewed", "messageId": "{message_id}", "userId": "{user_id}", '
        f'"writeKey": "secret", {said}}}'
    )
    body = f'{{"batch": [{json.dumps(good)}, {bad}, {json.dumps(other)}]}}'.encode(errors="surrogateescape")
    for time in ("first", "again"):
        answer = await backend.post("/v1/batch", content=body)
        assert answer.status_code == 200, (time, answer.text)
        (rejected,) = answer.json()["rejected"]
        assert (rejected["index"], rejected["message_id"], rejected["field"]) == (1, message_id, field)
    assert len(await kept(database, good["messageId"])) == len(await kept(database, other["messageId"])) == 1

    listed = (await operator.get("/v1/events/rejected")).json()
    (aside,) = [each for each in listed if each["message_id"] == message_id]
    # Whatever is left of it, an erasure finds it by its customer.
    assert aside["body"]["userId"] == user_id
    assert "secret" not in json.dumps(aside)


async def test_what_jsonb_cannot_hold_is_kept_aside_as_text(
    backend: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    bad = track(type="track", properties={"half": "\ud83d", "zero": "\0", "none": float("nan"), "long": "x" * 70_000})
    oddly_named = {**bad, "messageId": f"\0{uuid4().hex}\ud83d"}
    answer = await backend.post("/v1/batch", content=json.dumps({"batch": [bad, oddly_named, None, [bad]]}))
    assert answer.status_code == 200, answer.text
    assert [each["field"] for each in answer.json()["rejected"]] == ["properties.half", "messageId", "event", "event"]

    listed_list, listed_null, named, aside = (await operator.get("/v1/events/rejected")).json()[:4]
    assert aside["message_id"] == bad["messageId"]
    assert named["message_id"] == f"\ufffd{oddly_named['messageId'][1:-1]}\ufffd"
    raw = aside["body"]["raw"]
    assert len(raw) == 64 * 1024
    assert r'"half": "\ud83d", "zero": "\u0000", "none": NaN, "long": "xx' in raw
    assert listed_null["body"] == {"raw": "null"}
    assert listed_list["body"]["raw"].startswith('[{"messageId"')


async def test_a_context_that_cannot_be_kept_rejects_every_call_of_its_batch(
    backend: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    calls = [track(type="track"), track(type="track")]
    for context in ({"page": {"title": "\0"}}, {"page": {"title": "x" * 40_000}}):
        answer = await backend.post("/v1/batch", json={"batch": calls, "context": context})
        assert answer.status_code == 200, answer.text
        assert [each["index"] for each in answer.json()["rejected"]] == [0, 1]
        assert answer.json()["rejected"][0]["field"].startswith("context")
    listed = {each["message_id"] for each in (await operator.get("/v1/events/rejected")).json()}
    assert {call["messageId"] for call in calls} <= listed


async def test_a_batch_too_deep_to_be_read_is_refused(backend: httpx.AsyncClient) -> None:
    answer = await backend.post("/v1/batch", content=f'{{"batch": [{nested(5000)}]}}')
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")


@pytest.fixture
async def picky_database(database: asyncpg.Pool) -> AsyncIterator[None]:
    """PostgreSQL refuses events of a name for good: one as a wrong value, one as too large for an index."""
    await database.execute(
        """
        create function refuse() returns trigger language plpgsql as $$ begin
            if new.name = 'wrong_value' then raise exception 'no' using errcode = '22000'; end if;
            if new.name = 'too_large' then raise exception 'no' using errcode = '54000'; end if;
            return new;
        end $$;
        create trigger refuse before insert on events for each row execute function refuse();
        """
    )
    yield
    await database.execute("drop trigger refuse on events; drop function refuse();")


@pytest.mark.usefixtures("picky_database")
@pytest.mark.parametrize("name", ["wrong_value", "too_large"])
async def test_an_event_the_database_refuses_for_good_is_not_asked_for_again(
    backend: httpx.AsyncClient, operator: httpx.AsyncClient, database: asyncpg.Pool, name: str
) -> None:
    answer = await backend.post("/v1/track", json=track(event=name))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event"), answer.text

    user = f"u-{uuid4().hex}"
    calls = [track(type="track", userId=user) for _ in range(7)]
    calls[2]["event"] = calls[5]["event"] = name
    answer = await backend.post("/v1/batch", json={"batch": calls})
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 5
    assert [each["index"] for each in answer.json()["rejected"]] == [2, 5]
    listed = {each["message_id"]: each for each in (await operator.get("/v1/events/rejected")).json()}
    assert listed[calls[2]["messageId"]]["body"] == calls[2]
    rows = await database.fetch(
        "select message_id from events join identities using (customer_id) where value = $1 order by events.id", user
    )
    assert [row["message_id"] for row in rows] == [calls[place]["messageId"] for place in (0, 1, 3, 4, 6)]

    resent = await operator.post(f"/v1/events/rejected/{listed[calls[2]['messageId']]['id']}/resend")
    assert resent.status_code == 400, resent.text


async def test_gzip_bodies_are_read_and_bombs_are_not(backend: httpx.AsyncClient, database: asyncpg.Pool) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    call = track()
    answer = await backend.post("/v1/track", content=gzip.compress(json.dumps(call).encode()), headers=headers)
    assert answer.status_code == 200
    assert await kept(database, call["messageId"])
    bomb = gzip.compress(b" " * 50_000_000)
    assert (await backend.post("/v1/batch", content=bomb, headers=headers)).status_code == 413
    assert (await backend.post("/v1/batch", content=b"not gzip", headers=headers)).status_code == 400
    assert (await backend.post("/v1/batch", content=gzip.compress(b"{}")[:-4], headers=headers)).status_code == 400


async def test_without_the_right_key_nothing_is_accepted(stack: EmbeddedStack) -> None:
    async with httpx.AsyncClient(base_url=stack.api_url) as nobody:
        for auth in (None, ("wrong-key-wrong-key-wrong", "")):
            answer = await nobody.post("/v1/track", json=track(), auth=auth or httpx.USE_CLIENT_DEFAULT)
            assert answer.status_code == 401
            assert "WWW-Authenticate" in answer.headers
        assert (await nobody.post("/v1/track", json=track(), auth=(stack.operator_key, ""))).status_code == 403
        wrong_scope = {"Authorization": f"Bearer {stack.write_key}"}
        assert (await nobody.get("/v1/events/rejected", headers=wrong_scope)).status_code == 403


async def test_a_wrong_clock_of_the_device_is_corrected_by_sent_at(
    backend: httpx.AsyncClient, database: asyncpg.Pool
) -> None:
    wrong = datetime.now(UTC) + timedelta(days=3)
    call = track(timestamp=(wrong - timedelta(minutes=10)).isoformat(), sentAt=wrong.isoformat())
    await backend.post("/v1/track", json=call)
    (row,) = await kept(database, call["messageId"])
    assert row["received_at"] - row["timestamp"] == timedelta(minutes=10)


async def test_a_time_in_the_future_counts_as_now(backend: httpx.AsyncClient, database: asyncpg.Pool) -> None:
    call = track(timestamp=(datetime.now(UTC) + timedelta(days=3)).isoformat())
    await backend.post("/v1/track", json=call)
    (row,) = await kept(database, call["messageId"])
    assert row["timestamp"] == row["received_at"]


async def customer_of(database: asyncpg.Pool, value: str) -> int:
    number: int = await database.fetchval("select customer_id from identities where value = $1", value)
    return number


async def test_whoever_was_anonymous_becomes_the_user_they_turn_out_to_be(
    backend: httpx.AsyncClient, database: asyncpg.Pool
) -> None:
    anonymous, user = f"a-{uuid4().hex}", f"u-{uuid4().hex}"
    before = track(userId=None, anonymousId=anonymous)
    await backend.post("/v1/track", json=before)
    await backend.post("/v1/track", json=track(userId=user))
    await backend.post("/v1/identify", json=track(userId=user, anonymousId=anonymous, traits={"first_name": "Ada"}))
    assert await customer_of(database, anonymous) == await customer_of(database, user)
    (row,) = await kept(database, before["messageId"])
    assert row["customer_id"] == await customer_of(database, user)


async def test_a_shared_device_does_not_merge_two_users(backend: httpx.AsyncClient, database: asyncpg.Pool) -> None:
    device, first, second = f"a-{uuid4().hex}", f"u-{uuid4().hex}", f"u-{uuid4().hex}"
    for user in (first, second):
        await backend.post("/v1/identify", json=track(userId=user, anonymousId=device, traits={}))
    assert await customer_of(database, first) != await customer_of(database, second)
    assert await customer_of(database, device) == await customer_of(database, second)


async def test_an_older_identify_that_comes_late_does_not_undo_a_newer_one(
    backend: httpx.AsyncClient, database: asyncpg.Pool
) -> None:
    user, now = f"u-{uuid4().hex}", datetime.now(UTC)
    newer = {"timestamp": now.isoformat(), "traits": {"email": "new@example.com", "plan": "b"}}
    older = {
        "timestamp": (now - timedelta(hours=1)).isoformat(),
        "traits": {"email": "old@example.com", "plan": "a", "age": 3},
    }
    for call in (newer, older):
        assert (await backend.post("/v1/identify", json=track(userId=user, **call))).status_code == 200
    row = await database.fetchrow("select * from customers where id = $1", await customer_of(database, user))
    assert row is not None
    assert row["email"] == "new@example.com"
    assert json.loads(row["traits"]) == {"plan": "b", "age": 3}


async def test_segments_own_library_works_unchanged(stack: EmbeddedStack, database: asyncpg.Pool) -> None:
    errors: list[object] = []
    client = segment.Client(
        stack.write_key,
        host=stack.api_url,
        gzip=True,
        on_error=lambda error, batch: errors.append(error),
        max_retries=1,
    )
    user, application = f"u-{uuid4().hex}", uuid4().hex
    client.identify(user, {"email": "ada@example.com", "phone": "+14155550123", "timezone": "Europe/Berlin"})
    client.track(user, "credit_application_started", {"application_id": application, "filled": 1, "total": 40})
    client.page(user, "Credit", "Form")
    client.group(user, "employer-1", {"name": "Acme"})
    client.alias(f"before-{user}", user)
    client.flush()
    client.join()
    assert errors == []
    number = await customer_of(database, user)
    rows = await database.fetch("select type, source from events where customer_id = $1 order by id", number)
    assert [row["type"] for row in rows] == ["identify", "track", "page", "group", "alias"]
    assert {row["source"] for row in rows} == {"backend"}
    row = await database.fetchrow("select email, phone, time_zone from customers where id = $1", number)
    assert row is not None
    assert tuple(row.values()) == ("ada@example.com", "+14155550123", "Europe/Berlin")


async def test_the_openapi_document_names_an_error_body_for_every_operation(backend: httpx.AsyncClient) -> None:
    document = (await backend.get("/openapi.json")).json()
    assert "ProblemDetails" in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description") or operation.get("summary"), (method, path)
            # The public key of pushes is for every page.
            if path.startswith("/v1/") and path != "/v1/web-push/key":
                assert "401" in operation["responses"], (method, path)
                assert operation["security"], (method, path)
