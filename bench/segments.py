"""`journeys bench --segments N`: segments over N generated customers, by the API, with time and memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import psutil
from rich.console import Console
from rich.table import Table

from cli.stack import EmbeddedStack, Part

console = Console()

TOUCHED = 2_000
"""Customers who do something before the incremental look is timed."""

FORMS: dict[str, dict[str, Any]] = {
    "cold": {
        "any": [
            {"event": "listing_viewed", "at_least": 20, "within": "P14D"},
            {"event": "favourite_added", "at_least": 3, "within": "P14D"},
            {"event": "report_bought", "within": "P14D"},
        ]
    },
    "cold, changed": {
        "all": [
            {
                "any": [
                    {"event": "listing_viewed", "at_least": 10, "within": "P14D"},
                    {"event": "favourite_added", "at_least": 2, "within": "P14D"},
                    {"event": "report_bought", "within": "P14D"},
                ]
            },
            {"trait": "city", "one_of": ["Berlin", "Paris"]},
        ]
    },
    "quiet": {"event": "*", "not_within": "P30D"},
    "spenders": {"sum": "amount", "of": "deal_closed", "at_least": 1500, "within": "P365D"},
    "champions": {"coded": "rfm", "with": {"is": "champions", "event": "deal_closed", "amount": "amount"}},
}

# Drawn from numbers, so that the same customers come each time; only their times move with the present. Few do
# much and many do little; three of four were here within 30 days.
_GENERATE = (
    """
    create function draw(n bigint, of int) returns float8 language sql immutable parallel safe as $$
        select (hashint8extended(n, of) & 9223372036854775807)::float8 / 9223372036854775807
    $$
    """,
    """
    insert into customers (created_at, email, phone, locale, time_zone, traits)
    select now() - interval '730 days' * draw(n, 1),
           case when draw(n, 2) < 0.7 then 'customer' || n || '@example.com' end,
           case when draw(n, 3) < 0.8 then '+1415' || lpad(n::text, 7, '0') end,
           case when draw(n, 4) < 0.5 then 'en' else 'ru' end, 'Etc/UTC',
           jsonb_build_object(
               'city', (array['Berlin', 'Paris', 'Rome', 'Oslo', 'Wien'])[1 + floor(draw(n, 5) * 4.999)::int],
               'age', 18 + floor(draw(n, 6) * 60)::int)
    from generate_series(1, $1::bigint) n
    """,
    """
    insert into identities (kind, value, customer_id) select 'user', 'customer-' || id, id from customers
    """,
    """
    insert into events (customer_id, source, message_id, type, name, properties, "timestamp", received_at,
                        dispatched_at)
    select customer, 'bench', customer || '-' || place, case when kind < 0.3 then 'page' else 'track' end,
           case when kind < 0.30 then 'page_viewed' when kind < 0.75 then 'listing_viewed'
                when kind < 0.83 then 'favourite_added' when kind < 0.86 then 'report_bought'
                when kind < 0.89 then 'seller_called' when kind < 0.95 then 'deal_closed'
                else 'application_submitted' end,
           jsonb_build_object('amount', floor(draw(seed, 12) * 1000)::int), at, at, at
    from (
        select customer, place, customer * 1000 + place as seed, draw(customer * 1000 + place, 11) as kind,
               now() - interval '300 days' * power(draw(customer, 13), 5)
                     - interval '90 days' * power(draw(customer * 1000 + place, 14), 2) as at
        from generate_series(1, $1::bigint) customer,
             lateral generate_series(1, least(200, floor(-5 * ln(1 - draw(customer, 10)))::int)) place
    ) drawn
    """,
)


@dataclass
class Step:
    """Something that was done through the API, and what it cost."""

    name: str
    seconds: float
    told: str


@dataclass
class Peaks:
    """The most memory each process had, megabytes (proportional set size)."""

    processes: dict[str, int]
    most: dict[str, float] = field(default_factory=dict)
    now: dict[str, float] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look twice a second while the context is open."""

        async def watch() -> None:
            while True:
                for name, pid in self.processes.items():
                    self.now[name] = await asyncio.to_thread(memory, pid)
                    self.most[name] = max(self.most.get(name, 0.0), self.now[name])
                await asyncio.sleep(0.5)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])


