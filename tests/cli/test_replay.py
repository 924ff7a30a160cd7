"""A replay from the command to its reconciliation."""

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.replay.log import Happening, Log, Unreadable
from cli.replay.play import RejectedCall, Sent, begin
from cli.replay.reconciliation import Counts, Effects, Reconciliation
from cli.stack.processes import PROJECT, clean_environment
from domain.clock import Clock
from tests.cli.logs import MAPPING, NOON, row, text, written
from tests.world import World


def replay(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "replay", *arguments],
        cwd=PROJECT,
        env={**clean_environment(), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def against(world: World, log: Path, mapping: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Play a log against the tests' own installation."""
    keys = {"JOURNEYS_WRITE_KEY": world.stack.write_key, "JOURNEYS_OPERATOR_KEY": world.stack.operator_key}
    return replay(str(log), "--mapping", str(mapping), "--url", world.stack.api_url, *more, **keys)


def numbers(said: str) -> dict[str, int]:
    """The table of sums, by name."""
    cells = (line.strip("│ ").rsplit("│", 1) for line in said.splitlines() if line.startswith("│"))
    return {cell[0].strip(): int(cell[1].replace(",", "")) for cell in cells if cell[-1].strip(" ,0123456789") == ""}


def unique(world: World, *rows: Any) -> tuple[Any, ...]:
    """Rows of customers nobody else has: every test shares one installation."""
    mark = datetime.now(UTC).strftime("%H%M%S%f")
    return tuple((at, case, what, sum, f"{who}-{mark}") for at, case, what, sum, who in rows)


@pytest.mark.usefixtures("dispatched")
async def test_every_row_of_a_log_is_accounted_for_up_to_the_database(world: World, tmp_path: Path) -> None:
    rows = unique(
        world,
        row(0.00, "1", "opened"),
        row(0.05, "2", "opened"),
        row(0.10, "3", "opened", who="nobody@"),
        row(0.15, "1", "signed"),
        row(0.20, "2", "filed"),
        row(0.25, "2", "invented"),
    )
    ids = 'message_id = "{who}-{case}-{what}-{at}"\n'
    log, mapping = written(tmp_path, text(*rows, rows[3]), mapping=ids + MAPPING)
    ended = await asyncio.to_thread(against, world, log, mapping)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = numbers(ended.stdout)
    assert (told["rows read"], told["mapped"], told["ignored"], told["unreadable"]) == (7, 5, 1, 1)
    # Three customers, four events, one of them twice; the third one's introduction has no email address.
    assert (told["events sent"], told["accepted"], told["duplicate"], told["rejected"]) == (8, 6, 1, 1)
    assert told["events kept by the database"] == 6
    assert (told["enrolments"], told["goal reached"], told["still waiting"]) == (3, 1, 2)
    assert "unreadable, line 7: no rule of the mapping says what it means" in ended.stdout
    assert "rejected, line 4: traits.email: must be an email address" in ended.stdout
    assert "Every count adds up." in ended.stdout


def test_a_replay_on_a_stack_of_its_own_counts_up_to_the_providers(tmp_path: Path) -> None:
    day = 86_400.0
    log, mapping = written(
        tmp_path,
        text(row(0, "1", "opened"), row(0, "2", "opened"), row(2 * day, "1", "signed"), row(3 * day, "2", "filed")),
    )
    data = tmp_path / "data"
    options = ("--speed", "86400", "--wait", "3d", "--data-dir", str(data))
    ended = replay(str(log), "--mapping", str(mapping), *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads((data / "summary.json").read_text())
    assert told["outcomes"] == {"AbandonedApplication": {"goal": 1, "running": 1}}
    assert told["messages"]["call"]
    assert told["faults"] == []
    assert not (data / "api_url").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--wait", "soon"], "--wait"),
        (["--url", "http://127.0.0.1:1", "--speed", "5"], "an installation has its own speed"),
        (["--url", "http://127.0.0.1:1"], "JOURNEYS_OPERATOR_KEY must be set"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    log, mapping = written(tmp_path, text(row(0, "1", "opened")))
    ended = replay(str(log), "--mapping", str(mapping), *arguments)
    assert ended.returncode != 0
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


# Where the numbers come from others, a stand-in for the API tells what we want to hear, or lies.


class StandIn:
    """Takes batches as the API does.

    Attributes:
        loses: How many accepted events it does not count.
        silent: How many of the first batches it takes without an answer.
        early: Calls that came before what they tell of has happened.
    """

    def __init__(self, *, loses: int = 0, silent: int = 0, speed: float = 1_000_000.0) -> None:
        self.loses = loses
        self.speed = speed
        self.silent = silent
        self.kept: Counter[str] = Counter()
        self.order: list[str] = []
        self.early = 0
        self.began = datetime.now(UTC)

    def take(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        now = datetime.now(UTC)
        self.early += sum(datetime.fromisoformat(call["timestamp"]) > now for call in batch)
        known = sum(call["messageId"] in self.kept for call in batch)
        self.order += [call["timestamp"] for call in batch if call["messageId"] not in self.kept]
        self.kept.update(call["messageId"] for call in batch)
        return {"success": True, "accepted": len(batch) - known, "duplicate": known, "rejected": []}

    def counts(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"undispatched": 0, "parked": 0, "rejected": 0, "enrolments": {}, "messages": {}}
        return {"events": len(self.kept) - self.loses, **nothing}


@contextmanager
def standing_in(api: StandIn) -> Iterator[str]:
    """Serve a stand-in and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = api.take(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["batch"])
            if api.silent:
                api.silent -= 1
                self.send_response(503)
                self.send_header("Retry-After", "0")
                self.end_headers()
            else:
                self.answer(answer)

        def do_GET(self) -> None:
            clock = {"origin": api.began.isoformat(), "speed": api.speed}
            self.answer(clock if self.path.startswith("/v1/time") else api.counts())

        def answer(self, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def against_stand_in(api: StandIn, folder: Path, *rows: Any) -> subprocess.CompletedProcess[str]:
    log, mapping = written(folder, text(*rows))
    keys = {"JOURNEYS_WRITE_KEY": "w", "JOURNEYS_OPERATOR_KEY": "o"}
    with standing_in(api) as url:
        return replay(str(log), "--mapping", str(mapping), "--url", url, **keys)


def test_a_count_that_does_not_add_up_is_named_and_ends_with_1(tmp_path: Path) -> None:
    ended = against_stand_in(StandIn(loses=1), tmp_path, row(0, "1", "opened"))
    assert ended.returncode == 1
    assert "Does not add up: events accepted: 2, but kept by the database: 1" in ended.stdout
    assert "Every count adds up" not in ended.stdout


def test_what_was_taken_without_an_answer_is_sent_again_and_still_adds_up(tmp_path: Path) -> None:
    ended = against_stand_in(StandIn(silent=1), tmp_path, row(0, "1", "opened"), row(60, "1", "signed"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = numbers(ended.stdout)
    assert told["events sent"] == told["accepted"] + told["duplicate"] == 3
    assert told["duplicate"] >= 2
    assert told["events kept by the database"] == 3


def test_nothing_is_told_before_it_has_happened(tmp_path: Path) -> None:
    api = StandIn(speed=100)
    # At the present time of day, so that the replay need not wait for it.
    now = (api.began - NOON).total_seconds() % 86_400
    ended = against_stand_in(api, tmp_path, *(row(now + 10 * place, str(place), "opened") for place in range(5)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (len(api.kept), api.early) == (10, 0)


def test_a_machine_that_cannot_keep_up_loses_and_reorders_nothing(tmp_path: Path) -> None:
    api = StandIn()
    ended = against_stand_in(api, tmp_path, *(row(second / 10, str(second), "opened") for second in range(1500)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(api.kept) == 3000
    assert set(api.kept.values()) == {1}
    assert api.order == sorted(api.order)
    assert "effective speed" in ended.stdout


# The sums themselves.


def adding_up() -> Reconciliation:
    """A replay in which every number fits."""
    log = Log(rows=10, mapped=6, left_out=1, identified=1, happenings=[Happening(NOON, 2, {})] * 7)
    log.ignored["nothing"] = 2
    log.unreadable.append(Unreadable(9, "bad"))
    sent = Sent(events=7, accepted=5, duplicate=1, rejected=[RejectedCall(3, "m", "userId", "is required")])
    counts = Counts(
        events=5,
        undispatched=0,
        parked=0,
        rejected=1,
        notes={"started AbandonedApplication": 3},
        enrolments={"AbandonedApplication": {"goal": 1, "running": 2}},
        messages={"email": {"delivered": 3, "failed": 1, "skipped": 2}, "inbox": {"delivered": 4}},
    )
    return Reconciliation(log, sent, counts, Effects(by_channel={"email": {"delivered": 3}}, repeated={}))


def test_numbers_that_fit_have_no_fault() -> None:
    assert adding_up().faults() == []


@pytest.mark.parametrize(
    ("part", "change", "fault"),
    [
        ("log", {"rows": 11}, "rows read: 11"),
        ("log", {"mapped": 5}, "rows read: 10"),
        ("log", {"happenings": []}, "events made: 0"),
        ("sent", {"events": 6}, "events sent: 6"),
        ("sent", {"duplicate": 0}, "events sent: 7"),
        ("sent", {"rejected": []}, "events sent: 7"),
        ("counts", {"events": 4}, "kept by the database: 4"),
        ("counts", {"events": 6}, "kept by the database: 6"),
        ("counts", {"rejected": 0}, "kept aside by the database: 0"),
        ("counts", {"undispatched": 2}, "2 events have not reached their runs"),
        ("counts", {"notes": {}}, "events that started one: 0"),
        ("effects", {"by_channel": {}}, "taken by the provider: 0"),
        ("effects", {"by_channel": {"email": {"delivered": 9}}}, "taken by the provider: 9"),
        ("effects", {"repeated": {"m-1": 2}}, "message m-1 took effect 2 times"),
    ],
)
def test_each_number_that_does_not_fit_is_named(part: str, change: dict[str, Any], fault: str) -> None:
    broken = adding_up()
    kept = vars(getattr(broken, part))
    for name, value in change.items():
        kept[name] = value
    assert any(fault in each for each in broken.faults()), broken.faults()


def test_a_replay_begins_at_the_logs_own_time_of_day_if_that_comes_soon() -> None:
    now = datetime(2026, 11, 22, 3, tzinfo=UTC)
    soon = begin(Clock(origin=now, speed=86_400), NOON, now)
    assert soon.begins_at.time() == NOON.time()
    assert soon.begins - now == timedelta(seconds=9 / 24)
    assert soon.wall(NOON + timedelta(days=2)) == soon.begins + timedelta(seconds=2)
    assert begin(Clock(origin=now, speed=1), NOON, now).begins == now
