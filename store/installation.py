"""The installation's own row: its journey time. ``python -m store.installation`` begins it, or says why not."""

import asyncio
import sys
from datetime import UTC, datetime

from domain.clock import Clock
from settings import load
from store.database import Connection, open_pool


class SpeedChanged(Exception):
    """The installation began with another speed, and runs are under way in its journey time."""


async def begin(connection: Connection, speed: float) -> Clock:
    """Return the installation's clock; the first process to come starts it.

    Raises:
        SpeedChanged: It was started with another speed, and some stay is not over.
    """
    await connection.execute(
        "insert into installation (origin, speed) values ($1, $2) on conflict do nothing", datetime.now(UTC), speed
    )
    await connection.execute(
        """
        update installation set speed = $1, origin = now()
        where speed <> $1 and not exists (select from enrolments where ended_at is null)
        """,
        speed,
    )
    begun = await clock(connection)
    if begun.speed != speed:
        raise SpeedChanged(
            f"JOURNEYS_SPEED: this installation runs at speed {begun.speed:g} and customers are in journeys; "
            f"it cannot change to {speed:g} until they are out. Another data directory may have another speed."
        )
    return begun


async def clock(connection: Connection) -> Clock:
    """Return the installation's clock, which `begin` has started."""
    row = await connection.fetchrow("select origin, speed from installation")
    assert row is not None
    return Clock(origin=row["origin"], speed=row["speed"])


async def closed_runs_seen(connection: Connection) -> datetime | None:
    """Return when (wall) runs closed from outside were last looked for."""
    seen: datetime | None = await connection.fetchval("select closed_runs_seen from installation")
    return seen


async def saw_closed_runs(connection: Connection, at: datetime) -> None:
    """Record that runs closed from outside were looked for."""
    await connection.execute("update installation set closed_runs_seen = $1", at)


async def _begin() -> None:
    configuration = load()
    async with await open_pool(configuration.database_url, size=1) as pool, pool.acquire() as connection:
        await begin(connection, configuration.speed)


if __name__ == "__main__":
    try:
        asyncio.run(_begin())
    except SpeedChanged as error:
        sys.exit(str(error))
