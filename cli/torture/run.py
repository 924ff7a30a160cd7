"""One torture from beginning to end: the stage, the storm, the quiet, the judgement."""

import asyncio
import json
import time
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from cli.torture.evidence import Evidence, Run, gather
from cli.torture.judgement import Violation, judge
from cli.torture.report import figures
from cli.torture.stage import CONFIGURATION, Stage, open_stage
from cli.torture.storm import Storm, Tell, rage
from policy.configuration import Policy
from settings import Deployment

LATE_WITHIN = 120.0
"""Wall seconds in which some of what is only late must have got on; journeys go on while they are judged, and one look
at all of them takes a while itself."""

PASSING = {"stuck", "unresolved"}
"""Promises that look broken for a moment while something is under way."""

QUIET_WITHIN = 420.0
"""Wall seconds after the storm in which everything must have come to rest: five minutes for a provider that cannot be
asked, and as many as the database's clock was wrong by."""


async def run(
    data: Path,
    *,
    seed: int,
    seconds: float,
    customers_per_second: float,
    faults: Collection[str],
    keep: bool = False,
    hasty: bool = False,
    tell: Tell,
) -> dict[str, Any]:
    """Torture the product and return the figures, which are also kept as ``torture.json``.

    Args:
        data: Directory for data, logs and figures; whatever is in it goes.
        seconds: Wall seconds of the storm.
        keep: Leave the data at the end.
        hasty: Settle uncertain sends sooner than real providers would allow.

    Raises:
        StackError: The stack cannot start.
    """
    began = time.monotonic()
    async with open_stage(data, keep=keep, hasty=hasty) as stage:
        tell(f"everything runs; the storm lasts {seconds:.0f} s")
        storm = await rage(
            stage,
            seed=seed,
            seconds=seconds,
            customers_per_second=customers_per_second,
            faults=faults,
            quiet_within=QUIET_WITHIN,
            tell=tell,
        )
        evidence, violations = await _judged(stage, storm, tell)
        struck = await stage.ask_sandbox("faults/struck")
        told = figures(stage, storm, evidence, contact_policy(), violations, struck, time.monotonic() - began)
    (data / "torture.json").write_text(json.dumps(told, indent=2))
    return told


def contact_policy() -> Policy:
    """Return the policy the torture's deployment is held to."""
    return Deployment.model_validate(tomllib.loads(CONFIGURATION.read_text())).policy


async def _judged(stage: Stage, storm: Storm, tell: Tell) -> tuple[Evidence, list[Violation]]:
    """Judge, and look again at what may only be under way: what is broken stays so."""
    policy = contact_policy()
    tell("judging")
    suspects: set[str] | None = None
    seen: Sequence[Run] = ()
    deadline = 0.0
    while True:
        evidence = await gather(stage, storm.accepted, storm.unsubscribed, storm.dialogues, storm.unfinished, seen)
        violations = [
            each
            for each in judge(evidence, policy)
            if each.promise not in PASSING or suspects is None or each.about in suspects
        ]
        found = {each.about for each in violations if each.promise in PASSING}
        if suspects is None or len(found) < len(suspects):
            deadline = time.monotonic() + LATE_WITHIN
        suspects = found
        if not suspects or time.monotonic() > deadline:
            return evidence, violations
        seen = _above_suspicion(evidence, suspects)
        tell(f"{len(suspects)} runs and messages may be under way; looking again")
        await asyncio.sleep(3)


def _above_suspicion(evidence: Evidence, suspects: Collection[str]) -> list[Run]:
    """Return the runs that were found in order, which nobody need look at again."""
    doubtful = {stay.workflow_id for stay in evidence.stays if f"stay {stay.id}" in suspects}
    return [run for run in evidence.runs if run.workflow_id not in doubtful and run.workflow_id not in suspects]
