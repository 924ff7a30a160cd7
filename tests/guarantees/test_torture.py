"""The torture in its short form: every fault once over a steady flow of customers, and goals racing claims."""

import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.torture.faults import FAULTS
from cli.torture.race import race
from cli.torture.run import run

SEED = 20
"""Draws the same faults and customers every time; `make torture` draws others."""


@pytest.mark.timeout(300)
async def test_every_promise_holds_in_a_storm(tmp_path: Path) -> None:
    told = await run(
        tmp_path / "torture",
        seed=SEED,
        seconds=36,
        customers_per_second=1.2,
        faults=FAULTS,
        hasty=True,
        tell=print,
    )
    assert told["violations"] == []
    for fault, why in told["not_possible_here"].items():
        warnings.warn(f"not tried, because it is not possible here: {fault}: {why}", stacklevel=1)
    assert told["faults"].keys() | told["not_possible_here"].keys() == FAULTS.keys()
    assert told["events"]["kept"] > 100
    assert sum(told["provider_calls_that_took_effect"].values()) > 50
    # What the judge is there for has happened.
    assert told["stays"]["goal"] > 5
    assert told["not_sent_because"]["overtaken"] > 0
    assert told["runs_reset"] > 0
    assert told["farewells"]
    assert told["dialogues"] > 0


async def test_no_claim_has_a_place_after_its_goal(tmp_path: Path) -> None:
    told = await race(tmp_path / "race", goals=1500, seed=SEED, tell=print)
    assert told["violations"] == []
    # It was a race: neither side always won.
    assert told["claims_before_their_goal"] > 100
    assert told["claims_overtaken_by_their_goal"] > 100


def test_there_is_nothing_to_look_at_where_nothing_was_kept(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["torture", "--look", str(tmp_path)])
    assert told.exit_code == 1
    assert "only one with --keep leaves it" in told.stderr
    assert list(tmp_path.iterdir()) == []
