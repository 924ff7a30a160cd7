"""What a torture found: the figures as JSON and as tables."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.torture.evidence import Evidence
from cli.torture.faults import NEEDS
from cli.torture.judgement import GONE, Violation, begun_after_the_goal
from cli.torture.stage import SPEED, WORKERS, Stage
from cli.torture.storm import Storm
from domain.messages import OWN
from policy.configuration import Policy

PROMISES = ("lost", "doubled", "after the goal", "unresolved", "stuck", "policy", "refused", "undocumented answer")

_MOST_SHOWN = 40


def figures(
    stage: Stage,
    storm: Storm,
    evidence: Evidence,
    policy: Policy,
    violations: Sequence[Violation],
    calls_struck: Mapping[str, int],
    seconds: float,
) -> dict[str, Any]:
    """Return everything worth a figure.

    Args:
        calls_struck: Provider calls struck by each kind of fault in the sandbox.
        seconds: Wall seconds all of it took.
    """
    broken = Counter(violation.promise for violation in violations)
    late = begun_after_the_goal(evidence, policy)
    left = {effect.message for effect in evidence.effects}
    return {
        "seed": storm.seed,
        "storm_seconds": storm.seconds,
        "seconds": round(seconds, 1),
        "speed": SPEED,
        "workers_and_dispatchers": WORKERS,
        "faults": {name: times for name, times in storm.by_fault.items() if times},
        "faults_that_found_nothing": dict(storm.missed),
        "not_possible_here": {
            name: stage.not_possible[need] for name, need in NEEDS.items() if need in stage.not_possible
        },
        "provider_calls_struck": dict(calls_struck),
        "further": {
            **storm.counted,
            "texts taken for answers to messages that never left": sum(
                message.status == "replied" and message.id not in left for message in evidence.messages
            ),
        },
        "parts_that_ended_by_themselves": dict(stage.died),
        "customers": storm.customers,
        "events": {
            "told": len(evidence.accepted),
            "kept": sum(event.call is not None for event in evidence.events),
            "of_our_own": sum(event.call is None for event in evidence.events),
            "dispatched": sum(event.dispatched for event in evidence.events),
            "answers": dict(sorted(evidence.answers.items())),
        },
        "stays": dict(Counter(stay.outcome or "under way" for stay in evidence.stays).most_common()),
        "messages": dict(Counter(message.status for message in evidence.messages).most_common()),
        "not_sent_because": dict(
            Counter(
                (message.reason or "").partition(":")[0] for message in evidence.messages if message.status == "skipped"
            ).most_common()
        ),
        "farewells": dict(Counter(each.by for each in evidence.farewells).most_common()),
        "dialogues": len(evidence.dialogues),
        "provider_calls_that_took_effect": dict(Counter(effect.channel for effect in evidence.effects).most_common()),
        "left_by_our_books": sum(
            message.status in GONE and message.channel not in OWN for message in evidence.messages
        ),
        "uncertain_settled": dict(
            Counter(message.resolution for message in evidence.messages if message.resolution).most_common()
        ),
        "runs_reset": len(storm.resets),
        "runs_terminated": len(storm.terminated),
        "begun_after_the_goals_200": {
            "calls": len(late),
            "longest_seconds": round(max(late, default=0), 2),
            "median_seconds": round(statistics.median(late), 3) if late else 0,
        },
        "broken": {promise: broken.get(promise, 0) for promise in PROMISES},
        "violations": [
            {"promise": violation.promise, "about": violation.about, "what": violation.what} for violation in violations
        ],
        "struck": [[each.at, each.fault, each.what, each.lasted] for each in storm.struck],
    }


def show(console: Console, told: Mapping[str, Any]) -> None:
    """Print the figures."""
    faults = Table(title="Faults", title_justify="left")
    faults.add_column("kind")
    faults.add_column("struck", justify="right")
    for name, times in told["faults"].items():
        faults.add_row(name, str(times))
    for name, why in told["not_possible_here"].items():
        faults.add_row(f"{name}: not possible here, {escape(why)}", "-")
    console.print(faults)

    counted = Table(title="What happened", title_justify="left")
    counted.add_column("")
    counted.add_column("", justify="right")
    for name in ("customers", "dialogues", "runs_reset", "runs_terminated"):
        counted.add_row(name.replace("_", " "), f"{told[name]:,}")
    for name in (
        *(
            "events",
            "stays",
            "messages",
            "not_sent_because",
            "farewells",
            "provider_calls_that_took_effect",
            "provider_calls_struck",
        ),
        *("uncertain_settled", "parts_that_ended_by_themselves", "further"),
    ):
        for what, number in told[name].items():
            if isinstance(number, Mapping):
                for which, times in number.items():
                    counted.add_row(f"{name}: {what} {which}", f"{times:,}")
            else:
                counted.add_row(f"{name.replace('_', ' ')}: {what}", f"{number:,}")
    late = told["begun_after_the_goals_200"]
    counted.add_row("provider calls begun after the goal's 200", f"{late['calls']:,}")
    counted.add_row("the latest of them, seconds", f"{late['longest_seconds']:g}")
    console.print(counted)

    broken = Table(title="Promises", title_justify="left")
    broken.add_column("")
    broken.add_column("violations", justify="right")
    for promise, times in told["broken"].items():
        broken.add_row(promise, str(times), style="red" if times else "green")
    console.print(broken)
    for violation in told["violations"][:_MOST_SHOWN]:
        line = f"{violation['promise']}: {violation['about']}: {violation['what']}"
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if (more := len(told["violations"]) - _MOST_SHOWN) > 0:
        console.print(f"… and {more} more", style="red")
