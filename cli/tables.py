"""Tables that several commands print."""

from collections.abc import Iterable, Mapping

from rich.table import Table

_OUTCOMES = (
    *("goal", "exit", "finished", "stopped", "merged", "erased"),
    *("cancelled", "terminated", "timed_out", "failed", "running"),
)
_STATUSES = (
    *("clicked", "replied", "read", "delivered", "sent", "accepted"),
    *("sending", "waiting", "unknown", "failed", "skipped"),
)


def outcomes_table(enrolments: Mapping[str, Mapping[str, int]]) -> Table:
    """Return stays by journey and outcome, those not over last."""
    return _cross("Journeys", "journey", enrolments, _OUTCOMES)


def messages_table(messages: Mapping[str, Mapping[str, int]]) -> Table:
    """Return messages by channel and status."""
    return _cross("Messages", "channel", messages, _STATUSES)


def _cross(title: str, rows: str, counts: Mapping[str, Mapping[str, int]], order: Iterable[str]) -> Table:
    columns = [name for name in order if any(name in each for each in counts.values())]
    table = Table(title=title, title_justify="left")
    table.add_column(rows)
    for column in ("all", *columns):
        table.add_column(column.replace("running", "still waiting"), justify="right")
    for name, by in counts.items():
        numbers = [sum(by.values()), *(by.get(column, 0) for column in columns)]
        table.add_row(name, *(f"{number:,}" if number else "" for number in numbers))
    return table
