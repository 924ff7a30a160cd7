"""Reads a log: what each of its rows means, in the order it happened."""

import contextlib
import csv
import gzip
import io
import itertools
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from cli.replay.mapping import EventRule, LogMapping, Row, Unusable, fill


class BadLog(Exception):
    """The log as a whole cannot be played; the message says why."""


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be understood.

    Attributes:
        line: Where it begins, counted from 1.
    """

    line: int
    reason: str


@dataclass(frozen=True)
class Happening:
    """A call to send.

    Attributes:
        at: When it happened, by the log.
        line: Of the row it was made of.
        call: As the tracking API takes it, but for its timestamp.
    """

    at: datetime
    line: int
    call: dict[str, Any]


@dataclass
class Log:
    """What a log holds; every row is counted once among the last four.

    Attributes:
        happenings: What to send, in order.
        identified: How many of them introduce a customer.
        mapped: Rows that became events.
        ignored: Rows passed over, by reason.
        left_out: Rows of cases beyond the first so many.
    """

    rows: int = 0
    mapped: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)
    left_out: int = 0
    identified: int = 0
    happenings: list[Happening] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class _Understood:
    """A row that can be played."""

    at: datetime
    line: int
    case: str = field(compare=False)
    row: Row = field(compare=False)


def read(path: Path, mapping: LogMapping, *, name: str, limit_cases: int | None = None) -> Log:
    """Read a log, plain or gzip.

    Args:
        name: Of this replay; every event carries it, so that what comes of them can be counted.
        limit_cases: Only the cases that appear first, so many.

    Raises:
        BadLog: The file cannot be read, or lacks a column the mapping speaks of.
    """
    log = Log()
    understood: list[_Understood] = []
    with _open(path, mapping.encoding) as file:
        for line, row in _rows(path, file, mapping, log):
            try:
                understood.append(_Understood(_time(row, mapping), line, _case(row, mapping), row))
            except Unusable as error:
                log.unreadable.append(Unreadable(line, str(error)))
    understood.sort()
    wanted = _first_cases(understood, limit_cases)
    writer = _Writer(mapping, name, log)
    for each in understood:
        if each.case in wanted:
            writer.write(each)
        else:
            log.left_out += 1
    log.unreadable.sort(key=lambda each: each.line)
    return log


class _Writer:
    """Turns rows into calls."""

    def __init__(self, mapping: LogMapping, name: str, log: Log) -> None:
        self._mapping = mapping
        self._name = name
        self._log = log
        self._introduced: set[str] = set()

    def write(self, understood: _Understood) -> None:
        """Count a row, and add what it means."""
        row, log = understood.row, self._log
        rules = [rule for rule in self._mapping.events if rule.fits(row)]
        if not rules:
            reason = next((rule.because for rule in self._mapping.ignored if rule.fits(row)), None)
            if reason is None:
                log.unreadable.append(Unreadable(understood.line, "no rule of the mapping says what it means"))
            else:
                log.ignored[reason] += 1
            return
        try:
            calls = self._calls(understood, rules)
        except Unusable as error:
            log.unreadable.append(Unreadable(understood.line, str(error)))
            return
        log.mapped += 1
        log.happenings += [Happening(understood.at, understood.line, call) for call in calls]

    def _calls(self, understood: _Understood, rules: Sequence[EventRule]) -> list[dict[str, Any]]:
        row, customer = understood.row, self._mapping.customer
        user = fill(customer.user_id, row)
        place = fill(self._mapping.message_id, row) if self._mapping.message_id else f"{self._name}:{understood.line}"
        about = {"userId": user, "context": {"replay": self._name}}
        calls = [
            {
                **about,
                "type": "track",
                "messageId": f"{place}:{rule.event}",
                "event": rule.event,
                "properties": {name: fill(value, row) for name, value in rule.properties.items()},
            }
            for rule in rules
        ]
        if user in self._introduced:
            return calls
        introduction: dict[str, Any] = {
            **about,
            "type": "identify",
            "messageId": f"{self._name}:{user}",
            "traits": {name: fill(value, row) for name, value in customer.traits.items()},
        }
        if customer.device:
            introduction["context"] = {**about["context"], "device": {"token": fill(customer.device, row)}}
        self._introduced.add(user)
        self._log.identified += 1
        return [introduction, *calls]


@contextlib.contextmanager
def _open(path: Path, encoding: str) -> Iterator[TextIO]:
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("rb"))
        except OSError as error:
            raise BadLog(f"{path}: {error.strerror or error}") from None
        binary = opened.enter_context(gzip.open(file)) if path.suffix == ".gz" else file
        # What does not fit the encoding stays recognisable, and costs its own row only.
        yield io.TextIOWrapper(cast(BinaryIO, binary), encoding=encoding, errors="surrogateescape", newline="")


def _rows(path: Path, file: TextIO, mapping: LogMapping, log: Log) -> Iterator[tuple[int, Row]]:
    """Count the rows and return those that are whole, each with the line it begins on."""
    reader = csv.reader(file, delimiter=mapping.delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
            problem = None
        except csv.Error as error:
            values, problem = [], f"is not CSV, from here to line {reader.line_num}: {error}"
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeError) as error:
            raise BadLog(f"{path}: cannot be read beyond line {line - 1}: {error}") from None
        if values is None:
            break
        if not values and problem is None:
            continue
        if header is None:
            header = _header(path, values, mapping)
            continue
        log.rows += 1
        problem = problem or _problem(values, header, mapping)
        if problem:
            log.unreadable.append(Unreadable(line, problem))
        else:
            yield line, dict(zip(header, values, strict=True))
    if header is None:
        raise BadLog(f"{path}: is empty; its first line must name the columns")


def _header(path: Path, columns: list[str], mapping: LogMapping) -> list[str]:
    columns = [column.strip().removeprefix("\ufeff") for column in columns]
    repeated = sorted(column for column, times in Counter(columns).items() if times > 1)
    if repeated:
        raise BadLog(f"{path}: its first line names a column twice: {', '.join(repeated)}")
    missing = sorted(mapping.needed_columns() - set(columns))
    if missing:
        raise BadLog(f"{path}: lacks columns the mapping speaks of: {', '.join(missing)}. It has {', '.join(columns)}")
    return columns


def _problem(values: list[str], header: list[str], mapping: LogMapping) -> str | None:
    if len(values) != len(header):
        return f"has {len(values)} columns, the first line {len(header)}"
    for column, value in zip(header, values, strict=True):
        if any("\udc80" <= character <= "\udcff" for character in value):
            return f"{column}: must be written in {mapping.encoding}"
    return None


def _time(row: Row, mapping: LogMapping) -> datetime:
    column, form = mapping.columns.time, mapping.times.format
    try:
        # Whether it has a zone is looked at below.
        time = datetime.strptime(row[column], form) if form else datetime.fromisoformat(row[column])  # noqa: DTZ007
    except ValueError:
        raise Unusable(f"{column}: must be a time{f' written as {form}' if form else ' in ISO 8601'}") from None
    if time.tzinfo is None:
        zone = mapping.zone()
        if zone is None:
            raise Unusable(f"{column}: names no time zone, and the mapping's times.zone is not set")
        time = time.replace(tzinfo=zone)
    return time


def _case(row: Row, mapping: LogMapping) -> str:
    case = row[mapping.columns.case].strip()
    if not case:
        raise Unusable(f"{mapping.columns.case}: must not be empty")
    return case


def _first_cases(understood: Sequence[_Understood], limit: int | None) -> set[str]:
    cases = dict.fromkeys(each.case for each in understood)
    return set(itertools.islice(cases, limit))
