"""The demonstration: who takes part, what is promised, and the whole of it with few people."""

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from api.segment import read_call
from cli.demo.backend import Told
from cli.demo.pack import Pack
from cli.demo.packs import PACKS, PackName
from cli.demo.packs.car_credit import KINDS
from cli.demo.people import MOST_PEOPLE, population
from cli.demo.phones import Effect
from cli.demo.promises import Evidence, Message, Stay, goals
from cli.stack.processes import PROJECT, clean_environment
from settings import read_deployment
from workflows.enabled import enabled

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def demo(*arguments: str) -> subprocess.Popen[str]:
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", *arguments],
        cwd=PROJECT,
        env={**clean_environment(), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_few_people_live_through_the_story_and_every_promise_is_kept(tmp_path: Path) -> None:
    process = demo("--customers", "20", "--speed", "64800", "--data-dir", str(tmp_path))
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0, said + complained
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["customers"] == 20
    assert told["broken_promises"] == []
    assert told["events"] > 60
    assert told["enrolments"] == sum(sum(states.values()) for states in told["outcomes"].values()) > 10
    assert told["goals_reached"] == sum(states.get("goal", 0) for states in told["outcomes"].values()) > 3
    assert sum(told["waiting"].values()) == sum(states.get("running", 0) for states in told["outcomes"].values())
    assert {"email", "sms", "push", "call", "inbox"} <= told["messages"].keys()
    assert told["seconds"] < 90
    for word in ("Temporal's web interface", "finish at once", "goals reached", "Kept:"):
        assert word in said


@pytest.mark.parametrize(
    ("pack", "customers", "channels", "figures"),
    [
        (PackName.PAYDAY_LOANS, 12, {"email", "sms"}, ("finish the registration", "WinBack has written to")),
        (PackName.CAR_DEALER, 12, {"whatsapp"}, ("visits made", "opened the quiz from whatsapp", "return from")),
        (PackName.MORTGAGE_AGENTS, 12, {"email"}, ("answers to the survey", "woke up, of the control group")),
        (PackName.INSTALMENTS, 12, {"email", "inbox"}, ("first purchases", "reminders of the limit")),
    ],
)
def test_each_company_s_story_is_played_and_told_beside_its_own_figures(
    tmp_path: Path, pack: PackName, customers: int, channels: set[str], figures: tuple[str, ...]
) -> None:
    process = demo("--pack", pack, "--customers", str(customers), "--speed", "200000", "--data-dir", str(tmp_path))
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0, said + complained
    told = json.loads((tmp_path / "summary.json").read_text())
    assert (told["pack"], told["customers"], told["broken_promises"]) == (pack, customers, [])
    assert told["outcomes"].keys() <= {journey.__name__ for journey in enabled([pack])} | {
        "campaign:quiz",
        "conversation",
    }
    assert told["outcomes"]
    assert channels <= told["messages"].keys()
    for figure in figures:
        assert any(figure in each["what"] for each in told["figures"])
        assert figure in said


def test_a_few_days_of_a_story_are_played_and_the_limit_is_seen_where_it_pops_up(tmp_path: Path) -> None:
    process = demo("--pack", "instalments", "--days", "4", "--customers", "10", "--data-dir", str(tmp_path))
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0, said + complained
    told = json.loads((tmp_path / "summary.json").read_text())
    assert (told["broken_promises"], told["days"]) == ([], 4)
    (shown,) = [each["observed"] for each in told["figures"] if each["what"].startswith("reminders of the limit")]
    assert shown > 0


def test_no_more_days_are_played_than_a_story_has(tmp_path: Path) -> None:
    process = demo("--pack", "car_dealer", "--days", "27", "--data-dir", str(tmp_path))
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "takes 26 days" in complained


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_a_pack_runs_its_own_journeys_and_its_shares_are_of_everybody(pack: Pack[Any]) -> None:
    assert sum(kind.share for kind in pack.kinds) == 100
    assert all(0 <= share <= 1 for kind in pack.kinds for share in (kind.heeds, kind.reads, kind.email, kind.app))
    assert read_deployment(pack.deployment or PROJECT / "journeys.toml").enabled == [pack.name]
    assert enabled([pack.name])
    assert pack.story / pack.speed <= timedelta(minutes=3.5)


def test_who_has_an_address_of_a_kind_is_drawn_by_its_share() -> None:
    people = population(PACKS[PackName.CAR_DEALER].kinds, MOST_PEOPLE, random.Random(1))
    assert 60 < sum("email" in person.has for person in people) < 140
    assert not any("app" in person.has for person in people)


def parts_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until the story has begun, and return all that runs for it."""
    assert process.stdout
    while "under way" not in (line := process.stdout.readline()):
        assert line, process.communicate()[1]
    return psutil.Process(process.pid).children(recursive=True)


def test_it_ends_tidily_when_it_is_told_to(tmp_path: Path) -> None:
    process = demo("--customers", "5", "--data-dir", str(tmp_path))
    everything = parts_of(process)
    assert len(everything) >= 5
    process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert complained == ""
    assert [each for each in everything if each.is_running()] == []
    assert not (tmp_path / "summary.json").exists()


def test_a_part_that_dies_ends_it_and_is_named(tmp_path: Path) -> None:
    process = demo("--customers", "5", "--data-dir", str(tmp_path))
    everything = parts_of(process)
    next(part for part in everything if "worker.py" in part.cmdline()).kill()
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complained.startswith("worker-1 ended unexpectedly")
    assert [each for each in everything if each.is_running()] == []


@pytest.mark.parametrize("size", [1, 12, 200, MOST_PEOPLE])
def test_everybody_has_a_kind_and_addresses_of_their_own(size: int) -> None:
    people = population(KINDS, size, random.Random(7))
    assert len(people) == size
    for address in ("email", "phone", "device", "user_id"):
        assert len({getattr(person, address) for person in people}) == size
    for person in people:
        traits = {"email": person.email, "phone": person.phone, "timezone": person.time_zone, "locale": person.locale}
        call = read_call({"messageId": "m", "userId": person.user_id, "traits": traits}, NOW, type="identify")
        assert call.profile
        assert call.profile.phone == person.phone


def test_two_hundred_people_are_of_every_kind_by_its_share() -> None:
    people = population(KINDS, 200, random.Random(1))
    assert {kind: sum(person.kind is kind for person in people) for kind in KINDS} == {
        kind: 2 * kind.share for kind in KINDS
    }


def test_the_same_seed_draws_the_same_people() -> None:
    assert population(KINDS, 50, random.Random(3)) == population(KINDS, 50, random.Random(3))
    assert population(KINDS, 50, random.Random(3)) != population(KINDS, 50, random.Random(4))


STAY = Stay(
    id=1,
    journey="AbandonedApplication",
    key="A-1",
    user_id="client-1",
    created_at=NOW,
    outcome="goal",
    messages=[Message(id="m-1", channel="email", template="abandoned_application/full", status="delivered")],
    standing=None,
)


def evidence(**change: Any) -> Evidence:
    """A stay with one letter that left a second before the goal, and everything in order."""
    orderly: dict[str, Any] = {
        "accepted": 3,
        "kept": 3,
        "undispatched": 0,
        "parked": 0,
        "goals": {1: NOW + timedelta(seconds=10)},
        "stays": [STAY],
        "effects": [letter(9)],
        "decided": {"answer-1"},
        "repeated": {},
    }
    return Evidence(**{**orderly, **change})


def letter(after: float, message: str | None = "m-1") -> Effect:
    return Effect(id=1, channel="email", message_id=message, address="a@example.com", at=NOW + timedelta(seconds=after))


def test_what_is_in_order_breaks_no_promise() -> None:
    assert evidence().broken() == []
    assert evidence(effects=[letter(11.9)]).broken() == []
    assert evidence(effects=[letter(60, "answer-1")]).broken() == []


def told(event: str, after: float, user: str = "client-1", **properties: Any) -> Told:
    return Told(user, event, properties, NOW + timedelta(seconds=after))


def stay(journey: str, key: str = "") -> Stay:
    return STAY.model_copy(update={"journey": journey, "key": key})


@pytest.mark.parametrize(
    ("one", "event", "is_goal"),
    [
        (STAY, told("credit_application_submitted", 5, application_id="A-1"), True),
        # A refused application had been submitted.
        (STAY, told("credit_application_submitted", -5, application_id="A-1"), False),
        (STAY, told("credit_application_submitted", 5, application_id="A-2"), False),
        (STAY, told("credit_application_submitted", 5, "client-2", application_id="A-1"), False),
        (STAY, told("credit_application_progressed", 5, application_id="A-1"), False),
        # Another visit of theirs is what it is for.
        (stay("LostToCompetitor", "V-1"), told("visit_booked", 5, visit_id="V-2"), True),
        (stay("VisitBooked", "V-1"), told("visit_made", 5, visit_id="V-2"), False),
        # Whatever they do, they are back.
        (stay("WinBack"), told("site_visited", 5), True),
        (stay("WinBack"), replace(told("site_visited", 5), past=True), False),
        (stay("campaign:quiz"), told("quiz_opened", 5), False),
    ],
)
def test_what_ends_a_stay_is_what_its_journey_declares(one: Stay, event: Told, is_goal: bool) -> None:
    assert goals([one], [event]) == ({1: event.at} if is_goal else {})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kept": 2}, "3 events were accepted, but 2 are kept"),
        ({"undispatched": 1}, "1 accepted events have not reached their runs"),
        ({"parked": 1}, "1 accepted events are parked"),
        ({"repeated": {"m-1": 2}}, "message m-1 took effect 2 times"),
        ({"effects": [letter(12.5)]}, "email of enrolment 1 left 2.5 s after the goal was accepted"),
        ({"effects": [letter(1, "m-2")]}, "a message nobody decided about"),
        ({"effects": [letter(1, None)]}, "a message nobody decided about"),
    ],
)
def test_each_broken_promise_is_said(change: dict[str, Any], complaint: str) -> None:
    (broken,) = evidence(**change).broken()
    assert complaint in broken
