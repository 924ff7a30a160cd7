"""The connection pool; JSON columns are Python objects on both sides."""

import asyncpg
import orjson

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Pool = asyncpg.Pool

AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""How it shows that the database cannot be used, time-outs included.

`InternalClientError` is what a pooled connection raises that the server closed while it lay idle.
"""


def _encode(value: object) -> str:
    return orjson.dumps(value).decode()


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=_encode, decoder=orjson.loads, schema="pg_catalog")


async def _leave(_: Connection) -> None:
    """Give a connection back as it is.

    Nothing here sets anything for longer than its transaction, so there is nothing to undo; what asyncpg would undo
    by itself costs a round trip each time, as much as a decision's own statements.
    """


async def open_pool(url: str, *, size: int = 10) -> Pool:
    """Open a pool.

    Args:
        url: ``postgresql://…``.
        size: Most connections it may hold.

    Raises:
        OSError, asyncpg.PostgresError: The database cannot be reached or refuses us.
    """
    pool = await asyncpg.create_pool(
        url, min_size=1, max_size=size, init=_prepare, reset=_leave, command_timeout=15, timeout=5
    )
    assert pool is not None
    return pool
