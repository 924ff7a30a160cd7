"""`journeys bench`: history events, CPU, memory and pace of a journey as ratios to the bare workflow's."""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import psutil
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench import bare
from cli.stack import EmbeddedStack, Part
from cli.stack.ports import free_port
from store.database import open_pool
from store.keys import MOST, GivenKey, Scope, ensure
from store.migrate import migrate

ROUNDS = 3

APPLICATION = {"application_id": "A-1"}
"""What the texts that are sent speak of."""

UNDER_WAY = """
    select count(*) from identities i left join enrolments e using (customer_id)
    where i.value = any($1) and e.ended_at is null
"""
SENT = """
    select count(*) from identities i join messages m using (customer_id)
    where i.value = any($1) and m.status = 'accepted'
"""

console = Console()


@dataclass(frozen=True)
class Measured:
    """One round.

    Attributes:
        cpu: Milliseconds per journey, by process.
        memory: Megabytes at the end (proportional set size), by process.
        seconds: From the first to enter to the last to leave.
        events: History events of one run.
    """

    cpu: dict[str, float]
    memory: dict[str, float]
    seconds: float
    events: int


@dataclass
class Bench:
    """The stack and how many journeys a round has."""

    stack: EmbeddedStack
    temporal: Client
    journeys: int
    environment: dict[str, str]

    async def ours(self) -> Measured:
        """Measure one round of our journey: events over HTTP, dispatch, policy, outbox and all."""
        port = free_port()
        async with (
            self._process("worker", "bench.processes", "worker") as worker,
            self._process("api", "bench.processes", "api", str(port)) as api,
            self._backend(port) as backend,
            asyncpg.create_pool(self.stack.database_url, min_size=1, max_size=1) as pool,
        ):
            await _answers(backend, "/readyz")
            users = [f"bench-{uuid4().hex}" for _ in range(self.journeys)]
            await self._introduce(backend, users)
            processes = {"worker": worker, "API": api, **self._shared()}
            before, began = _cpu(processes), time.monotonic()
            for user in users:
                call = {"messageId": uuid4().hex, "userId": user, "event": "round_begun", "properties": APPLICATION}
                (await backend.post("/v1/track", json=call)).raise_for_status()
            while await pool.fetchval(UNDER_WAY, users):
                assert time.monotonic() - began < 180, "the journeys do not end"
                await asyncio.sleep(0.25)
            sent = await pool.fetchval(SENT, users)
            assert sent == 2 * self.journeys, f"{sent} messages instead of {2 * self.journeys}"
            run = await pool.fetchval("select workflow_id from enrolments order by id desc limit 1")
            return await self._measured(processes, before, began, run)

    async def bare(self) -> Measured:
        """Measure one round of the bare workflow."""
        async with self._process("bare worker", "bench.bare") as worker:
            processes = {"worker": worker, **self._shared()}
            await asyncio.sleep(2)  # What a worker does once, at its start, is in neither round.
            before, began = _cpu(processes), time.monotonic()
            handles = [
                await self.temporal.start_workflow(
                    bare.Bare.run, number, id=f"bare-{uuid4().hex}", task_queue=bare.TASK_QUEUE
                )
                for number in range(self.journeys)
            ]
            for handle in handles:
                await handle.result()
            return await self._measured(processes, before, began, handles[0].id)

    def _backend(self, port: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=(self.stack.write_key, ""), timeout=30)

    async def _introduce(self, backend: httpx.AsyncClient, users: Sequence[str]) -> None:
        """Make the customers known, and both processes warm, before anything is measured."""
        for number, user in enumerate(users):
            traits = {"phone": f"+1415{5_550_000 + number % 9_999:07d}", "timezone": awake()}
            call = {"messageId": uuid4().hex, "userId": user, "traits": traits}
            (await backend.post("/v1/identify", json=call)).raise_for_status()

    def _shared(self) -> dict[str, psutil.Process]:
        return {
            "Temporal": psutil.Process(self.stack.pids[Part.TEMPORAL]),
            "PostgreSQL": psutil.Process(self.stack.pids[Part.POSTGRES]),
        }

    async def _measured(
        self, processes: dict[str, psutil.Process], before: dict[str, float], began: float, run: str
    ) -> Measured:
        seconds = time.monotonic() - began
        after = _cpu(processes)
        history = await self.temporal.get_workflow_handle(run).fetch_history()
        return Measured(
            cpu={name: (after[name] - before[name]) * 1000 / self.journeys for name in processes},
            memory={name: _memory(process) for name, process in processes.items()},
            seconds=seconds,
            events=len(history.events),
        )

    @contextlib.asynccontextmanager
    async def _process(self, name: str, module: str, *arguments: str) -> AsyncIterator[psutil.Process]:
        """Run a module while the context is open; what it says goes to a log beside the stack's."""
        with self.stack.log(name.replace(" ", "-")).open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *arguments, env=self.environment, stdout=log, stderr=log
            )
            try:
                yield psutil.Process(child.pid)
                assert child.returncode is None, f"{name} ended: see {self.stack.log(name)}"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
                await asyncio.wait_for(child.wait(), 40)


