"""Whatever is killed in the middle of a scan of all customers, everybody who belongs there enters, and enters once."""

import asyncio
from pathlib import Path

import asyncpg
import httpx
import pytest

from bench.segments import generate
from cli.stack import EmbeddedStack, Part

CUSTOMERS = 12_000
PARTS = [Part.POSTGRES, Part.TEMPORAL, Part.API, Part.WORKER]
KILLED = (Part.POSTGRES, Part.TEMPORAL, "worker-1")
REACHABLE = {"story": "Whoever can be reached by email.", "form": {"has": "email"}, "confirm": True}


async def fetch(stack: EmbeddedStack, query: str) -> list[asyncpg.Record]:
    """Ask by a connection of its own: none outlives the server it was made to."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(query)
        return rows
    finally:
        await connection.close()


SCANS = "select e.* from segment_evaluations e join segments s on s.id = e.segment_id where s.name = 'reachable'"


async def scan_at(stack: EmbeddedStack, entered: int) -> asyncpg.Record:
    """Wait until so many have entered, or it is over, and return how the scan stands."""
    while True:
        scans = await fetch(stack, SCANS)
        assert len(scans) <= 1
        if scans and (scans[0]["entered"] >= entered or scans[0]["finished_at"]):
            return scans[0]
        await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
async def test_a_scan_goes_on_exactly_whatever_is_killed_in_its_middle(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts=PARTS) as stack:
        async with asyncpg.create_pool(stack.database_url, min_size=1, max_size=1) as pool:
            # Those of the release would be scanned beside it; they come back with the next worker.
            await pool.execute("delete from segments")
            await generate(pool, CUSTOMERS)
            belong: int = await pool.fetchval("select count(*) from customers where email is not null")
        headers = {"Authorization": f"Bearer {stack.operator_key}"}
        async with httpx.AsyncClient(base_url=stack.api_url, headers=headers, timeout=30) as http:
            (await http.put("/v1/segments/reachable", json=REACHABLE)).raise_for_status()
        for place, part in enumerate(KILLED, 1):
            standing = await scan_at(stack, entered=place * belong // 5)
            assert standing["finished_at"] is None, f"the scan was over before {part} could be killed"
            await stack.kill(part)
            await stack.start_part(part)
        over = await scan_at(stack, entered=belong + 1)
        (told,) = await fetch(
            stack,
            """
            select count(*) as events, count(distinct e.customer_id) as customers,
                   count(*) filter (where c.email is null) as strangers,
                   (select count(*) from segment_members m join segments s on s.id = m.segment_id
                    where s.name = 'reachable') as members
            from events e join customers c on c.id = e.customer_id
            where e.name like 'segment\\_%' and e.properties ->> 'segment' = 'reachable'
            """,
        )
    assert (over["failed"], over["examined"]) == (None, CUSTOMERS)
    assert (over["entered"], over["departed"]) == (belong, 0)
    assert dict(told) == {"events": belong, "customers": belong, "strangers": 0, "members": belong}
