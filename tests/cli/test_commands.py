"""Commands for a running installation and for its database."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from cli.installation import NoInstallation, find_access
from cli.stack.ports import free_port
from tests.cli.conftest import Run
from tests.world import World

BEGUN = ("--property", "filled=2", "--property", "total=40")


async def enrolled(run: Run, user: str, application: str) -> str:
    """Start a journey by hand and return the enrolment's number."""
    started = await run("start", "AbandonedApplication", user, "--property", f"application_id={application}", *BEGUN)
    assert started.code == 0, started.complained
    return started.said.split("enrolment ")[1].split(",")[0]


async def test_journeys_are_listed_with_what_starts_and_ends_them(run: Run) -> None:
    listed = await run("list", "--pack", "car_credit")
    assert listed.code == 0
    for word in (
        "AbandonedApplication",
        "credit_application_started",
        "application_id",
        "credit_application_submitted",
        "sends:     almost_empty (call, email, inbox, sms), partly_filled (push, email, inbox, sms)",
    ):
        assert word in listed.said


async def test_an_unknown_pack_is_refused_and_the_known_ones_are_named(run: Run) -> None:
    refused = await run("list", "--pack", "submarines")
    assert refused.code == 1
    assert "car_credit" in refused.complained


async def test_a_journey_is_started_shown_held_and_stopped_by_hand(world: World, run: Run) -> None:
    person = await world.person()
    number = await enrolled(run, person.user_id, "A-1")

    shown = await run("show", number)
    assert "Waits for 30 minutes of quiet" in shown.said

    assert "paused" in (await run("pause", number)).said
    assert "Paused" in (await run("show", number)).said
    again = await run("pause", number)
    assert (again.code, again.complained) == (1, "it is paused already\n")
    assert (await run("resume", number)).code == 0

    skipped = await run("skip-wait", number)
    assert "no longer waits for 30 minutes of quiet" in skipped.said

    assert (await run("stop", number)).code == 0
    assert "stopped" in (await run("show", number)).said
    refused = await run("resume", number)
    assert refused.code == 1
    assert "the journey is over" in refused.complained


async def test_a_user_is_shown_with_what_they_did_and_where_they_are(world: World, run: Run) -> None:
    person = await world.person()
    number = await enrolled(run, person.user_id, "A-7")
    shown = await run("show", person.user_id)
    assert "credit_application_started" in shown.said
    assert f"enrolment {number}" in shown.said
    assert "AbandonedApplication A-7" in shown.said


async def test_a_user_whose_id_is_a_number_is_asked_for_as_a_user(world: World, run: Run) -> None:
    user = str(uuid4().int)
    await world.tell({"userId": user}, "identify", datetime.now(UTC))
    await enrolled(run, user, "A-1")
    assert "credit_application_started" in (await run("show", user, "--user")).said


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["NoSuchJourney", "u-1"], "there is no journey NoSuchJourney"),
        (["AbandonedApplication", "u-1"], "properties.application_id"),
        (["AbandonedApplication", "nobody", "--property", "application_id=A", *BEGUN], "no such customer"),
        (["AbandonedApplication", "u-1", "--property", "application_id=A", "--property", "filled=many"], "filled"),
    ],
)
async def test_what_cannot_start_is_refused_in_one_line_that_names_the_field(
    run: Run, given: list[str], complaint: str
) -> None:
    refused = await run("start", *given)
    assert refused.code == 1
    assert complaint in refused.complained
    assert refused.complained.count("\n") == 1


async def test_a_second_start_of_the_same_application_is_refused_with_the_reason(world: World, run: Run) -> None:
    person = await world.person()
    await enrolled(run, person.user_id, "A-1")
    again = await run("start", "AbandonedApplication", person.user_id, "--property", "application_id=A-1", *BEGUN)
    assert again.code == 1
    assert "already in it" in again.complained


async def test_events_set_aside_are_listed_with_the_reason(world: World, run: Run) -> None:
    user, good = f"user-{uuid4().hex}", f"good-{uuid4().hex}"
    bad = f"bad-{uuid4().hex}"
    too_full = {"application_id": "A-1", "filled": 41, "total": 40}
    batch = [
        {
            "type": "track",
            "messageId": good,
            "userId": user,
            "event": "credit_application_progressed",
            "properties": too_full,
        },
        {"type": "track", "messageId": bad, "userId": user},
    ]
    async with httpx.AsyncClient(base_url=world.stack.api_url) as backend:
        answer = await backend.post("/v1/batch", json={"batch": batch}, auth=(world.stack.write_key, ""))
    assert (answer.json()["accepted"], len(answer.json()["rejected"])) == (1, 1)
    parked_at = "select parked_at is not null from events where message_id = $1"
    await world.until(lambda: world.pool.fetchval(parked_at, good), True)

    rejected = await run("events", "rejected")
    assert bad in rejected.said
    assert "event: is required" in rejected.said
    parked = await run("events", "parked")
    assert "filled must not exceed total" in parked.said


async def test_no_installation_named_and_none_running_here_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = await run("list", JOURNEYS_URL=None, JOURNEYS_OPERATOR_KEY=None)
    assert refused.code == 1
    assert "JOURNEYS_URL" in refused.complained
    assert "journeys up" in refused.complained


async def test_the_installation_that_runs_here_is_found_without_being_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "up").symlink_to(world.stack.data)
    for name in ("JOURNEYS_URL", "JOURNEYS_OPERATOR_KEY"):
        monkeypatch.delenv(name, raising=False)
    found = find_access()
    assert (found.url, found.operator_key) == (world.stack.api_url, world.stack.operator_key)
    assert world.stack.operator_key not in repr(found)


async def test_an_address_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNEYS_OPERATOR_KEY", raising=False)
    with pytest.raises(NoInstallation, match="JOURNEYS_OPERATOR_KEY must be set"):
        find_access("http://127.0.0.1:1")


async def test_a_wrong_key_and_a_deaf_installation_are_one_line_each(run: Run) -> None:
    wrong = await run("list", JOURNEYS_OPERATOR_KEY="wrong")
    assert (wrong.code, wrong.complained) == (1, "a valid key is required, as a bearer token\n")
    deaf = await run("list", JOURNEYS_URL=f"http://127.0.0.1:{free_port()}")
    assert deaf.code == 1
    assert "does not answer" in deaf.complained
    assert deaf.complained.count("\n") == 1


async def test_a_database_that_is_not_named_or_not_there_is_said_without_its_password(run: Run) -> None:
    unnamed = await run("keys", "list", DATABASE_URL="")
    assert unnamed.code == 1
    assert "DATABASE_URL must be set" in unnamed.complained
    away = await run("keys", "list", DATABASE_URL=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/x")
    assert away.code == 1
    assert "hunter2" not in away.complained
    assert away.complained.count("\n") == 1


async def test_an_empty_database_gets_its_schema(world: World, run: Run) -> None:
    url = await world.stack.create_database(f"fresh_{uuid4().hex[:8]}")
    bare = await run("keys", "list", DATABASE_URL=url)
    assert bare.code == 1
    assert "journeys migrate" in bare.complained
    assert (await run("migrate", DATABASE_URL=url)).code == 0
    assert (await run("keys", "list", DATABASE_URL=url)).code == 0