def awake() -> str:
    """A time zone in which it is the middle of the day, so that the policy lets everything pass."""
    offset = (13 - time.gmtime().tm_hour + 11) % 24 - 11
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


async def _answers(client: httpx.AsyncClient, path: str) -> None:
    for _ in range(300):
        with contextlib.suppress(httpx.HTTPError):
            if (await client.get(path)).is_success:
                return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{client.base_url}{path} does not answer")


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """CPU seconds so far by process, its children and those it has outlived included."""
    return {
        name: sum(sum(each.cpu_times()[:2]) for each in _family(process)) + sum(process.cpu_times()[2:4])
        for name, process in processes.items()
    }


def _memory(process: psutil.Process) -> float:
    return float(sum(each.memory_full_info().pss for each in _family(process))) / 1e6


def report(ours: Sequence[Measured], bare_rounds: Sequence[Measured], journeys: int) -> None:
    """Print both and the ratios, medians of the rounds."""

    def median(rounds: Sequence[Measured], name: str) -> float:
        return statistics.median(each.cpu.get(name, 0) for each in rounds)

    def total(rounds: Sequence[Measured]) -> float:
        return statistics.median(sum(each.cpu.values()) for each in rounds)

    def memory(rounds: Sequence[Measured]) -> float:
        return statistics.median(sum(each.memory.values()) for each in rounds)

    def pace(rounds: Sequence[Measured]) -> float:
        return statistics.median(journeys / each.seconds for each in rounds)

    table = Table(title=f"enter, wait 1 s, send, wait 1 s, condition, send, leave; N = {journeys}, {len(ours)} rounds")
    for heading in ("", "journeys", "bare workflow", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")

    def row(name: str, mine: float, theirs: float, digits: int = 1) -> None:
        ratio = f"{mine / theirs:.2f}" if theirs else ""
        table.add_row(name, f"{mine:.{digits}f}", f"{theirs:.{digits}f}" if theirs else "-", ratio)

    row("history events", ours[0].events, bare_rounds[0].events, 0)
    for name in ("worker", "API", "Temporal", "PostgreSQL"):
        row(f"CPU ms per journey: {name}", median(ours, name), median(bare_rounds, name))
    row("CPU ms per journey: all", total(ours), total(bare_rounds))
    row("journeys per second", pace(ours), pace(bare_rounds))
    row("memory, MB", memory(ours), memory(bare_rounds), 0)
    console.print(table)
    console.print("Both run one after the other in turn on this machine, so the ratios mean more than the figures.")


async def bench(journeys: int, rounds: int = ROUNDS) -> None:
    """Run the comparison and print it."""
    async with EmbeddedStack(Path("var/bench"), parts=[Part.POSTGRES, Part.TEMPORAL], durable=False) as stack:
        provider_port = free_port()
        environment = {**os.environ, **stack.environment, "TWILIO_BASE_URL": f"http://127.0.0.1:{provider_port}"}
        await asyncio.to_thread(migrate, stack.database_url)
        async with await open_pool(stack.database_url, size=1) as pool, pool.acquire() as connection:
            token = SecretStr(stack.write_key)
            backend = GivenKey(name="backend", scopes=[Scope.INGEST], token=token, rate=MOST, burst=MOST)
            await ensure(connection, "cli:bench", [backend])
        temporal = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
        subject = Bench(stack, temporal, journeys, environment)
        ours: list[Measured] = []
        bare_rounds: list[Measured] = []
        async with subject._process("provider", "bench.provider", str(provider_port)):
            for number in range(rounds):
                console.print(f"round {number + 1} of {rounds}")
                ours.append(await subject.ours())
                bare_rounds.append(await subject.bare())
    report(ours, bare_rounds, journeys)
