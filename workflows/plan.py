"""Plans: what is sent when, where that is no story any more but a table. A plan is a parameter of its journey.

The table is a CSV file, one line a message:

    step,day,channels,text
    passport,0,web_push email sms,registration/passport_at_hand

A run keeps the plan it began with, as its parameter: a plan may be changed while customers are in it.
"""

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer

from domain.messages import Channel

COLUMNS = ["step", "day", "channels", "text"]

LAST_DAY = 3660
"""What no day of a plan exceeds: ten years."""


@dataclass(frozen=True)
class Planned:
    """One message of a plan.

    Attributes:
        step: What the customer stands at.
        day: Days since they came there.
        channels: The cascade it goes by, in order.
        text: ``group/name``.
        source: File and line.
    """

    step: str
    day: int
    channels: tuple[Channel, ...]
    text: str
    source: str


@dataclass(frozen=True)
class Plan:
    """What is sent when.

    Attributes:
        messages: In the order of the file. A message's place in it is what a run remembers.
        table: The file, as it was read.
    """

    messages: tuple[Planned, ...]
    table: str

    def __str__(self) -> str:
        return f"{len(self.messages)} messages"

    def at(self, step: str, place: int) -> list[tuple[int, Planned]]:
        """Return the messages of a step from a place on, each with its place."""
        return [(at, each) for at, each in enumerate(self.messages) if at >= place and each.step == step]


def plan_of(steps: Collection[str]) -> Callable[[object], Plan]:
    """Return what reads a plan whose messages belong to some steps, in their order: from a file, or its content.

    Raises:
        ValueError: By the function that is returned; with file and line of everything that is wrong.
    """

    def read(given: object) -> Plan:
        if isinstance(given, Plan):
            return given
        if isinstance(given, str) and "\n" in given:
            return _parse(given, "plan", tuple(steps))
        if not isinstance(given, str | Path):
            raise ValueError("must be the name of a file, or its content")
        try:
            return _parse(Path(given).read_text(encoding="utf-8"), str(given), tuple(steps))
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read {given}: {error}") from None

    return read


AS_TABLE = PlainSerializer(lambda plan: plan.table, return_type=str)
"""How a plan travels with the parameters of a run."""


@lru_cache(maxsize=64)
def _parse(table: str, source: str, steps: tuple[str, ...]) -> Plan:
    rows = list(csv.reader(table.splitlines()))
    if not rows or rows[0] != COLUMNS:
        raise ValueError(f"{source}:1: the first line must be {','.join(COLUMNS)}")
    lines = [(f"{source}:{number}", row) for number, row in enumerate(rows[1:], 2) if row]
    if wrong := [f"{at}: {problem}" for at, row in lines for problem in _wrong_line(row, steps)]:
        raise ValueError("; ".join(wrong))
    messages = tuple(Planned(row[0], int(row[1]), _channels(row[2]), row[3], at) for at, row in lines)
    if wrong := [*_wrong_order(messages, steps), *_holes(messages, source, steps)]:
        raise ValueError("; ".join(wrong))
    return Plan(messages, table)


def _channels(written: str) -> tuple[Channel, ...]:
    return tuple(map(Channel, written.split()))


def _wrong_line(row: list[str], steps: Sequence[str]) -> Iterator[str]:
    if len(row) != len(COLUMNS):
        yield f"has {len(row)} values, not {len(COLUMNS)}: {', '.join(COLUMNS)}"
        return
    step, day, channels, text = row
    if step not in steps:
        yield f"there is no step {step!r}; there are {', '.join(steps)}"
    if not (day.isascii() and day.isdecimal() and int(day) <= LAST_DAY):
        yield f"day must be a whole number, 0 to {LAST_DAY}, not {day!r}"
    given = channels.split()
    if not given or len(set(given)) != len(given):
        yield "channels must be one or several, each once, such as push email sms"
    for unknown in sorted(set(given) - set(Channel)):
        yield f"there is no channel {unknown!r}; there are {', '.join(Channel)}"
    group, slash, name = text.partition("/")
    if not (group and slash and name) or text != text.strip():
        yield f"a text is named group/name, not {text!r}"


def _wrong_order(messages: Sequence[Planned], steps: Sequence[str]) -> Iterator[str]:
    places: dict[str, str] = {}
    for before, each in zip([None, *messages], messages, strict=False):
        if each.text in places:
            yield f"{each.source}: {each.text} is in {places[each.text]} already; nobody gets a text twice"
        places[each.text] = each.source
        if before is None:
            continue
        if steps.index(each.step) < steps.index(before.step):
            yield f"{each.source}: {each.step} comes before {before.step}; messages stand in the order of the steps"
        if each.step == before.step and each.day <= before.day:
            yield f"{each.source}: day {each.day} comes after day {before.day}; days go forward, one message a day"


def _holes(messages: Sequence[Planned], source: str, steps: Sequence[str]) -> Iterator[str]:
    for step in steps:
        if not any(each.step == step for each in messages):
            yield f"{source}:1: no message for the step {step}; whoever stays there would hear nothing"


def _rising(moments: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
    if not moments:
        raise ValueError("must name at least one duration, such as P1D")
    for before, each in zip((timedelta(-1), *moments), moments, strict=False):
        if each < timedelta(0) or each <= before:
            raise ValueError('durations must go forward, such as ["PT1H", "P1D", "P3D"]')
    if moments[-1] > timedelta(days=LAST_DAY):
        raise ValueError(f"must not be longer than {LAST_DAY} days")
    return moments


Moments = Annotated[tuple[timedelta, ...], AfterValidator(_rising)]
"""When the messages of a journey are due, each counted from the same moment; journey time."""
