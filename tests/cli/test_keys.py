"""Keys and the audit log by command, against an API in a process of its own."""

from uuid import uuid4

import asyncpg
import pytest

from settings import PROJECT
from store.audit import operating_system_user
from tests.cli.conftest import Ended, Run
from tests.world import World


@pytest.fixture
def name() -> str:
    return f"desk-{uuid4().hex[:8]}"


async def made(run: Run, *arguments: str) -> str:
    ended = await run("keys", *arguments)
    assert ended.code == 0, ended.complained
    return ended.said.strip()


def row_of(listed: Ended, *words: str) -> str:
    (row,) = [line for line in listed.said.splitlines() if all(word in line for word in words)]
    return row


async def opens(run: Run, token: str) -> bool:
    return (await run("list", JOURNEYS_OPERATOR_KEY=token)).code == 0


async def test_a_key_opens_what_it_may_until_it_is_revoked(world: World, run: Run, name: str) -> None:
    token = await made(run, "create", name, "--scope", "read", "--rate", "50")
    assert token.startswith(f"{name}_")
    assert await opens(run, token)
    assert "lacks the scope operate" in (await run("stop", "1", JOURNEYS_OPERATOR_KEY=token)).complained

    listed = await run("keys", "list")
    assert token not in listed.said
    row = row_of(listed, name)
    assert "read" in row
    assert "50/s, 5000 at once" in row
    taken = await run("keys", "create", name, "--scope", "operate")
    assert taken.code == 1
    assert name in taken.complained

    assert (await run("keys", "revoke", name)).code == 0
    # The API is another process: it hears of it from the database.
    await world.until(lambda: opens(run, token), False)
    assert "revoked" in row_of(await run("keys", "list"), name)
    assert (await run("keys", "revoke", name)).code == 1
    assert (await run("keys", "rotate", name, "--overlap", "1h")).code == 1
    renewed = await made(run, "create", name, "--scope", "read")
    assert renewed != token
    assert await opens(run, renewed)
    assert not await opens(run, token)


async def test_a_key_is_rotated_with_an_overlap_and_its_use_is_shown(world: World, run: Run, name: str) -> None:
    old = await made(run, "create", name, "--scope", "read")
    assert "never" in row_of(await run("keys", "list"), name)
    new = await made(run, "rotate", name, "--overlap", "24h", "--expires-in", "90d")
    assert [await opens(run, token) for token in (old, new)] == [True, True]

    async def is_shown_as_used() -> bool:
        return "never" not in (await run("keys", "list")).said.split(name, 1)[1].split("\n")[0]

    await world.until(is_shown_as_used, True)
    rows = [line for line in (await run("keys", "list")).said.splitlines() if name in line]
    first = rows[0].split("│")[4].strip()
    assert (await run("keys", "revoke", name, "--token", first)).code == 0
    await world.until(lambda: opens(run, old), False)
    assert await opens(run, new)
    assert (await run("keys", "revoke", name, "--token", first)).code == 1

    newest = await made(run, "rotate", name, "--overlap", "0s")
    await world.until(lambda: opens(run, new), False)
    assert await opens(run, newest)


@pytest.mark.parametrize(
    "wrong",
    [
        ("create", "web:hook", "--scope", "read"),
        ("create", "a b", "--scope", "read"),
        ("create", "desk", "--scope", "everything"),
        ("create", "desk", "--scope", "read", "--rate", "0"),
        ("rotate", "desk", "--overlap", "soon"),
        ("rotate", "desk"),
        ("revoke", "desk", "--token", "0"),
    ],
)
async def test_what_makes_no_sense_is_refused(run: Run, wrong: tuple[str, ...]) -> None:
    refused = await run("keys", *wrong)
    assert refused.code == 2
    assert refused.complained


async def test_what_is_done_to_keys_is_in_the_audit_log_with_who_did_it(run: Run, name: str) -> None:
    token = await made(run, "create", name, "--scope", "read", "--expires-in", "30d")
    await made(run, "rotate", name, "--overlap", "2h")
    await made(run, "revoke", name)
    log = (await run("audit", "--actor", operating_system_user(), "--limit", "3")).said
    assert token not in log
    rows = [line for line in log.splitlines() if f"key {name}" in line]
    assert [action in row for action, row in zip(("revoke", "rotate", "create"), rows, strict=True)] == [True] * 3
    assert "overlap 2:00:00" in rows[1]
    assert "lifetime 30 days" in rows[2]
    assert all("done" in row for row in rows)


async def test_what_operators_do_by_command_is_in_the_audit_log(world: World, run: Run) -> None:
    person = await world.person()
    await person.begins()
    stay = (await person.enrolments())[0]
    assert (await run("stop", str(stay["id"]))).code == 0
    log = (await run("audit", "--action", "command_enrolment", "--limit", "1")).said
    assert f"number {stay['id']}, command stop" in log
    assert "operator" in log
    assert person.user_id not in log


async def test_each_migration_is_in_the_audit_log(world: World, run: Run) -> None:
    url = await world.stack.create_database(f"audited_{uuid4().hex[:8]}")
    assert (await run("migrate", DATABASE_URL=url)).code == 0
    assert (await run("migrate", DATABASE_URL=url)).code == 0
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "select actor, audit.detail->>'revision', answer from audit "
            "left join audit_answers on audit_id = id where action = 'migrate'"
        )
    finally:
        await connection.close()
    files = (PROJECT / "store" / "migrations" / "versions").glob("0*.py")
    # The first one makes the log.
    revisions = sorted(file.name[:4] for file in files)[1:]
    assert [tuple(row) for row in rows] == [(operating_system_user(), revision, "done") for revision in revisions]


async def test_there_is_nothing_to_tell_where_nothing_was_done(run: Run) -> None:
    assert (await run("audit", "--actor", "nobody-of-that-name")).said == "Nothing was done.\n"
