"""A base of customers of its own, which a test fills and empties as it likes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from activities.segments import Segments
from cli.stack import EmbeddedStack
from domain.segments import Scan
from segments import form as forms
from store import customers, erasure, membership, segments
from store.customers import Tombstones
from store.database import Pool, open_pool
from store.migrate import migrate
from store.segments import NewVersion
from tests.segments.model import ORIGIN, Deed, Human
from workflows.catalog import Catalog


@dataclass
class Base:
    """Customers and segments, at a wall time the test says."""

    pool: Pool
    segments: Segments
    speed: float = 1
    numbers: list[int] = field(default_factory=list)

    async def begin(self, speed: float = 1) -> None:
        """Forget everybody and everything."""
        self.speed, self.numbers = speed, []
        tables = (
            *("segment_members", "segments", "segment_evaluations", "segment_looks", "segment_bases"),
            *(
                "provider_erasures",
                "erasures",
                "enrolments",
                "events",
                "devices",
                "identities",
                "customers",
                "segment_touches",
            ),
        )
        await self.pool.execute("; ".join(f"delete from {table}" for table in tables))
        await self.pool.execute(
            """
            insert into installation (origin, speed) values ($1, $2)
            on conflict (id) do update set origin = excluded.origin, speed = excluded.speed
            """,
            ORIGIN,
            speed,
        )

    async def meets(self, human: Human) -> int:
        """A customer comes, with their past."""
        number: int = await self.pool.fetchval(
            """
            insert into customers (created_at, email, phone, locale, time_zone, traits, speed, clock_origin)
            values ($1, $2, $3, $4, $5, $6, $7, case when $7::float8 is not null then $8::timestamptz end) returning id
            """,
            human.created_at,
            human.email,
            human.phone,
            human.locale,
            human.time_zone,
            human.traits,
            human.speed,
            ORIGIN,
        )
        await self.does(number, human.deeds)
        for _ in range(human.devices):
            await self.pool.execute("insert into devices (token, customer_id) values ($1, $2)", uuid4().hex, number)
        self.numbers.append(number)
        return number

    async def does(self, number: int, deeds: Sequence[Deed]) -> None:
        """A customer does something."""
        await self.pool.executemany(
            """
            insert into events (customer_id, source, message_id, type, name, properties, "timestamp", received_at,
                                dispatched_at)
            values ($1, $2, $3, $4, $5, $6, $7, $7, $7)
            """,
            [
                (number, deed.source, uuid4().hex, deed.type, deed.name, dict(deed.properties), deed.at)
                for deed in deeds
            ],
        )

    async def defines(self, name: str, form: Mapping[str, Any]) -> None:
        """Somebody puts a segment."""
        async with self.pool.acquire() as connection, connection.transaction():
            await segments.lock_definitions(connection)
            await segments.put(connection, NewVersion(name, "", forms.read(form), "api", "tests"))

    async def found(self, form: Mapping[str, Any], now: datetime) -> set[int]:
        """Who is in by a form, though nobody has put it."""
        async with self.pool.acquire() as connection:
            definitions = await segments.load(connection)
            return set(await membership.inside(connection, forms.read(form), definitions, self.numbers, now))

    async def works_out(self, form: Mapping[str, Any], now: datetime) -> None:
        """What SQL in the code rests on is worked out."""
        async with self.pool.acquire() as connection:
            definitions = await segments.load(connection)
            await membership.work_out_bases(connection, forms.read(form), definitions.forms, now, fresh=timedelta(0))

    async def explained(self, form: Mapping[str, Any], number: int, now: datetime) -> membership.Explained:
        """What each condition says of one customer."""
        async with self.pool.acquire() as connection:
            definitions = await segments.load(connection)
            return await membership.explain(connection, forms.read(form), definitions, number, now)

    async def members(self, name: str) -> set[int]:
        """Who is a member."""
        rows = await self.pool.fetch(
            "select customer_id from segment_members m join segments s on s.id = m.segment_id where name = $1", name
        )
        return {row["customer_id"] for row in rows}

    async def looks(self, now: datetime, limit: int = 1000) -> int:
        """Whoever something happened to is looked at, and whom time may have moved; how many that were."""
        examined, more = 0, True
        while more:
            count, more = await self.segments.look(now, limit)
            examined += count
        return examined

    async def scans(self, name: str, now: datetime, page: int = 1000) -> tuple[int, int, int]:
        """Everybody is looked at: how many were, have entered, have left."""
        evaluation = await self.segments.begin_scan(Scan(segment=name), now)
        assert evaluation
        while not (progress := await self.segments.scan_page(evaluation, now, page)).over:
            pass
        return progress.examined, progress.entered, progress.departed

    async def told(self, number: int) -> list[tuple[str, str]]:
        """Which segments a customer has entered and left, by their events."""
        rows = await self.pool.fetch(
            "select name, properties ->> 'segment' from events where customer_id = $1 and type = 'segment' order by id",
            number,
        )
        return [(row[0].removeprefix("segment_"), row[1]) for row in rows]

    async def erases(self, number: int) -> None:
        """A customer is forgotten."""
        async with self.pool.acquire() as connection, connection.transaction():
            await customers.lock(connection, [number])
            await erasure.erase(connection, number, Tombstones(b"salt"), "tests", datetime.now(UTC))
        self.numbers.remove(number)

    async def merges(self, loser: int, winner: int) -> None:
        """Two customers turn out to be one."""
        async with self.pool.acquire() as connection, connection.transaction():
            await customers.lock(connection, [loser, winner])
            await customers.merge(connection, loser, winner)
        self.numbers.remove(loser)


@pytest.fixture(scope="session")
async def own_base(stack: EmbeddedStack) -> AsyncIterator[Base]:
    """Made once."""
    url = await stack.create_database("segments")
    await asyncio.to_thread(migrate, url)
    async with await open_pool(url, size=5) as pool:
        yield Base(pool, Segments(pool, Catalog.of(())))


@pytest.fixture
async def base(own_base: Base) -> Base:
    """Without anybody."""
    await own_base.begin()
    return own_base


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
