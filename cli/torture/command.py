"""`journeys torture`: everything breaks while customers go on living, and then the promises are judged."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from cli import signals


def torture(
    minutes: Annotated[float, typer.Option(min=0.1, max=24 * 60, help="How long the storm lasts.")] = 10.0,
    seed: Annotated[
        int | None, typer.Option(help="Draws the faults and the customers; another one each time if not given.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="Only faults whose name contains this; may be given several times.")
    ] = None,
    customers_per_second: Annotated[float, typer.Option(min=0.1, max=50, help="How many begin each second.")] = 1.5,
    goals: Annotated[
        int | None, typer.Option(min=100, help="No storm: so many goals race the claims of messages.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")] = False,
    look: Annotated[
        Path | None, typer.Option(help="No storm: show the data a torture with --keep has left here, until Ctrl-C.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Leave the data at the end, to look into it.")] = False,
    data_dir: Annotated[Path, typer.Option(help="For logs and torture.json; whatever else is kept there goes.")] = Path(
        "var/torture"
    ),
) -> None:
    """Break everything while customers go on living, then judge every promise.

    Kills, freezes, full disks, wrong clocks, lying providers, resets of runs: by a schedule drawn from the
    seed, with three workers that all dispatch. Afterwards what backends heard, our tables, the providers' own
    ledger and the runs in Temporal must agree. The exit code is 1 if a promise was broken. Needs what `make
    setup` installs.

    With --goals it is another attack: the acceptance of goals and the claims of messages race for the same
    customers, and no claim may have its place after the goal.

    With --look it only shows what was kept, with the torture's own journeys and policy, and lets nothing move.

    Example: journeys torture --minutes 2 --seed 7 --fault killed --keep
    """
    from cli.stack import StackError

    console = Console(stderr=as_json)
    seed = random.SystemRandom().randrange(10_000) if seed is None else seed
    try:
        if look:
            signals.run(_look(console, look))
        if goals:
            told = signals.run(_race(console, goals, seed, data_dir))
        else:
            told = signals.run(_torture(console, minutes * 60, seed, fault, customers_per_second, data_dir, keep=keep))
    except signals.Interrupted as interrupted:
        raise typer.Exit(0 if look else 128 + interrupted.signal) from None
    except StackError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    raise typer.Exit(1 if told["violations"] else 0)


async def _torture(
    console: Console,
    seconds: float,
    seed: int,
    names: list[str] | None,
    customers_per_second: float,
    data_dir: Path,
    *,
    keep: bool,
) -> dict[str, Any]:
    from cli.torture import report
    from cli.torture.faults import FAULTS
    from cli.torture.run import run

    faults = [fault for fault in FAULTS if not names or any(name.lower() in fault.lower() for name in names)]
    if not faults:
        raise typer.BadParameter(f"no fault is named so; there are: {', '.join(FAULTS)}")
    tell = _teller(console)
    tell(f"seed {seed}; starting PostgreSQL, Temporal, the sandbox, the API and three workers …")
    told = await run(
        data_dir,
        seed=seed,
        seconds=seconds,
        customers_per_second=customers_per_second,
        faults=faults,
        keep=keep,
        tell=tell,
    )
    report.show(console, told)
    where = f"everything is in {data_dir}" if keep else f"the logs and torture.json are in {data_dir}"
    console.print(f"seed {seed}; {where}", soft_wrap=True, highlight=False)
    return told


async def _look(console: Console, data: Path) -> NoReturn:
    from cli.torture.look import look

    await look(data, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


async def _race(console: Console, goals: int, seed: int, data_dir: Path) -> dict[str, Any]:
    from cli.torture.race import race, show

    tell = _teller(console)
    tell(f"seed {seed}; starting PostgreSQL …")
    told = await race(data_dir, goals=goals, seed=seed, tell=tell)
    (data_dir / "race.json").write_text(json.dumps(told, indent=2))
    show(console, told)
    return told


def _teller(console: Console) -> Callable[[str], None]:
    """Say lines with the seconds gone by."""
    began = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - began:7.1f}  {line}", markup=False, highlight=False, soft_wrap=True)

    return tell
