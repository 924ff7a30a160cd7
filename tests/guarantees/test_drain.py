"""Processes that are told to stop finish what they have begun, and lose and double nothing."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import yaml

from cli.stack import EmbeddedStack, Part
from worker import DRAIN

PROJECT = Path(__file__).parents[2]


@dataclass
class Installation:
    """A whole installation whose hours take a second, and whose processes may be stopped."""

    stack: EmbeddedStack
    backend: httpx.AsyncClient
    operator: httpx.AsyncClient
    providers: httpx.AsyncClient
    database: asyncpg.Connection

    async def is_told(self, event: str, user_id: str, **properties: Any) -> None:
        body = {"messageId": uuid4().hex, "userId": user_id, "event": event, "properties": properties}
        (await self.backend.post("/v1/track", json=body)).raise_for_status()

    async def customer(self, *, slow: float) -> str:
        """Somebody who is about to get an email, over which the provider takes its time."""
        user_id = uuid4().hex
        email = f"{user_id}@example.com"
        fault = {"provider": "sendgrid", "address": email, "kind": "slow", "seconds": slow}
        (await self.providers.put("/_sandbox/faults", json=fault)).raise_for_status()
        known = {"messageId": uuid4().hex, "userId": user_id, "traits": {"email": email, "timezone": "Etc/UTC"}}
        (await self.backend.post("/v1/identify", json=known)).raise_for_status()
        await self.is_told("credit_application_started", user_id, application_id="A-1", filled=40, total=40)
        return user_id

    async def email(self, user_id: str) -> asyncpg.Record | None:
        return await self.database.fetchrow(
            """
            select m.* from messages m join identities i using (customer_id)
            where i.value = $1 and m.channel = 'email'
            """,
            user_id,
        )

    async def status(self, user_id: str) -> str | None:
        row = await self.email(user_id)
        return row["status"] if row else None

    async def emails_sent(self, user_id: str) -> int:
        """How many emails have taken effect, by the provider's own ledger."""
        row = await self.email(user_id)
        assert row is not None
        ledger = await self.providers.get("/_sandbox/ledger", params={"message_id": str(row["id"])})
        return len(ledger.json()["entries"])

    async def outcome(self, user_id: str) -> str | None:
        outcome: str | None = await self.database.fetchval(
            """
            select outcome from enrolments e join identities i using (customer_id)
            where i.value = $1 and e.ended_at is not null
            """,
            user_id,
        )
        return outcome

    async def waits(self, user_id: str) -> bool:
        number = await self.database.fetchval(
            "select e.id from enrolments e join identities i using (customer_id) where i.value = $1", user_id
        )
        standing = (await self.operator.get(f"/v1/enrolments/{number}")).json()["standing"]
        return bool(standing and standing["waiting"])

    async def lock(self, user_id: str) -> None:
        """Lock a customer for the rest of a transaction, as an event that is being accepted does."""
        await self.database.execute(
            "select from customers where id = (select customer_id from identities where value = $1) for update",
            user_id,
        )


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    data: Path = tmp_path_factory.mktemp("drain")
    async with contextlib.AsyncExitStack() as opened:
        stack = await opened.enter_async_context(EmbeddedStack(data, durable=False, speed=3600))
        database = await asyncpg.connect(stack.database_url)
        opened.push_async_callback(database.close)
        client = opened.enter_async_context
        yield Installation(
            stack,
            await client(httpx.AsyncClient(base_url=stack.api_url, auth=(stack.write_key, ""), timeout=30)),
            await client(
                httpx.AsyncClient(base_url=stack.api_url, headers={"Authorization": f"Bearer {stack.operator_key}"})
            ),
            await client(httpx.AsyncClient(base_url=stack.sandbox_url)),
            database,
        )


async def until(look: Callable[[str], Awaitable[object]], user_id: str, wanted: object) -> None:
    deadline = time.monotonic() + 30
    while (seen := await look(user_id)) != wanted:
        assert time.monotonic() < deadline, f"still {seen!r}, not {wanted!r}"
        await asyncio.sleep(0.05)


async def test_a_worker_told_to_stop_finishes_its_sends_and_another_one_goes_on(installation: Installation) -> None:
    # The second provider call is given up after ten seconds, though the provider acts on it later.
    slow, slower = await installation.customer(slow=4), await installation.customer(slow=12)
    for user_id in (slow, slower):
        await until(installation.status, user_id, "sending")
    worker = installation.stack.pids["worker-1"]
    os.kill(worker, signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert worker in installation.stack.pids.values()
    os.kill(worker, signal.SIGTERM)
    async with asyncio.timeout(DRAIN.total_seconds()):
        assert "worker-1 ended unexpectedly (exit code 0)" in str(await installation.stack.failure())
    assert await installation.status(slow) in ("accepted", "delivered")
    assert await installation.status(slower) == "unknown"
    await installation.stack.start_part("worker-1")
    for user_id in (slow, slower):
        await until(installation.status, user_id, "delivered")
        await until(installation.waits, user_id, True)
        assert await installation.emails_sent(user_id) == 1
        await installation.is_told("credit_application_submitted", user_id, application_id="A-1")
        await until(installation.outcome, user_id, "goal")


async def test_an_api_told_to_stop_answers_whom_it_has_let_in(installation: Installation) -> None:
    user_id = await installation.customer(slow=0)
    async with installation.database.transaction():
        await installation.lock(user_id)
        event = {"messageId": uuid4().hex, "userId": user_id, "event": "car_viewed"}
        answer = asyncio.create_task(installation.backend.post("/v1/track", json=event))
        await until(lambda _: waits_for_a_lock(installation), user_id, True)
        os.kill(installation.stack.pids[Part.API], signal.SIGTERM)
        await until(lambda _: lets_somebody_in(installation), user_id, False)
    assert (await answer).json() == {"success": True, "duplicate": False}
    assert "api ended unexpectedly" in str(await installation.stack.failure())
    await installation.stack.start_part(Part.API)


def test_whoever_stops_a_process_gives_it_the_time_it_takes() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    answers = re.search(r'"--timeout-graceful-shutdown", "(\d+)"', (PROJECT / "Dockerfile").read_text())
    assert answers is not None
    assert seconds(services["api"]["stop_grace_period"]) > int(answers[1])
    # The connections to PostgreSQL and Temporal are closed after the drain.
    assert seconds(services["worker"]["stop_grace_period"]) >= DRAIN.total_seconds() + 5


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


async def waits_for_a_lock(installation: Installation) -> bool:
    waiting: bool = await installation.database.fetchval(
        "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    )
    return waiting


async def lets_somebody_in(installation: Installation) -> bool:
    try:
        async with httpx.AsyncClient(base_url=installation.stack.api_url) as newcomer:
            return (await newcomer.get("/healthz")).is_success
    except httpx.TransportError:
        return False
