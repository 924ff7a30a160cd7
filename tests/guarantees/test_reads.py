"""What is asked with every callback reads a few rows, however many customers there are."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from domain.messages import Channel
from store import callbacks, consents, contact, timeline
from store.database import Connection
from tests.world import World

MANY = 20_000
ADDRESS = "person7@many.example"
PHONE = "+15550000007"


async def _lock(connection: Connection, _: int) -> None:
    await consents.lock(connection, message=uuid4(), address=ADDRESS.upper())


async def _customer_at(connection: Connection, _: int) -> None:
    assert await callbacks.customer_at(connection, PHONE) is not None


async def _answered(connection: Connection, _: int) -> None:
    await callbacks.answered(connection, Channel.WHATSAPP, PHONE, "SMnone")


async def _history(connection: Connection, customer: int) -> None:
    person = await contact.person(connection, customer)
    assert len(await consents.history(connection, person, None, 10)) == 1


async def _timeline(connection: Connection, customer: int) -> None:
    await timeline.page(connection, customer, timeline.Scope(), 20)


Asking = Callable[[Connection, int], Awaitable[None]]


@pytest.mark.parametrize("ask", [_lock, _customer_at, _answered, _history, _timeline])
async def test_nobody_else_is_read(world: World, ask: Asking) -> None:
    async with world.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(
                """
                insert into customers (email, phone)
                select 'Person' || each || '@many.example', '+1555' || lpad(each::text, 7, '0')
                from generate_series(1, $1) each
                """,
                MANY,
            )
            await connection.execute(
                """
                insert into consents (customer_id, address, channel, topic, given, source)
                select id, lower(email), 'email', '*', true, 'test' from customers where email like '%@many.example'
                """
            )
            await connection.execute("analyze customers, consents")
            customer = await connection.fetchval("select id from customers where phone = $1", PHONE)
            before = await _read(connection)
            await ask(connection, customer)
            assert await _read(connection) - before < 100
        finally:
            await transaction.rollback()


async def _read(connection: Connection) -> int:
    """Rows of the two large tables this transaction has read."""
    count: int = await connection.fetchval(
        """
        select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
        from pg_stat_xact_user_tables where relname in ('customers', 'consents')
        """
    )
    return count
