"""The reconciliation as people read it."""

from collections.abc import Iterator
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from cli.replay.play import Timing
from cli.replay.reconciliation import Reconciliation
from cli.tables import messages_table, outcomes_table

_SHOWN = 5
"""Rows that are named one by one where something is wrong with them."""


def show(reconciliation: Reconciliation, timing: Timing, wait: timedelta, console: Console) -> None:
    """Print all the numbers of a replay, and what does not add up."""
    log, sent, counts = reconciliation.log, reconciliation.sent, reconciliation.counts
    sums = Table(title="Rows and events", title_justify="left", show_header=False)
    sums.add_column()
    sums.add_column(justify="right")
    for name, number in {
        "rows read": log.rows,
        "  mapped": log.mapped,
        "  ignored": log.ignored.total(),
        "  unreadable": len(log.unreadable),
        "  of cases left out": log.left_out,
        "events made of them": len(log.happenings),
        "  that introduce a customer": log.identified,
        "events sent": sent.events,
        "  accepted": sent.accepted,
        "  duplicate": sent.duplicate,
        "  rejected": len(sent.rejected),
        "events kept by the database": counts.events,
        "  parked": counts.parked,
        "  not dispatched": counts.undispatched,
        "enrolments": reconciliation.enrolments,
        "  goal reached": reconciliation.by_state("goal"),
        "  still waiting": reconciliation.by_state("running"),
    }.items():
        sums.add_row(name, f"{number:,}")
    console.print(sums)
    for reason, number in log.ignored.most_common():
        console.print(f"ignored {number:,}: {reason}", markup=False)
    for row in log.unreadable[:_SHOWN]:
        console.print(f"unreadable, line {row.line}: {row.reason}", markup=False)
    for call in sent.rejected[:_SHOWN]:
        console.print(f"rejected, line {call.line}: {call.field}: {call.rule}", markup=False)
    for note, number in counts.notes.items():
        console.print(f"events, {number:,}: {note}", markup=False)
    console.print(outcomes_table(counts.enrolments))
    console.print(messages_table(counts.messages))
    for line in _pace(reconciliation, timing, wait):
        console.print(line, highlight=False)
    faults = reconciliation.faults()
    for fault in faults:
        console.print(f"Does not add up: {fault}", style="red", markup=False)
    if not faults:
        console.print("Every count adds up.", style="green")


def _pace(reconciliation: Reconciliation, timing: Timing, wait: timedelta) -> Iterator[str]:
    """Say how fast it went, and how far the machine fell behind the speed asked for."""
    log, sent, counts = reconciliation.log, reconciliation.sent, reconciliation.counts
    span = log.happenings[-1].at - timing.first
    took = sent.took.total_seconds()
    yield (
        f"{_spoken(span)} of the log in {took:.0f} s: effective speed {span.total_seconds() / max(took, 1e-9):,.0f} "
        f"of {timing.speed:,.0f}" + (f", then {_spoken(wait)} more" if wait else "")
    )
    yield f"Events were sent at most {_lag(sent.behind, timing)} late"
    if counts.median_dispatch is not None and counts.slowest_dispatch is not None:
        median, slowest = timedelta(seconds=counts.median_dispatch), timedelta(seconds=counts.slowest_dispatch)
        yield f"and reached their runs after {_lag(median, timing)} at the median, {_lag(slowest, timing)} at most"
    if abs(shift := timing.later_in_the_day) > timedelta(minutes=1):
        which = "later" if shift > timedelta(0) else "earlier"
        yield f"The log was played {_spoken(abs(shift))} {which} in the day than it happened"


def _lag(wall: timedelta, timing: Timing) -> str:
    return f"{wall.total_seconds():.2f} s ({_spoken(wall * timing.speed)} of journey time)"


def _spoken(duration: timedelta) -> str:
    hours = duration.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
