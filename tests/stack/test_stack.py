"""The stack as a whole: who may start it, where, and with which secrets."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from cli.stack import AlreadyRunning, EmbeddedStack, Part, PartDied, Ports, PortTaken, StackError
from cli.stack.processes import ProcessList
from tests.stack.conftest import Keep


async def test_the_second_stack_on_a_data_directory_is_refused(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as first:
        with pytest.raises(AlreadyRunning, match=f"in use by process {os.getpid()}"):
            async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}):
                pass
        assert psutil.pid_exists(first.pids["postgres"])


async def test_a_stack_that_was_refused_frees_the_data_directory(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortTaken):
        async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}, ports=Ports(api=taken.getsockname()[1])):
            pass
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as stack:
        assert stack.pids


@pytest.mark.parametrize(
    ("part", "option", "variable"),
    [
        ("api", "--api-port", "JOURNEYS_API_PORT"),
        ("ui", "--ui-port", "JOURNEYS_UI_PORT"),
        ("sandbox", "--sandbox-port", "JOURNEYS_SANDBOX_PORT"),
    ],
)
async def test_a_taken_port_is_named_with_what_moves_it(tmp_path: Path, part: str, option: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"{port}.* is taken.*{option} or {variable}"):
            async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}, ports=Ports(**{part: port})):
                pass


async def test_secrets_are_for_their_owner_only_and_in_no_log(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES, Part.TEMPORAL}) as stack:
        secrets_file = tmp_path / "secrets.json"
        assert stat.S_IMODE(secrets_file.stat().st_mode) == 0o600
        logs = "".join(log.read_text() for log in (tmp_path / "logs").iterdir())
        commands = " ".join(arg for pid in stack.pids.values() for arg in psutil.Process(pid).cmdline())
        kept = json.loads(secrets_file.read_text())
        for secret in (kept["database_password"], kept["link_secret"], stack.write_key, stack.operator_key):
            assert secret not in logs
            assert secret not in commands


async def test_damaged_secrets_are_never_replaced(tmp_path: Path) -> None:
    damaged = tmp_path / "secrets.json"
    damaged.write_text('{"durable": true}')
    with pytest.raises(StackError, match=r"secrets\.json is damaged \(database_password"):
        async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}):
            pass
    assert damaged.read_text() == '{"durable": true}'


async def test_a_stack_for_once_does_not_remove_lasting_data(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}):
        pass
    with pytest.raises(StackError, match="holds lasting data"):
        async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}, durable=False):
            pass
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as stack:
        assert stack.pids


async def test_credentials_follow_a_sandbox_that_moves(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as first:
        pass
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES}) as second:
        assert second.sandbox_url != first.sandbox_url
        account = json.loads(second.environment["FCM_SERVICE_ACCOUNT"])
        assert account["token_uri"].startswith(second.sandbox_url)
        assert second.environment["TWILIO_BASE_URL"] == second.sandbox_url
        assert second.environment["TWILIO_AUTH_TOKEN"] == first.environment["TWILIO_AUTH_TOKEN"]


async def test_settings_of_other_installations_do_not_reach_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", "of-the-cloud")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "of-production")
    async with EmbeddedStack(tmp_path, parts={Part.TEMPORAL}) as stack:
        seen = psutil.Process(stack.pids["temporal"]).environ()
    assert "of-the-cloud" not in seen.values()
    assert "of-production" not in seen.values()


async def test_a_part_that_dies_is_named_with_its_log(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path, parts={Part.POSTGRES, Part.TEMPORAL}) as stack:
        os.kill(stack.pids["temporal"], signal.SIGKILL)
        death = await asyncio.wait_for(stack.failure(), 30)
    assert isinstance(death, PartDied)
    assert death.part == "temporal"
    assert "temporal ended unexpectedly (SIGKILL)" in str(death)
    assert str(tmp_path / "logs" / "temporal.log") in str(death)


async def test_a_part_killed_on_purpose_is_no_failure(database: EmbeddedStack) -> None:
    failure = asyncio.create_task(database.failure())
    await database.kill("postgres")
    await database.start_part("postgres")
    await database.stop_part("postgres")
    await database.start_part("postgres")
    assert not failure.done()
    os.kill(database.pids["postgres"], signal.SIGKILL)
    assert (await asyncio.wait_for(failure, 30)).part == "postgres"


async def test_temporal_keeps_its_runs_and_can_be_searched(tmp_path: Path) -> None:
    from temporalio.client import Client

    async with EmbeddedStack(tmp_path, parts={Part.TEMPORAL}) as stack:
        client = await Client.connect(stack.temporal_address)
        await client.start_workflow("Sleeper", id="kept", task_queue="nobody")
        await stack.kill("temporal")
        await stack.start_part("temporal")
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"
        assert await client.count_workflows("JourneyName = 'x' AND CustomerNumber = '1'") is not None


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whoever_ends_the_stack_no_process_is_left(tmp_path: Path, keep: Keep, ending: signal.Signals) -> None:
    kept = keep(tmp_path)
    everything = kept.everything()
    assert len(everything) > 2
    kept.process.send_signal(ending)
    assert kept.process.wait(60) == 0
    assert [one for one in everything if one.is_running()] == []
    assert "database system is shut down" in (tmp_path / "logs" / "postgres.log").read_text()


def test_a_killed_stack_takes_its_parts_along_and_the_next_one_starts(tmp_path: Path, keep: Keep) -> None:
    kept = keep(tmp_path)
    everything = kept.everything()
    kept.process.kill()
    kept.process.wait()
    _, alive = psutil.wait_procs(everything, timeout=30)
    assert alive == []
    assert keep(tmp_path).pids


def test_the_terminals_interrupt_reaches_only_the_stack_itself(tmp_path: Path, keep: Keep) -> None:
    kept = keep(tmp_path)
    assert all(os.getsid(pid) == pid for pid in kept.pids.values())


def test_a_stack_whose_part_dies_ends_with_an_error(tmp_path: Path, keep: Keep) -> None:
    kept = keep(tmp_path)
    everything = kept.everything()
    os.kill(kept.pids["temporal"], signal.SIGKILL)
    _, error = kept.process.communicate(timeout=60)
    assert kept.process.returncode != 0
    assert "temporal ended unexpectedly (SIGKILL)" in error
    assert [one for one in everything if one.is_running()] == []


def test_only_processes_of_the_last_stack_count_as_left_over(tmp_path: Path) -> None:
    ours = subprocess.Popen(["sleep", "600"])
    somebody = subprocess.Popen(["sleep", "600"])
    try:
        created = psutil.Process(ours.pid).create_time()
        listed = tmp_path / "processes.json"
        listed.write_text(
            json.dumps([{"pid": ours.pid, "created": created}, {"pid": somebody.pid, "created": created - 100}])
        )
        ProcessList(listed).end_leftovers()
        assert not psutil.pid_exists(ours.pid)
        assert psutil.pid_exists(somebody.pid)
    finally:
        for process in (ours, somebody):
            process.kill()
            process.wait()
