"""One torture from beginning to end: the stage, the storm, the quiet, the judgement."""

import json
import time
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cli.torture.evidence import gather
from cli.torture.judgement import judge
from cli.torture.report import figures
from cli.torture.stage import CONFIGURATION, open_stage
from cli.torture.storm import Tell, rage
from settings import Deployment

QUIET_WITHIN = 150.0
"""Wall seconds after the storm in which everything must have come to rest."""


async def run(
    data: Path,
    *,
    seed: int,
    seconds: float,
    customers_per_second: float,
    faults: Collection[str],
    keep: bool,
    tell: Tell,
) -> dict[str, Any]:
    """Torture the product and return the figures, which are also kept as ``torture.json``.

    Raises:
        StackError: The stack cannot start.
    """
    began = time.monotonic()
    async with open_stage(data, keep=keep) as stage:
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
        accepted = storm.accepted
        evidence = await gather(stage, accepted.at, accepted.answers, accepted.refused, storm.unfinished)
        tell("judging")
        policy = Deployment.model_validate(tomllib.loads(CONFIGURATION.read_text())).policy
        violations = judge(evidence, policy)
        told = figures(stage, storm, evidence, violations, time.monotonic() - began)
    (data / "torture.json").write_text(json.dumps(told, indent=2))
    return told
