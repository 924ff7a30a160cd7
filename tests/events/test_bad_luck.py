"""PostgreSQL or Temporal away: nothing is accepted that cannot be kept, nothing that is kept is lost."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from cli.stack import EmbeddedStack, Part


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """A stack whose parts may be killed without anybody else noticing."""
    data: Path = tmp_path_factory.mktemp("own")
    async with EmbeddedStack(data, parts=[Part.POSTGRES, Part.TEMPORAL, Part.API], durable=False) as stack:
        yield stack


def call() -> dict[str, str]:
    return {"messageId": uuid4().hex, "userId": uuid4().hex, "event": "credit_application_submitted"}


async def test_what_cannot_be_committed_is_not_accepted_and_may_be_sent_again(own_stack: EmbeddedStack) -> None:
    async with httpx.AsyncClient(base_url=own_stack.api_url, auth=(own_stack.write_key, ""), timeout=30) as backend:
        assert (await backend.post("/v1/track", json=call())).status_code == 200
        await own_stack.kill(Part.POSTGRES)
        event = call()
        for path, body in (("/v1/track", event), ("/v1/batch", {"batch": [{**event, "type": "track"}]})):
            answer = await backend.post(path, json=body)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["code"] == "unavailable"
        assert (await backend.get("/readyz")).status_code == 503
        assert (await backend.get("/healthz")).status_code == 200
        await own_stack.start_part(Part.POSTGRES)
        answer = await backend.post("/v1/track", json=event)
        assert (answer.status_code, answer.json()["duplicate"]) == (200, False)
    connection = await asyncpg.connect(own_stack.database_url)
    assert await connection.fetchval("select count(*) from events where message_id = $1", event["messageId"]) == 1
    await connection.close()


async def test_events_are_accepted_while_temporal_is_away(own_stack: EmbeddedStack) -> None:
    await own_stack.kill(Part.TEMPORAL)
    async with httpx.AsyncClient(base_url=own_stack.api_url, auth=(own_stack.write_key, ""), timeout=30) as backend:
        assert (await backend.post("/v1/track", json=call())).status_code == 200
        ready = await backend.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"postgresql": "ok", "temporal": "away"})
    await own_stack.start_part(Part.TEMPORAL)
