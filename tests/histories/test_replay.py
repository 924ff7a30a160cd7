"""Runs that began under older code go on under this one: every recorded history is replayed.

The Replayer needs no server, so `pytest tests/histories/test_replay.py` says in seconds whether a change
is safe. What is recorded: `make record`, which is `pytest tests/workflows --record` after this test.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from tests.histories.recordings import HISTORIES, Recording, recordings
from tests.workflows.stories import STORIES
from worker import build_replayer
from workflows.enabled import JOURNEYS

REPLAYER = build_replayer((*JOURNEYS, *STORIES))

WAYS_OUT = """
Runs that are under way began like this one and would stop. Three ways out, see the README:
  a safe change     change durations, texts' words, parameters' values, and leave the steps as they are
  workflow.patched  put what is new in `if workflow.patched("…"):`, then `make record`
  a new name        leave this class to the runs it has, and start a new one
Recording anew is none of them: this recording stands for runs that cannot be recorded anew."""


def named(path: Path) -> str:
    return str(path.relative_to(HISTORIES).with_suffix(""))


@pytest.fixture(scope="session")
async def failures() -> dict[Path, Exception]:
    """Why recorded runs do not go on, of those that do not; all are replayed by one Replayer, which costs the most."""
    paths = recordings()

    async def histories() -> AsyncIterator[WorkflowHistory]:
        for path in paths:
            yield Recording.read(path).history

    async with REPLAYER.workflow_replay_iterator(histories()) as replayed:
        results = [result async for result in replayed]
    return {path: result.replay_failure for path, result in zip(paths, results, strict=True) if result.replay_failure}


@pytest.mark.parametrize("path", recordings(), ids=named)
def test_a_run_recorded_before_goes_on_under_the_present_code(path: Path, failures: dict[Path, Exception]) -> None:
    if path in failures:
        pytest.fail(f"{named(path)}: {failures[path]}\n{WAYS_OUT}", pytrace=False)
