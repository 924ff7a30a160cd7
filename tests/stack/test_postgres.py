"""The database of the embedded stack: private, and whole after every kind of end."""

import asyncio
import contextlib
import os
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from cli.stack import EmbeddedStack, Part
from cli.stack.ports import free_port
from cli.stack.postgres import Postgres


async def _write(url: str, number: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
    await connection.execute("INSERT INTO kept VALUES ($1)", number)
    await connection.close()


async def _read(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT number FROM kept ORDER BY number")
    await connection.close()
    return [row["number"] for row in rows]


async def test_a_killed_server_comes_back_with_what_it_had_committed(database: EmbeddedStack) -> None:
    await _write(database.database_url, 1)
    await database.kill("postgres")
    with pytest.raises(ConnectionError):
        await asyncpg.connect(database.database_url)
    await database.start_part("postgres")
    assert await _read(database.database_url) == [1]


async def test_a_server_starts_only_when_the_backends_of_the_killed_one_are_gone(database: EmbeddedStack) -> None:
    await _write(database.database_url, 1)
    busy = await asyncpg.connect(database.database_url)
    backend = psutil.Process(await busy.fetchval("SELECT pg_backend_pid()"))
    # Computing, it does not notice that its server has died.
    query = asyncio.create_task(
        busy.fetchval("SELECT count(*) FROM {0} a, {0} b, {0} c".format("generate_series(1, 100000)"))
    )
    while (await _activity(database.database_url, backend.pid)) != "active":
        pass

    await database.kill("postgres")
    assert backend.is_running()
    await database.start_part("postgres")

    assert not backend.is_running()
    assert await _read(database.database_url) == [1]
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        await query


async def _activity(url: str, pid: int) -> str | None:
    connection = await asyncpg.connect(url)
    state: str | None = await connection.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
    await connection.close()
    return state


async def test_a_server_that_was_left_running_gives_way(tmp_path: Path) -> None:
    def server(log: str) -> Postgres:
        return Postgres(tmp_path, port=free_port(), password="word", durable=True, log=tmp_path / log)

    left = server("left.log")
    await left.start()
    await _write(left.url(), 1)
    present = server("present.log")
    await present.start()
    try:
        assert left.pid is None
        assert await _read(present.url()) == [1]
    finally:
        await present.stop()


async def test_a_lasting_stack_goes_on_with_the_data_and_keys_of_the_first(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as first:
        await _write(first.database_url, 1)
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as second:
        await _write(second.database_url, 2)
        assert await _read(second.database_url) == [1, 2]
    assert (second.write_key, second.operator_key) == (first.write_key, first.operator_key)
    assert second.environment["JOURNEYS_SECRET"] == first.environment["JOURNEYS_SECRET"]


async def test_a_stack_for_once_begins_empty(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}, durable=False) as first:
        await _write(first.database_url, 1)
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}, durable=False) as second:
        with pytest.raises(asyncpg.UndefinedTableError):
            await _read(second.database_url)


async def test_initialisation_that_was_interrupted_begins_again(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}):
        cluster = (tmp_path / "postgres").resolve() / "cluster"
    cluster.rename(cluster.with_name("cluster.unfinished"))
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as stack:
        await _write(stack.database_url, 1)
        assert await _read(stack.database_url) == [1]


async def test_nobody_gets_in_without_the_password(database: EmbeddedStack) -> None:
    address = database.database_url.split("@")[1]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://journeys:wrong@{address}")


async def test_it_listens_on_the_loopback_interface_and_nowhere_else(database: EmbeddedStack) -> None:
    server = psutil.Process(database.pids["postgres"])
    listening = [one for one in server.net_connections("all") if one.status == psutil.CONN_LISTEN or one.family == 1]
    assert {one.laddr.ip for one in listening} == {"127.0.0.1"}


async def test_its_files_are_private_and_private_directories_stay_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as stack:
        home = (tmp_path / "postgres").resolve()
        owner = psutil.Process(stack.pids["postgres"]).uids().effective
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        assert owner == home.stat().st_uid
        assert owner != 0
        # Root's server runs as nobody, outside the directory nobody may enter.
        assert home.is_relative_to(tmp_path.resolve()) == (os.geteuid() != 0)


async def test_errors_of_statements_leave_no_personal_data_in_the_log(database: EmbeddedStack) -> None:
    connection = await asyncpg.connect(database.database_url)
    await connection.execute("CREATE TABLE customers (email text UNIQUE)")
    await connection.execute("INSERT INTO customers VALUES ('ann@example.com')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO customers VALUES ('ann@example.com')")
    await connection.close()
    assert "ready to accept connections" in database.log("postgres").read_text()
    assert "ann@example.com" not in database.log("postgres").read_text()
