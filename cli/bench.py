"""`journeys bench`: what a journey costs, against a bare Temporal workflow on the same machine."""

from typing import Annotated

import typer
from rich.console import Console

from cli import signals


def bench(
    journeys: Annotated[int, typer.Option(min=10, max=5000, help="How many journeys a round has.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="How many rounds of each; medians are printed.")] = 3,
    segments: Annotated[
        int | None, typer.Option(min=1000, help="Instead: segments over so many generated customers.")
    ] = None,
    campaign: Annotated[
        int | None, typer.Option(min=1000, max=1_000_000, help="Instead: a campaign to so many generated customers.")
    ] = None,
) -> None:
    """Measure what a journey costs: history events, CPU, memory, pace.

    The journey enters, waits a second, sends, waits a second, looks at a condition, sends and leaves. In
    turn with it a bare workflow makes the same two timers and two HTTP calls, so that the ratios hold
    whatever the machine.

    With `--segments` customers are generated, and segments over them are previewed, put, changed and evaluated
    through the API, with time and memory. A million takes some ten minutes and four gigabytes.

    With `--campaign` one campaign goes to so many customers by SMS through the sandbox, beside journeys whose way from
    event to message is timed with and without it. Worker, Temporal and PostgreSQL are killed in the middle; whether
    anybody was written to twice or not at all the sandbox's ledger tells. 100,000 take some fifteen minutes.

    Examples: journeys bench --journeys 100, journeys bench --segments 1000000, journeys bench --campaign 100000
    """
    # Not at the top: the image has neither the bench nor the embedded wheels.
    from bench import campaigns
    from bench import segments as over_segments
    from bench.run import bench as run
    from cli.stack import StackError

    try:
        if campaign:
            signals.run(campaigns.bench(campaign))
        else:
            signals.run(over_segments.bench(segments) if segments else run(journeys, rounds))
    except signals.Interrupted as interrupted:
        raise typer.Exit(128 + interrupted.signal) from None
    except StackError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
