"""`journeys export`: whole, private, or not at all."""

import json
import stat
from pathlib import Path
from uuid import uuid4

from store.export import FORMAT, SECTIONS
from tests.cli.conftest import Run
from tests.world import World


async def test_everything_held_is_printed(world: World, run: Run) -> None:
    person = await world.person()
    await person.begins()
    printed = await run("export", person.user_id)
    assert printed.code == 0
    found = json.loads(printed.said)
    assert found["format"] == FORMAT
    assert SECTIONS.keys() <= found.keys()
    assert found["profile"][0]["email"] == person.email
    assert [row["name"] for row in found["events"]] == ["customer_identified", "credit_application_started"]


async def test_a_file_is_its_owners_alone_and_never_written_over(world: World, run: Run, tmp_path: Path) -> None:
    person, file = await world.person(), tmp_path / "export.json"
    written = await run("export", person.user_id, "--to", str(file))
    assert (written.code, written.said) == (0, "")
    assert json.loads(file.read_text())["profile"][0]["phone"] == person.phone
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    again = await run("export", person.user_id, "--to", str(file))
    assert again.code == 1
    assert "exists" in again.complained
    assert file.read_bytes() == before


async def test_of_nobody_no_file_is_left(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    refused = await run("export", f"nobody-{uuid4().hex}", "--to", str(file))
    assert (refused.code, refused.complained) == (1, "there is no such customer\n")
    assert not file.exists()


async def test_what_breaks_off_leaves_no_file(world: World, run: Run, tmp_path: Path) -> None:
    person, file = await world.person(), tmp_path / "export.json"
    # A late section cannot be read: the answer has begun, and ends in the middle.
    await world.pool.execute("alter table callbacks rename to callbacks_elsewhere")
    try:
        broken = await run("export", person.user_id, "--to", str(file))
    finally:
        await world.pool.execute("alter table callbacks_elsewhere rename to callbacks")
    assert broken.code == 1
    assert not file.exists()
