"""`journeys attribution`, `journeys effect` and `journeys segments audience`, as a person uses them."""

from pathlib import Path
from uuid import uuid4

from tests.cli.conftest import Run
from tests.world import World


async def test_what_messages_brought_is_told(world: World, run: Run) -> None:
    event = f"submitted_{uuid4().hex[:10]}"
    person = await world.person()
    await person.does(event, application_id="A-1", dispatched=False)
    told = await run("attribution", event, "--key", "application_id", "--since", "2026-01-01")
    assert told.code == 0, told.complained
    assert "1 in all, 0 by messages, 0.0%" in told.said
    missing = await run("attribution", event, "--follows", "begun")
    assert (missing.code, "key: is required with follows" in missing.complained) == (1, True)


async def test_a_journey_is_compared_with_those_it_leaves_out(run: Run) -> None:
    told = await run("effect", "RefusedByBank", "--within", "7", "--since", "2100-01-01")
    assert told.code == 0, told.complained
    assert "treated: 0 of 0 came" in told.said
    assert "Nothing to compare yet" in told.said
    unknown = await run("effect", "Nobodys")
    assert (unknown.code, "there is no journey Nobodys" in unknown.complained) == (1, True)


async def test_an_audience_is_written_whole_for_its_owner_alone(world: World, run: Run, tmp_path: Path) -> None:
    name, file = f"s_{uuid4().hex[:10]}", tmp_path / "audience.csv"
    await world.person()
    await world.pool.execute(
        """
        with made as (insert into segments (name, version, scanned_at) values ($1, 1, now()) returning id),
        worded as (
            insert into segment_versions (segment_id, version, story, form, origin, author)
            select id, 1, '', '{"has": "email"}', 'api', 'tests' from made
        )
        insert into segment_members (segment_id, customer_id, entered_at)
        select made.id, c.id, now() from made, (select id from customers order by id desc limit 1) c
        """,
        name,
    )
    told = await run("segments", "audience", name, "--for", "google", "--to", str(file))
    assert told.code == 0, told.complained
    assert f"1 members: 1 written to {file}, 0 without email and phone" in told.said
    assert file.read_text().startswith("Email,Phone\n")
    assert file.stat().st_mode & 0o777 == 0o600
    again = await run("segments", "audience", name, "--for", "google", "--to", str(file))
    assert (again.code, "File exists" in again.complained) == (1, True)
