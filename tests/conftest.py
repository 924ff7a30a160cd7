"""The world the tests live in: real PostgreSQL, real Temporal with time skipping, providers over HTTP."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

import settings
from cli.stack import EmbeddedStack, Part
from store.migrate import migrate
from tests.world import World, open_world

TIME_SKIPPING = {
    "frontend.WorkflowTimeSkippingEnabled": "true",
    "history.timerProcessorMaxTimeShift": '"1ms"',
    # A run that goes on as a new one within a second of the wall is held back for that second, and the skipper adds
    # all the time skipped so far to it once more (server 1.32): it would leap over weeks in which nothing is sent.
    "history.workflowIdReuseMinimalInterval": '"0s"',
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--record`, which `make record` gives."""
    parser.addoption("--record", action="store_true", help="record the runs of tests/workflows in tests/histories")


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """Everything but a worker: the tests run that in their own process."""
    data: Path = tmp_path_factory.mktemp("stack")
    parts = [Part.POSTGRES, Part.TEMPORAL, Part.SANDBOX, Part.API]
    async with EmbeddedStack(data, parts=parts, durable=False, dynamic_config=TIME_SKIPPING) as stack:
        await asyncio.to_thread(migrate, stack.database_url)
        yield stack


@pytest.fixture(scope="session")
async def temporal(stack: EmbeddedStack) -> Client:
    """A client of the stack's Temporal."""
    return await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)


@pytest.fixture(scope="session")
async def world(stack: EmbeddedStack, temporal: Client) -> AsyncIterator[World]:
    """Customers, events and time, as a test speaks of them."""
    os.environ.update(stack.environment)
    async with open_world(stack, temporal, settings.load()) as world:
        yield world
