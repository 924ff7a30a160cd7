"""Where the storm rages: the real processes, their clocks and their disk, and whoever starts again what died."""

import asyncio
import contextlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from temporalio.client import Client

from cli.stack import EmbeddedStack, PartDied, Programs, StackError, postgres
from cli.torture.clocks import Clocks, open_clocks
from cli.torture.disk import SmallDisk, postgres_disk, temporal_disk, unmount
from cli.torture.errors import NotPossibleHere
from dispatch.codec import data_converter

CONFIGURATION = Path(__file__).with_name("torture.toml")

WORKERS = 3
"""Worker processes; each of them dispatches too."""

SPEED = 3600.0
"""Journey seconds per wall second: an hour passes in one."""

_TRY_AGAIN_AFTER = 0.5


@dataclass
class Stage:
    """The stack under attack.

    Attributes:
        database: The judge's own connections, which outlive a restart of the server.
        clocks: None where clocks cannot be skewed.
        disk: None where the disk cannot be filled.
        not_possible: What cannot be done here, and why.
        died: Parts that ended although nobody killed them, and how often.
    """

    stack: EmbeddedStack
    temporal: Client
    sandbox: httpx.AsyncClient
    database: asyncpg.Pool
    clocks: Clocks | None
    disk: SmallDisk | None
    not_possible: dict[str, str]
    died: Counter[str] = field(default_factory=Counter)
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @property
    def workers(self) -> list[str]:
        """The names of the worker processes."""
        return [f"worker-{number}" for number in range(1, WORKERS + 1)]

    def alone_with(self, part: str) -> asyncio.Lock:
        """A lock: who holds it may stop, freeze or restart a part."""
        return self._locks[part]

    async def restart(self, part: str) -> None:
        """Start a part again that is gone, as often as it takes: what it needs may be away too."""
        while True:
            try:
                await self.stack.start_part(part)
                return
            except StackError:
                await self.stack.kill(part)
                await asyncio.sleep(_TRY_AGAIN_AFTER)

    async def watch(self) -> None:
        """Start again what dies by itself, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                death = await self.stack.failure()
                self.died[death.part] += 1
                group.create_task(self._revive(death))

    async def _revive(self, death: PartDied) -> None:
        async with self.alone_with(death.part):
            if death.part not in self.stack.pids:
                await self.restart(death.part)

    async def ask_sandbox(self, path: str, **parameters: Any) -> Any:
        """Return what the sandbox's own interface says.

        Raises:
            httpx.HTTPError: It is away, or refuses.
        """
        return (await self.sandbox.get(f"/_sandbox/{path}", params=parameters)).raise_for_status().json()

    async def tell_sandbox(self, method: str, path: str, order: Any = None) -> None:
        """Tell the sandbox something; see `ask_sandbox`."""
        (await self.sandbox.request(method, f"/_sandbox/{path}", json=order)).raise_for_status()


@contextlib.asynccontextmanager
async def open_stage(data: Path, *, keep: bool, hasty: bool) -> AsyncIterator[Stage]:
    """Run the stack with empty data; whatever was in the directory goes.

    Args:
        data: Directory for data, logs and figures.
        keep: Leave the data at the end, to look into; the logs stay anyway.
        hasty: Settle uncertain sends sooner than real providers would allow.

    Raises:
        StackError: It cannot start.
    """
    _clear(data)
    not_possible: dict[str, str] = {}
    async with contextlib.AsyncExitStack() as resources:
        disk = clocks = None
        if not keep:
            resources.callback(_clear, data, but=("logs", "torture.json"))
        try:
            disk = resources.enter_context(postgres_disk(data, keep=keep))
            resources.enter_context(temporal_disk(data, keep=keep))
        except NotPossibleHere as reason:
            not_possible["disk"] = str(reason)
        skewable = ("postgres", "api", *(f"worker-{number}" for number in range(1, WORKERS + 1)))
        try:
            clocks = await resources.enter_async_context(open_clocks(*skewable))
        except NotPossibleHere as reason:
            not_possible["clocks"] = str(reason)
        stack = await resources.enter_async_context(
            EmbeddedStack(
                data,
                workers=WORKERS,
                durable=True,
                speed=SPEED,
                environment={"JOURNEYS_CONFIG": str(CONFIGURATION), **({"TORTURE_HASTY": "1"} if hasty else {})},
                part_environment=clocks.environment if clocks else None,
                programs=Programs(api="cli.torture.processes:create_app", worker=("-m", "cli.torture.processes")),
            )
        )
        yield Stage(
            stack,
            await Client.connect(stack.temporal_address, data_converter=data_converter()),
            await resources.enter_async_context(
                httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False, timeout=20)
            ),
            await resources.enter_async_context(
                asyncpg.create_pool(stack.database_url, min_size=0, max_size=4, timeout=5, init=_read_json)
            ),
            clocks,
            disk,
            not_possible,
        )


async def _read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _clear(data: Path, but: tuple[str, ...] = ()) -> None:
    if not data.exists():
        data.mkdir(parents=True)
        return
    postgres.forget(data)
    unmount(data / "temporal")  # a killed run may have left it
    for path in data.iterdir():
        if path.name in but:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
