"""`journeys bench --campaign N`: a campaign to N customers beside journeys, killed in the middle."""

import asyncio
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from rich.console import Console
from rich.table import Table

from bench.run import APPLICATION, awake
from bench.segments import Peaks, memory
from cli.stack import EmbeddedStack, Part, Programs, postgres

DATA = Path("var/bench-campaign")

NAME, SEGMENT, TEXT = "bench", "bench_audience", "campaigns/bench"

EVERY = 1.0
"""Wall seconds between two journeys that begin, alone and beside the campaign."""

ALONE_FOR = 90.0
"""Wall seconds in which journeys have the machine to themselves."""

BESIDE_FOR = 180.0
"""Wall seconds from the campaign's beginning in which journeys are measured beside it, before anything is killed."""

KILLS = ((0.4, "worker-1"), (0.6, Part.TEMPORAL), (0.8, Part.POSTGRES))
"""By which share of the recipients what is killed."""

PATIENCE = 300.0
"""Wall seconds without progress after which it is given up."""

console = Console()

_CUSTOMERS = """
    with made as (
        insert into customers (phone, locale, time_zone, traits)
        select $2 || lpad(n::text, 7, '0'), 'en', $3, jsonb_build_object('audience', $4::text)
        from generate_series(1, $1::bigint) n returning id, phone
    )
    insert into identities (kind, value, customer_id) select 'user', phone, id from made
"""

_LATENCIES = """
    select extract(epoch from m.accepted_at - e.received_at)::float
    from events e join customers c on c.id = e.customer_id join messages m on m.customer_id = c.id
    where e.message_id = any($1) and m.accepted_at is not null
"""


@dataclass
class Journeys:
    """Journeys that begin one after the other and send at once; how long each took from its event to the send."""

    http: httpx.AsyncClient
    pool: asyncpg.Pool
    write_key: str
    begun: int = 0

    async def begin_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> list[float]:
        """Begin journeys for a while, and return seconds from event to accepted message, sorted.

        Args:
            seconds: How long at the most.
            until: Whether to end before.
        """
        events: list[str] = []
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline and not until():
            self.begun += 1
            events.append(await self._begin(f"+1416{self.begun:07d}"))
            await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - now)))
        while True:
            found = await self.pool.fetch(_LATENCIES, events)
            if len(found) == len(events):
                return sorted(row[0] for row in found)
            assert time.monotonic() < deadline + PATIENCE, f"{len(events) - len(found)} journeys did not send"
            await asyncio.sleep(0.5)

    async def _begin(self, user: str) -> str:
        call = {"messageId": uuid4().hex, "userId": user, "event": "customer_called", "properties": APPLICATION}
        (await self.http.post("/v1/track", json=call, auth=(self.write_key, ""))).raise_for_status()
        return str(call["messageId"])


@dataclass
class Campaign:
    """The campaign as it is seen from outside."""

    stack: EmbeddedStack
    http: httpx.AsyncClient
    peaks: Peaks
    done: int = 0
    seen: list[tuple[float, int, float]] = field(default_factory=list)

    async def prepare(self, recipients: int) -> None:
        """Publish its text, define its segment, keep it, and print what it would do."""
        version = {"source": "---\n---\nWinter tyres are here: {{ site }}/tyres", "note": None}
        text = f"/v1/texts/{TEXT}/sms/en/versions"
        number = (await self._ask("POST", text, version))["number"]
        await self._ask("POST", f"{text}/{number}/publish")
        segment = {"story": "All.", "form": {"trait": "audience", "is": SEGMENT}, "confirm": True}
        await self._ask("PUT", f"/v1/segments/{SEGMENT}", segment)
        form = {
            "name": NAME,
            "segment": SEGMENT,
            "cascade": [{"channel": "sms", "template": TEXT}],
            "rate_per_second": 1000,
        }
        await self._ask("PUT", f"/v1/campaigns/{NAME}", form)
        while True:
            if (await self._ask("GET", f"/v1/segments/{SEGMENT}"))["scanned_at"]:
                break
            await asyncio.sleep(1)
        began = time.monotonic()
        dry = await self._ask("GET", f"/v1/campaigns/{NAME}/dry")
        console.print(f"dry count: {dry['members']:,} in {time.monotonic() - began:.1f} s", highlight=False)

    async def start(self) -> None:
        """Start it."""
        await self._ask("POST", f"/v1/campaigns/{NAME}/start", {"confirm": True})

    async def watch(self) -> None:
        """Follow it to its end, and kill what is to be killed on the way.

        Raises:
            TimeoutError: It does not get on.
        """
        kills, last = list(KILLS), time.monotonic()
        while True:
            try:
                told = await self._ask("GET", f"/v1/campaigns/{NAME}/progress")
            except httpx.HTTPError:
                told = None  # Something was killed a moment ago.
            if told:
                done = sum(told["done"].values())
                now = time.monotonic()
                last = now if done > self.done or told["status"] == "planning" else last
                self.done = done
                self.seen.append((now, done, self.peaks.now.get("worker", 0.0)))
                if told["ended_at"]:
                    return
                if kills and told["planned_at"] and done >= kills[0][0] * told["planned"]:
                    await self._kill(kills.pop(0)[1])
            if time.monotonic() - last > PATIENCE:
                raise TimeoutError(f"the campaign does not get on: {told}")
            await asyncio.sleep(0.5)

    async def _kill(self, part: str) -> None:
        console.print(f"kill -9 of {part} after {self.done:,}")
        await self.stack.kill(part)
        await asyncio.sleep(1)
        await self.stack.start_part(part)
        self.peaks.processes = watched(self.stack)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.http.request(method, path, json=body)
        if answer.is_client_error:
            raise AssertionError(answer.text)
        return answer.raise_for_status().json()


