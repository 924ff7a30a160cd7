"""Recorded runs: what is kept of a history, and when a run is worth keeping.

A recording stands for the runs that began under the release it comes from and may still be under way.
So recordings are only ever added: what is in this folder is never written over.
"""

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory

HISTORIES = Path(__file__).parent

# What reaches a run and what it asks for, with the part of each that makes it this one.
TOLD = {
    "WORKFLOW_EXECUTION_STARTED": ("input",),
    "WORKFLOW_EXECUTION_SIGNALED": ("signalName", "input"),
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": ("acceptedRequest",),
    "WORKFLOW_EXECUTION_CANCEL_REQUESTED": (),
    "TIMER_STARTED": (),
    "ACTIVITY_TASK_SCHEDULED": ("activityType", "input"),
    "MARKER_RECORDED": ("markerName", "details"),
    "WORKFLOW_EXECUTION_COMPLETED": (),
    "WORKFLOW_EXECUTION_CANCELED": (),
}

# Numbers, times, durations and ids differ from run to run, and from deployment to deployment.
VARYING = re.compile(r"-?\d+(\.\d+)?|\d{4}-\d\d-\d\dT.*|-?P(\d|T\d).*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}.*")


@dataclass(frozen=True)
class Recording:
    """One run of a journey, as far as it had come.

    Attributes:
        branch: Which way through the journey it took: the test that walked it.
        events: Its history, as Temporal tells it in JSON.
    """

    journey: str
    branch: str
    events: list[dict[str, Any]]

    @classmethod
    def of(cls, history: WorkflowHistory, branch: str) -> "Recording":
        """Make a recording of a run; which machine it ran on is left out."""
        events = _without_machines(history.to_json_dict()["events"])
        return cls(_told(events[0])["workflowType"]["name"], branch, events)

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """Read a recording, or a history downloaded from the Temporal UI."""
        events = json.loads(path.read_text())["events"]
        return cls(_told(events[0])["workflowType"]["name"], path.stem, events)

    @property
    def history(self) -> WorkflowHistory:
        """The history as the Replayer takes it."""
        return WorkflowHistory.from_json(_told(self.events[0])["workflowId"], {"events": self.events})

    @cached_property
    def steps(self) -> list[str]:
        """What reached the run and what it asked for, in order, without what varies from run to run."""
        results = {
            _told(event)["scheduledEventId"]: _told(event).get("result")
            for event in self.events
            if _kind(event) == "ACTIVITY_TASK_COMPLETED"
        }
        return [
            json.dumps(
                [
                    _kind(event),
                    *(_shape(_told(event).get(name)) for name in TOLD[_kind(event)]),
                    # With what was asked for, because the answers to several at once come in any order.
                    _shape(results.get(event["eventId"])),
                ],
                sort_keys=True,
            )
            for event in self.events
            if _kind(event) in TOLD
        ]

    @cached_property
    def novelties(self) -> set[tuple[int, str, str]]:
        """Its beginning, and every two steps that follow each other, by the edition of the commands it gives."""
        began = [each for each in _payloads(_told(self.events[0]).get("input", {})) if isinstance(each, dict)]
        edition = began[0].get("edition", 1) if began else 1
        return {(edition, *two) for two in pairwise(["", *self.steps])}

    def messages(self) -> set[tuple[str, str]]:
        """The texts it asked to be sent: channel and name."""
        asked = [
            _payloads(_told(event)["input"])[0]["draft"]
            for event in self.events
            if _kind(event) == "ACTIVITY_TASK_SCHEDULED" and _told(event)["activityType"]["name"] == "deliver"
        ]
        # What goes by one channel of several is asked for by all of them at once.
        return {
            (channel, draft["template"]) for draft in asked for channel in (draft["channel"], *draft.get("others", ()))
        }

    def keep(self) -> Path:
        """Write it down, under a name that only the same steps can have."""
        fingerprint = hashlib.sha256("\n".join(self.steps).encode()).hexdigest()[:8]
        path = HISTORIES / self.journey / f"{self.branch}.{fingerprint}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"events": self.events}, indent=1, ensure_ascii=False) + "\n")
        return path


def recordings(journey: str = "*") -> list[Path]:
    """Return the files of the recordings, of one journey or of all."""
    return sorted(HISTORIES.glob(f"{journey}/*.json"))


def worth_keeping(runs: Iterable[Recording]) -> list[Recording]:
    """Return the runs that show two steps in a row which no recording of their journey shows yet.

    The longest come first, so that a few runs show everything.
    """
    shown: dict[str, set[tuple[int, str, str]]] = {}
    for path in recordings():
        shown.setdefault(path.parent.name, set()).update(Recording.read(path).novelties)
    kept = []
    for run in sorted(runs, key=lambda run: (-len(run.steps), run.branch)):
        seen = shown.setdefault(run.journey, set())
        if not run.novelties <= seen:
            kept.append(run)
            seen |= run.novelties
    return kept


def _kind(event: dict[str, Any]) -> str:
    kind: str = event["eventType"]
    return kind.removeprefix("EVENT_TYPE_")


def _told(event: dict[str, Any]) -> dict[str, Any]:
    return next((each for name, each in event.items() if name.endswith("EventAttributes")), {})


def _payloads(value: dict[str, Any]) -> list[Any]:
    return [json.loads(b64decode(each["data"])) if "data" in each else None for each in value.get("payloads", [])]


def _shape(value: Any) -> Any:
    """A value with what varies from run to run taken out."""
    match value:
        case {"payloads": _}:
            return [_shape(each) for each in _payloads(value)]
        case {"updateId": _} | {"identity": _}:
            return None
        case dict():
            return {name: _shape(each) for name, each in value.items()}
        case list():
            return [_shape(each) for each in value]
        case bool() | None:
            return value
        case _:
            return 0 if VARYING.fullmatch(str(value)) else value


def _without_machines(value: Any) -> Any:
    """A history without the names of processes and machines, and without their paths."""
    match value:
        case {"kind": "TASK_QUEUE_KIND_STICKY"}:
            return {**value, "name": "sticky"}
        case dict():
            return {
                name: "worker" if name == "identity" else _without_machines(each)
                for name, each in value.items()
                if name != "stackTrace"
            }
        case list():
            return [_without_machines(each) for each in value]
        case _:
            return value
