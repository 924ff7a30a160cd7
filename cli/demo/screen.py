"""What the demonstration shows: how it goes on, and what has happened in the end."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from cli.demo.pack import Figure
from cli.tables import messages_table, outcomes_table

_LINE_EVERY_DAYS = 1.0
"""Journey days between two lines where nobody watches."""

Counts = dict[str, Any]
Tell = Callable[[float, int, Counts], None]
"""Takes the journey days passed, the customers who have begun, and the installation's counts."""


@contextlib.contextmanager
def progress(console: Console, days: float) -> Iterator[Tell]:
    """Show how the story goes on; in lines, where nobody watches.

    Args:
        days: Journey days the story takes.
    """
    if not console.is_terminal:
        yield _lines(console, days)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def tell(day: float, customers: int, counts: Counts) -> None:
            live.update(_now(min(day, days), days, customers, counts))

        yield tell


def begin(console: Console, addresses: dict[str, str]) -> None:
    """Print where to look meanwhile."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in addresses.items():
        table.add_row(name, value)
    console.print(table)


def end(console: Console, summary: dict[str, Any], figures: Sequence[Figure], broken: Sequence[str]) -> None:
    """Print what has happened, what it shows, and which promises were not kept."""
    console.print(_people(summary["people"]))
    console.print(outcomes_table(summary["outcomes"]))
    for what, number in summary["waiting"].items():
        console.print(f"still waiting, {number}: {what}", highlight=False)
    console.print(messages_table(summary["messages"]))
    if figures:
        console.print(_figures(figures))
    console.print(
        f"{summary['customers']} customers, {summary['events']} events, {summary['enrolments']} enrolments, "
        f"{sum(sum(each.values()) for each in summary['messages'].values())} messages, "
        f"{summary['goals_reached']} goals reached, in {summary['seconds']:.0f} s"
    )
    for promise in broken:
        console.print(f"Broken: {promise}", style="red", markup=False)
    if not broken:
        console.print(
            "Kept: every accepted event reached its journeys, no message left twice, none after its goal.",
            style="green",
        )


def _now(day: float, days: float, customers: int, counts: Counts) -> RenderableType:
    running = sum(states.get("running", 0) for states in counts["enrolments"].values())
    goals = sum(states.get("goal", 0) for states in counts["enrolments"].values())
    done = int(40 * day / days)
    return Group(
        f"Day {day:4.1f} of {days:.0f}  {'━' * done}{'╌' * (40 - done)}",
        f"{customers} customers, {counts['events']} events, {goals} goals reached, {running} enrolments under way",
        messages_table(counts["messages"]),
    )


def _lines(console: Console, days: float) -> Tell:
    due = 0.0

    def tell(day: float, customers: int, counts: Counts) -> None:
        nonlocal due
        if day < due:
            return
        due = day + _LINE_EVERY_DAYS
        states = list(counts["enrolments"].values())
        console.print(
            f"day {min(day, days):4.1f} of {days:.0f}: {customers} customers, {counts['events']} events, "
            f"{sum(sum(each.values()) for each in counts['messages'].values())} messages, "
            f"{sum(each.get('goal', 0) for each in states)} goals, "
            f"{sum(each.get('running', 0) for each in states)} under way",
            highlight=False,
        )

    return tell


def _people(kinds: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(title="People who", title_justify="left")
    table.add_column("")
    for column in next(iter(kinds.values())):
        table.add_column(column, justify="right")
    for story, numbers in kinds.items():
        table.add_row(story, *map(str, numbers.values()))
    return table


def _figures(figures: Sequence[Figure]) -> Table:
    table = Table(title="What the story says it should show", title_justify="left")
    for column in ("", "observed", "the story"):
        table.add_column(column, justify="left" if not column else "right")
    for each in figures:
        table.add_row(each.what, each.observed, each.story)
    return table
