"""Calls of batches that were not accepted, kept to be looked at, mended and sent again."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from domain.calls import Rejection
from store.database import Connection


async def keep(connection: Connection, source: str, rejections: Sequence[Rejection], bodies: Sequence[Any]) -> None:
    """Keep rejected calls. A library that sends the whole batch again does not double them."""
    await connection.execute(
        """
        insert into rejected_events (source, message_id, field, rule, body)
        select $1, message_id, field, rule, body
        from unnest($2::text[], $3::text[], $4::text[], $5::jsonb[]) as r(message_id, field, rule, body)
        where message_id is null or not exists (
            select from rejected_events k where k.source = $1 and k.message_id = r.message_id and k.body = r.body
        )
        """,
        source,
        [each.message_id for each in rejections],
        [each.field for each in rejections],
        [each.rule for each in rejections],
        list(bodies),
    )


async def page(connection: Connection, before: int | None, limit: int) -> list[asyncpg.Record]:
    """Return rejected calls, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select * from rejected_events where $1::bigint is null or id < $1 order by id desc limit $2", before, limit
    )
    return rows


async def find(connection: Connection, id: int) -> asyncpg.Record | None:
    """Return one rejected call."""
    return await connection.fetchrow("select source, body from rejected_events where id = $1", id)


async def mark_resent(connection: Connection, id: int) -> None:
    """Record that a rejected call was sent again."""
    await connection.execute("update rejected_events set resent_at = now() where id = $1", id)
