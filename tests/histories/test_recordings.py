"""The recordings are complete and clean, and the journeys are those they were made of.

All of this runs in `make test`, beside the replay it completes, and needs no server: `make check` looks
at the form of the code, this at what it does to customers who are in a journey now.
"""

import difflib
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.histories import fingerprint
from tests.histories.recordings import Recording, recordings
from tests.histories.test_replay import named
from worker import OWN
from workflows.declaration import texts_named
from workflows.enabled import JOURNEYS
from workflows.journey import Journey

# A machine, a path on one, an address, a phone number, a token of the tests' people.
FORBIDDEN = re.compile(r"\d@|/(home|root|usr|work|tmp|Users)/|[\w.]+@[\w.]+|\+\d{6,}|token-|user-[0-9a-f]|Ada\b")


@pytest.mark.parametrize("journey", JOURNEYS)
def test_every_text_of_a_journey_was_asked_for_in_a_recording(journey: type[Journey[Any]]) -> None:
    recorded = {message for path in recordings(journey.__name__) for message in Recording.read(path).messages()}
    missing = [
        f"{text.source}: {text.channel} {text.template}"
        for text in texts_named(journey)
        if (text.channel, text.template) not in recorded
    ]
    assert recorded, f"{journey.__name__} has no recordings. Write its tests in tests/workflows, then: make record"
    assert not missing, "no recording comes here. Walk this way in tests/workflows, then: make record\n" + "\n".join(
        missing
    )


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_journey_gives_the_commands_it_gave_when_it_was_recorded(journey: type[Journey[Any]]) -> None:
    if not fingerprint.differs(journey):
        return
    kept = fingerprint.kept(journey)
    before = kept.read_text().splitlines() if kept.exists() else []
    change = "\n".join(difflib.unified_diff(before, fingerprint.fingerprint(journey).splitlines(), lineterm="", n=1))
    pytest.fail(
        f"""{journey.__name__} is not what it was when its runs began.
{change}

Customers are in this journey now, also on ways no recording took. Three ways out, see the README:
  a safe change     undo this; durations, texts' words and parameters' values may change freely
  workflow.patched  put what is new in `if workflow.patched("…"):`, then `make record`
  a new name        undo this, leave the class to the runs it has, and start a new one
If it gives the same commands as before and is only written differently: `make record`.""",
        pytrace=False,
    )


@pytest.mark.parametrize("workflow", OWN)
def test_what_an_installation_runs_for_itself_is_recorded(workflow: type) -> None:
    assert recordings(workflow.__name__), f"{workflow.__name__} has no recordings: make record"


@pytest.mark.parametrize("path", recordings(), ids=named)
def test_a_recording_holds_no_person_and_no_machine(path: Path) -> None:
    text = path.read_text()
    payloads = [b64decode(data).decode() for data in re.findall(r'"data": "([^"]+)"', text)]
    assert [found.group() for each in (text, *payloads) for found in FORBIDDEN.finditer(each)] == []