def watched(stack: EmbeddedStack) -> dict[str, int]:
    """Return the processes whose memory is looked at."""
    parts = {"worker": "worker-1", "API": Part.API, "PostgreSQL": Part.POSTGRES, "Temporal": Part.TEMPORAL}
    return {name: stack.pids[part] for name, part in parts.items() if part in stack.pids}


async def effects(sandbox: httpx.AsyncClient, prefix: str) -> Counter[str]:
    """Return how many messages each phone really got, by the providers' own ledger."""
    counted: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        page = (await sandbox.get("/_sandbox/ledger", params={"after": after, "limit": 1000})).raise_for_status().json()
        counted.update(entry["address"] for entry in page["entries"] if entry["address"].startswith(prefix))
        after = page["next_after"]
    return counted


async def bench(recipients: int) -> None:
    """Run journeys alone, then beside a campaign that is killed three times, and print what came of it."""
    _clear()
    programs = Programs(api="bench.processes:create_app", worker=("-m", "bench.processes", "worker"))
    async with (
        EmbeddedStack(DATA, durable=True, programs=programs) as stack,
        asyncpg.create_pool(stack.database_url, min_size=0, max_size=2, timeout=10) as pool,
        httpx.AsyncClient(
            base_url=stack.api_url, timeout=60, headers={"Authorization": f"Bearer {stack.operator_key}"}
        ) as http,
        httpx.AsyncClient(base_url=stack.sandbox_url, timeout=60) as sandbox,
    ):
        async with pool.acquire() as connection:
            # Nobody is to be looked at for what is made here.
            await connection.execute("set session_replication_role = replica")
            await connection.execute(_CUSTOMERS, recipients, "+1415", awake(), SEGMENT, timeout=600)
            await connection.execute(_CUSTOMERS, 10_000, "+1416", awake(), "journeys", timeout=600)
            await connection.execute("set session_replication_role = default")
            await connection.execute("vacuum (analyze) customers")
        # Callbacks are another load, and come when the recipients' phones are on, not while it sends.
        (await sandbox.put("/_sandbox/callbacks", json={"delay_seconds": 86_400})).raise_for_status()
        peaks = Peaks(watched(stack))
        journeys, campaign = Journeys(http, pool, stack.write_key), Campaign(stack, http, peaks)
        await campaign.prepare(recipients)
        await journeys.begin_for(10)  # so that nobody is measured cold
        before = {name: memory(pid) for name, pid in peaks.processes.items()}
        alone = await journeys.begin_for(ALONE_FOR)
        async with peaks.watched():
            began = time.monotonic()
            await campaign.start()
            watching = asyncio.create_task(campaign.watch())
            beside = await journeys.begin_for(
                BESIDE_FOR, until=lambda: watching.done() or campaign.done >= KILLS[0][0] * recipients
            )
            await watching
            seconds = time.monotonic() - began
        got = await effects(sandbox, "+1415")
        report(recipients, seconds, campaign, got, alone, beside)
        _report_memory(peaks, before, campaign)
    _clear()


def _clear() -> None:
    """Remove the data of an earlier run; its logs stay until the next."""
    postgres.forget(DATA)
    for path in DATA.iterdir() if DATA.exists() else ():
        if path.is_dir() and path.name != "logs":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def report(
    recipients: int,
    seconds: float,
    campaign: Campaign,
    got: Counter[str],
    alone: Sequence[float],
    beside: Sequence[float],
) -> None:
    """Print what came of the campaign, and what journeys noticed of it."""
    table = Table(title=f"a campaign of {recipients:,}, with kill -9 of {', '.join(part for _, part in KILLS)}")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("seconds, kills included", f"{seconds:.0f}")
    table.add_row("messages per second, kills included", f"{recipients / seconds:.0f}")
    table.add_row("messages per second before the first kill", f"{_pace(campaign.seen, KILLS[0][0] * recipients):.0f}")
    table.add_row("doubled", str(sum(count > 1 for count in got.values())))
    table.add_row("missed", str(recipients - len(got)))
    table.add_row("a journey's event to its message, alone: median, 95 %", _told(alone))
    table.add_row("the same beside the campaign", _told(beside))
    ratio = statistics.median(beside) / statistics.median(alone)
    table.add_row("beside / alone: median, 95 %", f"{ratio:.2f}, {_most(beside) / _most(alone):.2f}")
    console.print(table)


def _report_memory(peaks: Peaks, before: dict[str, float], campaign: Campaign) -> None:
    table = Table("memory, MB", "before", "at the most")
    for name, most in peaks.most.items():
        table.add_row(name, f"{before[name]:.0f}", f"{most:.0f}")
    console.print(table)
    tenths = [
        next((f"{megabytes:.0f}" for _, done, megabytes in campaign.seen if done >= share * campaign.done / 10), "")
        for share in range(1, 11)
    ]
    console.print(f"the worker's at each tenth of the recipients: {', '.join(tenths)}", highlight=False)


def _pace(seen: Sequence[tuple[float, int, float]], until: float) -> float:
    sending = [(at, done) for at, done, _ in seen if 0 < done < until]
    if len(sending) < 2:
        return 0.0
    (first, least), (last, most) = sending[0], sending[-1]
    return (most - least) / (last - first)


def _told(latencies: Sequence[float]) -> str:
    return f"{statistics.median(latencies) * 1000:.0f} ms, {_most(latencies) * 1000:.0f} ms (of {len(latencies)})"


def _most(latencies: Sequence[float]) -> float:
    """Return what 95 of 100 do not exceed."""
    return latencies[int(len(latencies) * 0.95)]
