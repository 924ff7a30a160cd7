"""The mapping: which column is what, who the customer is, which row means which event."""

import codecs
import math
import string
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
)

Row = Mapping[str, str]


class BadMapping(Exception):
    """The mapping cannot be used; every line of the message names a field and its rule."""


class Unusable(Exception):
    """A row lacks what the mapping needs of it; the message says what, never the value."""


def _template(text: str) -> str:
    """Check that a text with ``{column}`` in it names columns and nothing deeper."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"must be a text with {{column}} in it: {error}") from None
    for _, column, form, conversion in parts:
        if column is None:
            continue
        if not column or conversion or set(column) & set(".[") or "{" in (form or ""):
            raise ValueError("must name columns plainly, as {column}, or {column:0>6} to fill up with zeros")
    return text


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be an IANA time zone, such as Europe/Amsterdam")
    return name


@dataclass(frozen=True)
class Number:
    """A number read from a text with ``{column}`` in it."""

    template: str


def _value(given: object) -> bool | int | float | str | Number:
    if isinstance(given, str):
        return _template(given)
    if isinstance(given, bool | int | float):
        return given
    if isinstance(given, dict) and given.keys() == {"number"} and isinstance(given["number"], str):
        return Number(_template(given["number"]))
    raise ValueError('must be a text, a number, true, false, or { number = "{column}" }')


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("must be an encoding Python knows, such as utf-8 or latin-1") from None


def _listed(given: object) -> object:
    return [given] if isinstance(given, str) else given


Template = Annotated[str, AfterValidator(_template)]
Value = Annotated[bool | int | float | str | Number, PlainValidator(_value)]
Column = Annotated[str, StringConstraints(min_length=1)]
Zone = Annotated[str, AfterValidator(_zone)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Part):
    """The columns every log has, by their names in its first line.

    Attributes:
        time: When it happened.
        case: What happened to: an application, an order; the first cases are counted by it.
    """

    time: Column
    case: Column


class Times(_Part):
    """How times are written.

    Attributes:
        format: As for `strptime`; ISO 8601 if not said.
        zone: Of times that name none.
    """

    format: str | None = None
    zone: Zone | None = None


class Customer(_Part):
    """Who did it.

    Attributes:
        user_id: The backend's id.
        traits: Told by `identify` at the customer's first event.
        device: Token of the customer's app, for push.
    """

    user_id: Template
    traits: dict[str, Value] = {}
    device: Template | None = None


class Rule(_Part):
    """Rows of a kind: those whose columns have these values, or one of several."""

    when: dict[Column, Annotated[list[str], BeforeValidator(_listed)]] = Field(min_length=1)

    def fits(self, row: Row) -> bool:
        """Whether a row is of this kind."""
        return all(row[column] in wanted for column, wanted in self.when.items())


class EventRule(Rule):
    """Rows of a kind become an event.

    Attributes:
        event: The event's name.
        properties: The event's properties.
    """

    event: str = Field(min_length=1, max_length=255)
    properties: dict[str, Value] = {}


class IgnoreRule(Rule):
    """Rows of a kind mean nothing to any journey, for the reason given."""

    because: str = Field(min_length=1)


class LogMapping(_Part):
    """A whole mapping.

    Attributes:
        encoding: Of the log.
        delimiter: Between its columns.
        message_id: Id of a row's events, where the log has one: a row that is in it twice then counts
            once. The row's place in the log if not said.
        events: A row becomes an event for every rule it fits, in this order.
        ignored: Rows that fit no rule are not understood; what is to be passed over is said here.
    """

    title: str = Field(min_length=1)
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    columns: Columns
    times: Times = Times()
    customer: Customer
    message_id: Template | None = None
    events: list[EventRule] = Field(min_length=1)
    ignored: list[IgnoreRule] = []

    def needed_columns(self) -> set[str]:
        """Every column the mapping speaks of."""
        named = {self.columns.time, self.columns.case}
        for rule in (*self.events, *self.ignored):
            named |= rule.when.keys()
        return named.union(*(_columns_of(value) for value in self._values()))

    def zone(self) -> ZoneInfo | None:
        """The zone of times that name none."""
        return ZoneInfo(self.times.zone) if self.times.zone else None

    def _values(self) -> Iterator[Value]:
        yield self.customer.user_id
        yield from self.customer.traits.values()
        yield from (template for template in (self.customer.device, self.message_id) if template)
        for rule in self.events:
            yield from rule.properties.values()


def load(path: Path) -> LogMapping:
    """Read a mapping.

    Raises:
        BadMapping: The file is missing or wrong.
    """
    try:
        return LogMapping.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise BadMapping(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadMapping(f"{path}: {error}") from None
    except ValidationError as error:
        wrong = (
            f"{path}: {_place(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise BadMapping("\n".join(wrong)) from None


def fill(value: Value, row: Row) -> Any:
    """Return what a value of the mapping is for a row.

    Raises:
        Unusable: It must be a number and is none.
    """
    if not isinstance(value, Number):
        return value.format_map(row) if isinstance(value, str) else value
    try:
        number = float(value.template.format_map(row))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unusable(f"{value.template}: must be a number")
    return int(number) if number.is_integer() else number


def _columns_of(value: Value) -> set[str]:
    template = value.template if isinstance(value, Number) else value
    if not isinstance(template, str):
        return set()
    return {column for _, column, _, _ in string.Formatter().parse(template) if column}


def _place(location: tuple[int | str, ...]) -> str:
    """Name a field as it stands in the file, entries of lists counted from 1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in location)