def memory(pid: int) -> float:
    """Return what a process and its children have now, megabytes."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total / 1e6


async def generate(pool: asyncpg.Pool, customers: int) -> int:
    """Make customers and what they did, straight in PostgreSQL; return how many events that are."""
    async with pool.acquire() as connection:
        # Nobody is to be looked at for what is made here.
        await connection.execute("set session_replication_role = replica")
        for statement in _GENERATE:
            arguments = [customers] if "$1" in statement else []
            await connection.execute(statement, *arguments, timeout=3600)
        await connection.execute("set session_replication_role = default")
        await connection.execute("vacuum (analyze) customers", timeout=3600)
        await connection.execute("vacuum (analyze) events", timeout=3600)
        count: int = await connection.fetchval("select count(*) from events", timeout=600)
    return count


@dataclass
class Bench:
    """An installation, spoken to as operators and backends do."""

    http: httpx.AsyncClient
    pool: asyncpg.Pool
    write_key: str
    steps: list[Step] = field(default_factory=list)

    async def preview(self, name: str, *, exact: bool) -> None:
        """Ask how many a form would hold."""
        began = time.monotonic()
        answer = await self.http.post("/v1/segments/preview", json={"form": FORMS[name], "exact": exact})
        answer.raise_for_status()
        found = answer.json()
        told = f"{found['customers']:,}" + ("" if found["exact"] else f" ({found['least']:,} to {found['most']:,})")
        self._add(f"preview {name}{', exact' if exact else ''}", began, told)

    async def put(self, segment: str, form: str) -> None:
        """Define a segment, and wait until everybody was looked at by it."""
        began, after = time.monotonic(), await self._last()
        body = {"story": form, "form": FORMS[form], "confirm": True}
        (await self.http.put(f"/v1/segments/{segment}", json=body)).raise_for_status()
        self._add(f"put {form}", began, "answered")
        await self._scanned(f"scan {form}", after)

    async def evaluate(self, segment: str) -> None:
        """Have everybody looked at once more."""
        after = await self._last()
        (await self.http.post(f"/v1/segments/{segment}/evaluate")).raise_for_status()
        await self._scanned(f"scan {segment} again", after)

    async def look(self) -> None:
        """Let some do something, over HTTP, and wait until they were looked at by all segments."""
        calls = [
            {"type": "track", "messageId": uuid4().hex, "userId": f"customer-{number}", "event": "listing_viewed"}
            for number in range(1, TOUCHED + 1)
        ]
        began, after = time.monotonic(), await self._last()
        for place in range(0, TOUCHED, 500):
            body = {"batch": calls[place : place + 500]}
            (await self.http.post("/v1/batch", json=body, auth=(self.write_key, ""))).raise_for_status()
        self._add(f"{TOUCHED:,} events accepted", began, "over HTTP, 500 a batch")
        row = await self._found(
            """
            select extract(epoch from sum(finished_at - started_at))::float as seconds, sum(entered) as entered,
                   sum(departed) as departed, sum(examined) as examined
            from segment_evaluations where id > $1 and segment_id is null and finished_at is not null
            having sum(examined) >= $2
            """,
            after,
            TOUCHED,
        )
        told = f"{row['examined']:,} looked at by all segments, {row['entered']} entered, {row['departed']} left"
        self.steps.append(Step("look at those", row["seconds"], told))

    async def explain(self, segment: str) -> None:
        """Explain a hundred customers, one after the other."""
        began = time.monotonic()
        for number in range(1, 101):
            (await self.http.get(f"/v1/segments/{segment}/customers/customer-{number}")).raise_for_status()
        self._add(f"explain {segment}, one of 100", began, "over HTTP", of=100)

    async def _last(self) -> int:
        last: int = await self.pool.fetchval("select coalesce(max(id), 0) from segment_evaluations")
        return last

    async def _scanned(self, name: str, after: int) -> None:
        row = await self._found(
            """
            select extract(epoch from finished_at - started_at)::float as seconds, examined, entered, departed,
                   failed
            from segment_evaluations where id > $1 and segment_id is not null and finished_at is not null
            """,
            after,
        )
        assert row["failed"] is None, row["failed"]
        told = f"{row['examined']:,} looked at, {row['entered']:,} entered, {row['departed']:,} left"
        self.steps.append(Step(name, row["seconds"], told))

    async def _found(self, query: str, *arguments: object) -> asyncpg.Record:
        """Ask again until there is a row."""
        while True:
            if row := await self.pool.fetchrow(query, *arguments):
                return row
            await asyncio.sleep(0.2)

    def _add(self, name: str, began: float, told: str, *, of: int = 1) -> None:
        self.steps.append(Step(name, (time.monotonic() - began) / of, told))
        console.print(f"{name}: {self.steps[-1].seconds:.2f} s, {told}", highlight=False)


async def bench(customers: int) -> None:
    """Generate customers, and define, preview, change and evaluate segments over them."""
    parts = [Part.POSTGRES, Part.TEMPORAL, Part.API, Part.WORKER]
    async with (
        EmbeddedStack(Path("var/bench"), parts=parts, durable=False) as stack,
        asyncpg.create_pool(stack.database_url, min_size=1, max_size=2) as pool,
        httpx.AsyncClient(
            base_url=stack.api_url, timeout=120, headers={"Authorization": f"Bearer {stack.operator_key}"}
        ) as http,
    ):
        await pool.execute("delete from segments")
        began = time.monotonic()
        events = await generate(pool, customers)
        size = await pool.fetchval("select pg_size_pretty(pg_database_size(current_database()))")
        console.print(f"{customers:,} customers, {events:,} events, {size}: {time.monotonic() - began:.0f} s")
        subject = Bench(http, pool, stack.write_key)
        processes = {"worker": "worker-1", "API": Part.API, "PostgreSQL": Part.POSTGRES, "Temporal": Part.TEMPORAL}
        peaks = Peaks({name: stack.pids[part] for name, part in processes.items()})
        before = {name: memory(pid) for name, pid in peaks.processes.items()}
        async with peaks.watched():
            await subject.preview("cold", exact=False)
            await subject.preview("cold", exact=True)
            await subject.put("cold", "cold")
            await subject.put("cold", "cold, changed")
            await subject.put("quiet", "quiet")
            await subject.evaluate("quiet")
            await subject.put("spenders", "spenders")
            await subject.put("champions", "champions")
            await subject.look()
            await subject.explain("cold")
    table = Table(title=f"segments over {customers:,} customers and {events:,} events")
    for heading in ("", "seconds", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for step in subject.steps:
        table.add_row(step.name, f"{step.seconds:.2f}" if step.seconds >= 0.1 else f"{step.seconds:.4f}", step.told)
    for name, most in peaks.most.items():
        table.add_row(f"memory of {name}", "", f"{before[name]:.0f} MB before, {most:.0f} MB at the most")
    console.print(table)
