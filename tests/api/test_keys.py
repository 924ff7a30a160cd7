"""Keys: how long a token opens one, who hears that it does not any more, how much it may do, who guesses."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from api import keyring
from api.keyring import GUESSES, Keyring
from api.rates import Rates
from store import keys
from store.keys import GivenKey, Rate, Scope
from tests.api.scene import READER, Scene

BY = "cli:tests"
NEVER = 3600.0
"""Wall seconds longer than any test."""


@pytest.fixture
def name() -> str:
    return f"desk-{uuid4().hex[:12]}"


@pytest.fixture
async def another_process(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keyring]:
    """What another API process knows, which reads nothing again unless it is told of a change."""
    monkeypatch.setattr(keyring, "READ_EVERY", NEVER)
    monkeypatch.setattr(keyring, "TRUSTED_FOR", NEVER)
    ring = Keyring(scene.context.pool, scene.context.settings.database_url)
    async with ring.running():
        yield ring


async def eventually(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + 15
    while (seen := await look()) != wanted:
        assert time.monotonic() < deadline, f"still {seen!r}"
        await asyncio.sleep(0.02)


async def made(scene: Scene, name: str, *scopes: Scope, **rate: float) -> str:
    async with scene.context.pool.acquire() as connection:
        token = await keys.create(connection, BY, name, scopes or [Scope.READ], rate=Rate(**rate))
    assert token
    return token


async def opens(scene: Scene, token: str) -> bool:
    answer = await scene.get("/v1/time", token)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


# Tokens.


async def test_a_rotated_key_is_opened_by_both_tokens_until_the_overlap_is_over(scene: Scene, name: str) -> None:
    old = await made(scene, name)
    async with scene.context.pool.acquire() as connection:
        new = await keys.rotate(connection, BY, name, timedelta(hours=24))
    assert new
    assert await opens(scene, old)
    assert await opens(scene, new)
    await scene.context.pool.execute(
        "update api_tokens set expires_at = expires_at - interval '24 hours' where key = $1", name
    )
    await eventually(lambda: opens(scene, old), False)
    assert await opens(scene, new)


async def test_a_key_rotated_without_overlap_is_opened_by_the_new_token_alone(scene: Scene, name: str) -> None:
    old = await made(scene, name)
    async with scene.context.pool.acquire() as connection:
        new = await keys.rotate(connection, BY, name, timedelta(0))
    assert new
    await eventually(lambda: opens(scene, old), False)
    assert await opens(scene, new)


async def test_an_overlap_does_not_lengthen_a_token_that_ends_sooner(scene: Scene, name: str) -> None:
    pool = scene.context.pool
    async with pool.acquire() as connection:
        await keys.create(connection, BY, name, [Scope.READ], lifetime=timedelta(hours=1))
        await keys.rotate(connection, BY, name, timedelta(days=30), lifetime=timedelta(days=90))
    ends = [row["expires_at"] - row["created_at"] for row in await tokens_of(scene, name)]
    assert ends == [timedelta(hours=1), timedelta(days=90)]


async def test_a_token_ends_by_itself_though_nobody_tells(another_process: Keyring, scene: Scene, name: str) -> None:
    async with scene.context.pool.acquire() as connection:
        token = await keys.create(connection, BY, name, [Scope.READ], lifetime=timedelta(seconds=1))
    assert token
    assert await another_process.recognise(token, None)
    await eventually(lambda: another_process.recognise(token, None), None)


async def test_one_token_is_revoked_and_the_others_go_on(scene: Scene, name: str) -> None:
    leaked = await made(scene, name)
    async with scene.context.pool.acquire() as connection:
        kept = await keys.rotate(connection, BY, name, timedelta(hours=24))
        (number, _) = [row["id"] for row in await tokens_of(scene, name)]
        assert await keys.revoke_token(connection, BY, name, number)
        assert not await keys.revoke_token(connection, BY, name, number)
        assert not await keys.revoke_token(connection, BY, "somebody-else", number + 1)
    assert kept
    await eventually(lambda: opens(scene, leaked), False)
    assert await opens(scene, kept)


async def test_a_revoked_key_can_be_made_anew_and_its_old_tokens_stay_shut(scene: Scene, name: str) -> None:
    old = await made(scene, name)
    async with scene.context.pool.acquire() as connection:
        assert await keys.revoke(connection, BY, name)
        assert await keys.rotate(connection, BY, name, timedelta(0)) is None
        new = await keys.create(connection, BY, name, [Scope.READ])
    assert new
    assert await opens(scene, new)
    await eventually(lambda: opens(scene, old), False)


async def tokens_of(scene: Scene, name: str) -> list[Any]:
    found: list[Any] = await scene.context.pool.fetch("select * from api_tokens where key = $1 order by id", name)
    return found


async def test_no_token_is_kept(scene: Scene, name: str) -> None:
    token = await made(scene, name)
    (row,) = await tokens_of(scene, name)
    assert token.encode() not in bytes(row["token_hash"])
    assert token not in repr(await scene.context.pool.fetch("select * from api_keys"))


# Who hears of it.


async def test_every_process_hears_of_a_revocation_at_once(another_process: Keyring, scene: Scene, name: str) -> None:
    token = await made(scene, name)
    await eventually(lambda: is_trusted(another_process, token), True)
    async with scene.context.pool.acquire() as connection:
        assert await keys.revoke(connection, BY, name)
    await eventually(lambda: another_process.recognise(token, None), None)


async def test_a_change_by_hand_is_heard_of_like_any_other(another_process: Keyring, scene: Scene, name: str) -> None:
    token = await made(scene, name)
    await eventually(lambda: is_trusted(another_process, token), True)
    await scene.context.pool.execute("update api_keys set revoked_at = now() where name = $1", name)
    await eventually(lambda: another_process.recognise(token, None), None)


async def test_a_process_that_lost_its_ear_asks_for_each_request(
    another_process: Keyring, scene: Scene, name: str
) -> None:
    token = await made(scene, name)
    await eventually(lambda: is_trusted(another_process, token), True)
    ended = await scene.context.pool.fetchval(
        """
        select bool_and(pg_terminate_backend(pid)) from pg_stat_activity
        where query like '%api_tokens t join api_keys%' and datname = current_database() and pid <> pg_backend_pid()
        """
    )
    assert ended
    async with scene.context.pool.acquire() as connection:
        await keys.revoke(connection, BY, name)
    await eventually(lambda: another_process.recognise(token, None), None)


async def test_a_process_that_hears_nothing_trusts_what_it_knew_for_a_limited_time(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "READ_EVERY", NEVER)
    monkeypatch.setattr(keyring, "TRUSTED_FOR", 1.0)
    token, pool = await made(scene, name), scene.context.pool
    ring = Keyring(pool, scene.context.settings.database_url)
    async with ring.running():
        await eventually(lambda: is_trusted(ring, token), True)
        await pool.execute("alter table api_tokens disable trigger keys_changed")
        try:
            await pool.execute("update api_tokens set revoked_at = now() where key = $1", name)
        finally:
            await pool.execute("alter table api_tokens enable trigger keys_changed")
        await eventually(lambda: ring.recognise(token, None), None)


async def is_trusted(ring: Keyring, token: str) -> bool:
    """Whether a process opens a key without asking the database."""
    return keys.hash_of(token) in ring._known and time.monotonic() < ring._trusted_until


# When they were last used.


async def test_a_use_is_noted_and_never_in_the_way_of_a_request(scene: Scene, name: str) -> None:
    token, pool = await made(scene, name), scene.context.pool
    assert [row["last_used_at"] for row in await tokens_of(scene, name)] == [None]
    async with pool.acquire() as elsewhere, elsewhere.transaction():
        await elsewhere.execute("select from api_tokens where key = $1 for update", name)
        assert await opens(scene, token)
        assert await opens(scene, token)

    async def noted() -> bool:
        return all(row["last_used_at"] for row in await tokens_of(scene, name))

    await eventually(noted, True)


async def test_a_use_is_noted_once_a_minute_whoever_notes_it(scene: Scene, name: str) -> None:
    await made(scene, name)
    (token,), now = [row["id"] for row in await tokens_of(scene, name)], datetime.now(UTC)
    async with scene.context.pool.acquire() as connection:
        for seconds, noted in ((0, 0), (59, 0), (60, 60), (61, 60), (-5, 60)):
            await keys.used(connection, {token: now + timedelta(seconds=seconds)})
            (row,) = await tokens_of(scene, name)
            assert row["last_used_at"] == now + timedelta(seconds=noted), seconds


# Keys of the configuration.


def configured(name: str, *tokens: str, scope: Scope = Scope.READ) -> list[GivenKey]:
    return [GivenKey(name=name, scopes=[scope], token=SecretStr(token)) for token in tokens]


async def test_a_configured_key_may_have_several_tokens_and_one_left_out_ends(scene: Scene, name: str) -> None:
    old, new = f"{name}-old-token-old-token", f"{name}-new-token-new-token"
    async with scene.context.pool.acquire() as connection:
        assert await keys.ensure(connection, BY, configured(name, old)) == []
        rotated = await keys.rotate(connection, BY, name, timedelta(days=1))
        assert await keys.ensure(connection, BY, configured(name, old, new)) == []
        assert rotated
        assert [await opens(scene, token) for token in (old, new, rotated)] == [True, True, True]
        assert await keys.ensure(connection, BY, configured(name, new)) == []
        await eventually(lambda: opens(scene, old), False)
        assert [await opens(scene, token) for token in (new, rotated)] == [True, True]


async def test_an_old_configuration_does_not_open_what_somebody_closed(scene: Scene, name: str) -> None:
    token, fresh = f"{name}-a-token-a-token", f"{name}-b-token-b-token"
    async with scene.context.pool.acquire() as connection:
        await keys.ensure(connection, BY, configured(name, token))
        assert await opens(scene, token)
        await keys.revoke(connection, BY, name)
        assert await keys.ensure(connection, BY, configured(name, token)) == [name]
        await eventually(lambda: opens(scene, token), False)
        assert await keys.ensure(connection, BY, configured(name, fresh)) == []
        assert await opens(scene, fresh)
        assert not await opens(scene, token)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "webhook:twilio"},
        {"name": ""},
        {"name": "a b"},
        {"token": "short"},
        {"token": "with:colon-with:colon-with"},
        {"token": "with space with space with"},
        {"token": "пароль-пароль-пароль-пароль"},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"rate": 0},
    ],
)
def test_a_key_that_could_not_be_sent_or_poses_as_us_is_refused(wrong: dict[str, Any]) -> None:
    good = {"name": "backend", "scopes": ["ingest"], "token": "t" * 20}
    GivenKey.model_validate(good)
    with pytest.raises(ValidationError):
        GivenKey.model_validate({**good, **wrong})


# How much.


async def test_a_key_above_its_rate_is_told_when_to_come_again_and_keeps_nobody_else_out(
    scene: Scene, name: str
) -> None:
    token = await made(scene, name, per_second=1, burst=3)
    answers = [await scene.get("/v1/time", token) for _ in range(8)]
    passed = [answer.status_code for answer in answers].count(200)
    assert 3 <= passed < 8
    refused = answers[-1]
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "too_many_requests"
    assert int(refused.headers["retry-after"]) == 1
    assert (await scene.get("/v1/time", READER)).status_code == 200


async def test_a_batch_counts_as_the_events_it_holds(scene: Scene, name: str) -> None:
    token = await made(scene, name, Scope.INGEST, per_second=1, burst=10)
    user = f"u-{uuid4().hex}"
    calls = [{"type": "track", "messageId": uuid4().hex, "userId": user, "event": "car_viewed"} for _ in range(40)]
    batch = await scene.http.post("/v1/batch", json={"batch": calls}, auth=(token, ""))
    assert batch.json()["accepted"] == 40
    refused = await scene.http.post("/v1/track", json=calls[0], auth=(token, ""))
    assert refused.status_code == 429
    assert 20 < int(refused.headers["retry-after"]) <= 31


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_nobody_gets_more_than_burst_and_rate_and_one_more_batch(
    asks: list[tuple[float, int]], per_second: int, burst: int
) -> None:
    rate, now, got, dearest = Rate(per_second, burst), 0.0, 0, 0
    rates = Rates(now=lambda: now)
    for pause, cost in asks:
        now += pause
        wait = rates.admit("somebody", rate)
        if wait:
            assert rates.admit("somebody", rate) == wait
            now += wait + 1e-6
            assert rates.admit("somebody", rate) == 0
        rates.charge("somebody", rate, cost - 1)
        got, dearest = got + cost, max(dearest, cost)
        assert got <= burst + now * per_second + dearest
    assert rates.admit("somebody else", rate) == 0


def test_who_was_quiet_longest_is_forgotten_first() -> None:
    rates, rate = Rates(most=2), Rate(1, 1)
    for caller in ("a", "b"):
        assert rates.admit(caller, rate) == 0
    assert rates.admit("b", rate) > 0
    rates.admit("c", rate)
    assert rates.admit("b", rate) > 0
    assert rates.admit("a", rate) == 0


# Who guesses.


async def test_who_guesses_is_slowed_down_and_keeps_nobody_at_the_same_address_out(
    app: FastAPI, scene: Scene, name: str
) -> None:
    address = f"203.0.113.{uuid4().int % 250}"
    transport = httpx.ASGITransport(app, client=(address, 1))
    known = await made(scene, name)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

        async def ask(token: str) -> httpx.Response:
            return await client.get("/v1/time", headers={"Authorization": f"Bearer {token}"})

        assert (await ask(known)).status_code == 200
        guesses = [await ask(f"guess-{number}") for number in range(int(GUESSES.burst) + 20)]
        assert guesses[0].status_code == 401
        assert guesses[-1].status_code == 429
        assert int(guesses[-1].headers["retry-after"]) >= 1
        assert (await ask(known)).status_code == 200
        write = await client.post("/v1/track", json={}, auth=("guess", ""))
        assert write.status_code == 429

        async def new_opens() -> int:
            return (await ask(new)).status_code

        new = await made(scene, f"{name}-new")
        await eventually(new_opens, 200)
    # Elsewhere nobody has guessed.
    assert (await scene.get("/v1/time", "guess")).status_code == 401


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_addresses_of_one_network_are_one_guesser(one: str, other: str, together: bool) -> None:
    assert (keyring._network(one) == keyring._network(other)) is together
