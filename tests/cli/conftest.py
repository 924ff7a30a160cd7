"""The commands as a person runs them, against the tests' own installation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import commands, keys, templates
from cli.main import app
from dispatch.dispatcher import Dispatcher
from tests.world import World

Run = Callable[..., Coroutine[Any, Any, "Ended"]]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    said: str
    complained: str


@pytest.fixture
async def dispatched(world: World) -> AsyncIterator[None]:
    """Accepted events reach their runs by themselves, as in a real installation."""
    async with Dispatcher(world.pool, world.stack.database_url, world.temporal, world.catalog).running():
        yield


@pytest.fixture
def run(world: World, dispatched: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the world's installation; `environment` changes what it is told."""
    for module in (commands, keys, templates):
        monkeypatch.setattr(module.console, "width", 250)
    told = {
        "JOURNEYS_URL": world.stack.api_url,
        "JOURNEYS_OPERATOR_KEY": world.stack.operator_key,
        "DATABASE_URL": world.stack.database_url,
    }

    async def run(*arguments: str, **environment: str | None) -> Ended:
        # In a thread: a command has an event loop of its own.
        result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env={**told, **environment})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run
