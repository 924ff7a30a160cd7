"""`journeys segments`, as a person uses it."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from cli import segments
from tests.cli.conftest import Run
from tests.world import World


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments.console, "width", 250)


async def test_a_segment_is_written_looked_at_put_explained_and_deleted(world: World, run: Run, tmp_path: Path) -> None:
    city, name = uuid4().hex, f"s_{uuid4().hex[:10]}"
    person, _ = await world.person(city=city), [await world.person() for _ in range(2)]
    await person.does("listing_viewed")
    file = tmp_path / "locals.json"

    def write(times: int) -> None:
        form = {"all": [{"trait": "city", "is": city}, {"event": "listing_viewed", "at_least": times, "within": "P1D"}]}
        file.write_text(json.dumps({"name": name, "story": "From here.", "form": form}))

    write(1)
    seen = await run("segments", "preview", str(file))
    assert "1 of " in seen.said
    assert f"Some of them: {person.user_id}" in seen.said
    put = await run("segments", "put", str(file), "--note", "for the spring")
    assert put.code == 0, put.complained
    assert f"{name}: version 1" in put.said
    assert f"Scanned by segment-scan-{name}" in put.said
    assert f"{name} says this already: version 1" in (await run("segments", "put", str(file))).said
    write(7)
    assert f"{name}: version 2" in (await run("segments", "put", str(file), "--note", "more")).said
    shown = (await run("segments", "show", name)).said
    for word in ("From here. 0 members.", '"at_least": 7', "for the spring", "2*"):
        assert word in shown
    assert '"at_least": 1' in (await run("segments", "show", name, "--version", "1")).said
    assert f"{name} has no version 7" in (await run("segments", "show", name, "--version", "7")).complained
    why = (await run("segments", "explain", person.user_id, name)).said
    assert f"not in {name}, no member" in why
    assert f'✓ city is {city}: "{city}"' in why
    assert "✗ listing_viewed at least 7 times in 1 day: 1" in why
    assert f"{name}: version 3" in (await run("segments", "rollback", name, "1")).said
    assert "0 members" in (await run("segments", "size", name)).said
    assert name in (await run("segments", "list")).said
    busy = await run("segments", "evaluate", name)
    assert (busy.code, busy.complained) == (1, f"all customers are being looked at by {name} already\n")
    await world.temporal.get_workflow_handle(f"segment-scan-{name}").terminate()
    assert f"Begun: segment-scan-{name}" in (await run("segments", "evaluate", name)).said
    await world.temporal.get_workflow_handle(f"segment-scan-{name}").terminate()
    assert f"Deleted: {name}" in (await run("segments", "delete", name)).said
    gone = await run("segments", "show", name)
    assert gone.code == 1
    assert f"there is no segment {name}" in gone.complained


async def test_a_wrong_file_is_refused_with_what_is_wrong(run: Run, tmp_path: Path) -> None:
    missing = await run("segments", "put", str(tmp_path / "none.json"))
    assert (missing.code, "No such file" in missing.complained) == (1, True)
    file = tmp_path / "wrong.json"
    for text, complaint in (
        ("{", "must be JSON in UTF-8"),
        ('{"name": "x"}', "must have name, story and form"),
        (
            '{"name": "x", "story": "", "form": {"any": [{"event": "a", "within": "a week"}]}}',
            "form.any.0.within: must be an ISO 8601 duration",
        ),
    ):
        file.write_text(text)
        refused = await run("segments", "put", str(file))
        assert refused.code == 1
        assert complaint in refused.complained
