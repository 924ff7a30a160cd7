"""`journeys replay`: a log of what customers did, played through the HTTP API and reconciled."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import signals
from cli.attended import while_whole
from cli.installation import Access, Installation, NoInstallation, Refused, find_access, open_installation
from cli.replay.log import BadLog, Log, read
from cli.replay.mapping import BadMapping, load
from cli.replay.play import Sent, Timing, begin, play
from cli.replay.reconciliation import Counts, Effects, Reconciliation
from cli.replay.report import show

SPEED = 5_000.0
"""A busy log goes through one small machine at about this speed without piling up."""

_SETTLES_WITHIN = 120.0
"""Wall seconds in which everything sent must have reached its runs."""

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class _NoStage(Exception):
    """The stack of its own could not start or go on."""


@dataclass(frozen=True)
class _Stage:
    """Where a log is played.

    Attributes:
        sandbox_url: The providers' sandbox, where it is ours to ask.
    """

    access: Access
    sandbox_url: str | None


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+)([mhd])", text)
    if not found:
        raise typer.BadParameter("must be a number with m, h or d: 90m, 12h, 30d", param_hint="--wait")
    return int(found[1]) * _UNITS[found[2]]


def replay(
    file: Annotated[Path, typer.Argument(help="CSV log with the columns' names in its first line; .gz is unpacked.")],
    mapping: Annotated[Path, typer.Option(help="TOML file that says which rows mean which events.")],
    limit_cases: Annotated[
        int | None, typer.Option(min=1, help="Only the cases that appear first, so many. All if not said.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=10_000_000,
            help=f"Log seconds per second, {SPEED:.0f} if not said. The report says how late events reached their "
            "runs: the slower, the truer.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        str, typer.Option(metavar="DURATION", help="Journey time to go on after the last event: 90m, 12h, 30d.")
    ] = "0d",
    url: Annotated[
        str | None,
        typer.Option(
            help="Play against a running installation, at its own speed, instead of a stack of its own. "
            "JOURNEYS_WRITE_KEY and JOURNEYS_OPERATOR_KEY must be set."
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Of a stack of its own: for logs and summary.json; whatever else is kept there goes.")
    ] = Path("var/replay"),
) -> None:
    """Play a log of what customers did, and reconcile what came of it.

    The log's events are sent over HTTP in their order, shifted to now and compressed by the speed. In the
    end every number must fit the others, from the rows read to the messages the providers have got: the
    exit code is 1 if one does not.

    Example: journeys replay log.csv.gz --mapping cli/replay/mappings/loan_applications.toml --limit-cases 500
    """
    console = Console()
    more = _duration(wait)
    if url and speed:
        raise typer.BadParameter("an installation has its own speed; --speed is for a stack of its own")
    try:
        name = f"replay-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        log = read(file, load(mapping), name=name, limit_cases=limit_cases)
        if not log.happenings:
            raise BadLog(f"{file}: holds nothing to play; {_first_reason(log)}")
        reconciliation = signals.run(_replay(log, name, console, speed or SPEED, more, url, data_dir))
    except signals.Interrupted as interrupted:
        console.print("Stopped; what was sent is not reconciled.")
        raise typer.Exit(128 + interrupted.signal) from None
    except (BadMapping, BadLog, NoInstallation, Refused, _NoStage, httpx.HTTPError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if reconciliation.faults() else 0)


def _first_reason(log: Log) -> str:
    return f"line {log.unreadable[0].line}: {log.unreadable[0].reason}" if log.unreadable else "no row became an event"


async def _replay(
    log: Log, name: str, console: Console, speed: float, wait: timedelta, url: str | None, data_dir: Path
) -> Reconciliation:
    console.print(
        f"{log.rows} rows: {len(log.happenings)} events of {log.identified} customers, "
        f"from {log.happenings[0].at:%Y-%m-%d %H:%M} to {log.happenings[-1].at:%Y-%m-%d %H:%M}."
    )
    if url:
        return await _perform(log, name, console, wait, _Stage(find_access(url), None))
    # Production images have this command without the embedded wheels.
    from cli.stack import EmbeddedStack, StackError

    console.print("Starting PostgreSQL, Temporal, the sandbox, the API and a worker …")
    try:
        async with EmbeddedStack(data_dir, durable=False, speed=speed) as stack:
            console.print(f"Temporal's web interface: {stack.ui_url}")
            console.print(f"Phones and mailboxes: {stack.sandbox_url}")
            stage = _Stage(Access(stack.api_url, stack.operator_key, stack.write_key), stack.sandbox_url)
            reconciliation = await while_whole(stack, _perform(log, name, console, wait, stage))
    except StackError as error:
        raise _NoStage(str(error)) from None
    summary = data_dir / "summary.json"
    summary.write_text(json.dumps(reconciliation.summary(), indent=2))
    console.print(f"All of it in {summary}")
    return reconciliation


async def _perform(log: Log, name: str, console: Console, wait: timedelta, stage: _Stage) -> Reconciliation:
    async with open_installation(stage.access) as installation:
        clock = await installation.clock()
        timing = begin(clock, log.happenings[0].at, datetime.now(UTC))
        if (ahead := (timing.begins - datetime.now(UTC)).total_seconds()) > 1:
            console.print(f"Begins in {ahead:.0f} s, at the log's own time of day.")
        with _progress(log, timing, console) as tell:
            sent = await play(installation, log.happenings, timing, tell)
        await asyncio.sleep(clock.wall_duration(wait).total_seconds())
        counts, effects = await _settled(installation, name, stage.sandbox_url)
    reconciliation = Reconciliation(log, sent, counts, effects)
    show(reconciliation, timing, wait, console)
    return reconciliation


@contextlib.contextmanager
def _progress(log: Log, timing: Timing, console: Console) -> Iterator[Callable[[Sent, datetime], None]]:
    """Show how far the log has been played; in lines, where nobody watches."""
    if not console.is_terminal:
        yield _lines(log, console)
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[at]:%Y-%m-%d %H:%M}"),
        TextColumn("{task.fields[behind]:.1f} s behind"),
        TimeElapsedColumn(),
    )
    with Progress("events", *columns, console=console) as progress:
        task = progress.add_task("events", total=len(log.happenings), at=timing.first, behind=0.0)

        def tell(sent: Sent, at: datetime) -> None:
            behind = (datetime.now(UTC) - timing.wall(at)).total_seconds()
            progress.update(task, completed=sent.events, at=at, behind=max(behind, 0.0))

        yield tell


def _lines(log: Log, console: Console) -> Callable[[Sent, datetime], None]:
    tenth = 0

    def tell(sent: Sent, at: datetime) -> None:
        nonlocal tenth
        if sent.events * 10 // len(log.happenings) > tenth:
            tenth = sent.events * 10 // len(log.happenings)
            console.print(f"{sent.events} of {len(log.happenings)} events sent, up to {at:%Y-%m-%d %H:%M}")

    return tell


async def _settled(installation: Installation, name: str, sandbox_url: str | None) -> tuple[Counts, Effects | None]:
    """Count when everything sent has reached its runs and no message is between two states.

    The providers are asked between two equal counts, so that both speak of the same moment.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SETTLES_WITHIN
    before: Counts | None = None
    while True:
        effects = await _effects(sandbox_url) if sandbox_url else None
        counts = Counts.model_validate(await installation.get("/v1/reports/counts", replay=name))
        leaving = sum(states.get("sending", 0) for states in counts.messages.values())
        if (counts == before and not counts.undispatched and not leaving) or loop.time() > deadline:
            return counts, effects
        before = counts
        await asyncio.sleep(0.5)


async def _effects(sandbox_url: str) -> Effects:
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=20) as client:
        answer = (await client.get("/_sandbox/counts")).raise_for_status()
        return Effects.model_validate(answer.json())
