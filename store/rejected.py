"""Calls of batches that were not accepted, kept to be looked at, mended and sent again."""

import json
import re
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from domain.calls import Rejection
from store.database import Connection

UNSTORABLE = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""What PostgreSQL answers to a value it will not take, however often it is sent."""

RAW_LIMIT = 64 * 1024
"""Most characters kept of a call that is kept as text."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The character U+0000 in JSON text; behind an escaped backslash, u0000 are just five letters."""

_FINDABLE = ("userId", "anonymousId", "previousId", "context")
"""By which an erasure finds a call, and a replay the calls that are its own."""


async def keep(connection: Connection, source: str, rejections: Sequence[Rejection], bodies: Sequence[Any]) -> None:
    """Keep rejected calls. A library that sends the whole batch again does not double them.

    A call that is no JSON object, or one jsonb cannot hold (U+0000, half a surrogate pair, NaN, nested too
    deep), is kept as its JSON text in ``raw``: at most `RAW_LIMIT` characters, None if too deep even for that.
    """
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
        [_kept(body) for body in bodies],
    )


def _kept(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        return {"raw": _text(body)}
    # The libraries repeat the write key in the body; it is not kept.
    body = {name: value for name, value in body.items() if name != "writeKey"}
    if _fits(body):
        return body
    return {"raw": _text(body), **{name: body[name] for name in _FINDABLE if name in body and _fits(body[name])}}


def _fits(value: object) -> bool:
    """Whether jsonb gives back what it is given."""
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return not _NUL.search(text.decode()) and bool(orjson.loads(text) == value)


def _text(body: object) -> str | None:
    try:
        text = json.dumps(body, ensure_ascii=False)
    except RecursionError:
        return None
    return text.encode(errors="backslashreplace").decode()[:RAW_LIMIT]


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
