"""A form as a condition of PostgreSQL: the same for one customer, for a page of them, and for its explanation.

Every value is a parameter. A condition is about a row ``c`` of `customers`; what customers have done is counted by
subqueries, each a few steps down an index. Where time alone may change what a condition says, it also gives the wall
time at which it may do so first: until then, only what happens to a customer can.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from segments.definition import filled_in
from segments.form import (
    ANY_EVENT,
    DEEPEST,
    MOST_CONDITIONS,
    Ago,
    AllOf,
    AnyOf,
    Attribute,
    BadForm,
    Comparison,
    Condition,
    FirstDone,
    FirstSeen,
    Has,
    HasDone,
    InCoded,
    InSegment,
    LastDone,
    Not,
    SumOf,
    Trait,
    Value,
    inner,
)
from segments.moment import Moment
from segments.words import said

CUSTOMERS = "$1::bigint[]"
"""The customers asked about: always the first parameter."""

ACTIVITY = "e.type in ('track', 'page', 'screen') and e.source not like 'operator:%'"
"""What the customer did themselves; an index of the events has the same words."""

_HAS = {
    "email": "c.email is not null",
    "phone": "c.phone is not null",
    "device": "exists (select from devices d where d.customer_id = c.id and d.dead_at is null)",
}


NEVER = "timestamptz '9999-01-01Z'"
"""Where journey time is slow, a window of years ends after all times there are."""

_MARK = re.compile(r"@\{(\d+)\}")
"""Stands for a value until it is known which are used at all."""


class BasisMissing(Exception):
    """What a condition rests on has not been worked out yet."""


@dataclass(frozen=True)
class Node:
    """A condition of the form.

    Attributes:
        path: Its place in the form.
        says: The condition in words.
        holds: SQL that is true or false, never null.
        actual: SQL of what it looks at, as JSON; None for those made of others.
        leaves: SQL of the wall times at which time alone may change it; null for never.
    """

    path: str
    says: str
    holds: str
    actual: str | None = None
    leaves: tuple[str, ...] = ()
    parts: tuple["Node", ...] = ()

    def all_leaves(self) -> Iterator[str]:
        """Yield what time alone may change, in every part."""
        yield from self.leaves
        for part in self.parts:
            yield from part.all_leaves()


@dataclass(frozen=True)
class Query:
    """A whole form, at a moment. Its SQL has marks where values go, which `written` puts there.

    Attributes:
        values: By mark.
    """

    root: Node
    values: Sequence[Any]

    def written(self, sql: str) -> tuple[str, list[Any]]:
        """Return SQL made of parts of this query with numbered parameters, and those from ``$2`` on."""
        numbers: dict[int, int] = {}

        def numbered(mark: re.Match[str]) -> str:
            return f"${numbers.setdefault(int(mark[1]), len(numbers) + 2)}"

        return _MARK.sub(numbered, sql), [self.values[mark] for mark in numbers]

    @property
    def holds(self) -> str:
        """SQL that is true for a customer who is in the segment."""
        return self.root.holds

    @property
    def look_at(self) -> str:
        """SQL of the first wall time at which time alone may change that; null for never."""
        leaves = list(self.root.all_leaves())
        return f"nullif(least({', '.join(leaves)}, {NEVER}), {NEVER})" if leaves else "null::timestamptz"


def condition(
    form: Condition, moment: Moment, segments: Mapping[str, Condition], bases: Mapping[str, Any] | None = None
) -> Query:
    """Turn a form into a condition.

    Args:
        segments: The forms of all segments by name.
        bases: What SQL in the code rests on, by `Coded.basis_key`.

    Raises:
        BadForm: It names segments there are not or that name it, or is too large together with those it names.
        BasisMissing: A basis has not been worked out yet.
    """
    writer = _Writer(moment, segments, bases or {})
    return Query(writer.node(form, "form", ()), writer.values)


def check(form: Condition, segments: Mapping[str, Condition], name: str | None = None) -> None:
    """Check what a form names.

    Args:
        segments: The forms of all other segments by name.
        name: The segment's own name.

    Raises:
        BadForm: It names segments there are not or that name it, or is too large together with those it names.
    """
    known = {**segments, **({name: form} if name else {})}
    for count, (path, _, depth) in enumerate(_expanded(form, "form", known, (name,) if name else ()), 1):
        if count > MOST_CONDITIONS or depth > DEEPEST:
            raise BadForm(
                [
                    (
                        path,
                        f"with the segments it names, the form must not have more than {MOST_CONDITIONS} conditions, "
                        f"nor more than {DEEPEST} levels",
                    )
                ]
            )


def coded_in(form: Condition, segments: Mapping[str, Condition]) -> Iterator[InCoded]:
    """Yield what of a form is SQL in the code, that of the segments it names included."""
    for _, each, _ in _expanded(form, "form", segments, ()):
        if isinstance(each, InCoded):
            yield each


def _expanded(
    form: Condition, path: str, segments: Mapping[str, Condition], within: tuple[str, ...], depth: int = 1
) -> Iterator[tuple[str, Condition, int]]:
    """Yield every condition of a form and of the segments it names, with its place and how deep it is."""
    yield path, form, depth
    if isinstance(form, InSegment):
        named = _named(form, path, segments, within)
        yield from _expanded(named, f"{path}.segment", segments, (*within, form.segment), depth + 1)
    for place, part in inner(form):
        yield from _expanded(part, f"{path}.{place}", segments, within, depth + 1)


def _named(form: InSegment, path: str, segments: Mapping[str, Condition], within: tuple[str, ...]) -> Condition:
    if form.segment in within:
        circle = " → ".join((*within[within.index(form.segment) :], form.segment))
        raise BadForm([(f"{path}.segment", f"must not lead back to itself: {circle}")])
    if form.segment not in segments:
        raise BadForm([(f"{path}.segment", f"there is no segment {form.segment}")])
    return segments[form.segment]


@dataclass
class _Writer:
    """Writes a form as SQL."""

    moment: Moment
    segments: Mapping[str, Condition]
    bases: Mapping[str, Any]
    values: list[Any] = field(default_factory=list)

    def node(self, form: Condition, path: str, within: tuple[str, ...]) -> Node:
        """Write one condition, with those it is made of."""
        parts = tuple(self.node(part, f"{path}.{place}", within) for place, part in inner(form))
        match form:
            case AllOf():
                return Node(path, said(form), f"({' and '.join(part.holds for part in parts)})", parts=parts)
            case AnyOf():
                return Node(path, said(form), f"({' or '.join(part.holds for part in parts)})", parts=parts)
            case Not():
                return Node(path, said(form), f"(not {parts[0].holds})", parts=parts)
            case InSegment():
                named = _named(form, path, self.segments, within)
                part = self.node(named, f"{path}.segment", (*within, form.segment))
                return Node(path, said(form), part.holds, parts=(part,))
            case _:
                holds, actual, leaves = self._leaf(form)
                return Node(path, said(form), holds, actual, leaves)

    def _leaf(self, form: Condition) -> tuple[str, str, tuple[str, ...]]:
        """Return what a condition without parts looks like: `Node.holds`, `Node.actual`, `Node.leaves`."""
        match form:
            case Has():
                return f"({_HAS[form.has]})", f"to_jsonb({_HAS[form.has]})", ()
            case Attribute():
                told = f"to_jsonb(c.{form.attribute})"
                compared = Comparison.model_validate(form.model_dump(exclude={"attribute"}, exclude_unset=True))
                return self._compared(told, compared), told, ()
            case Trait():
                told = self._property("c.traits", form.trait)
                return self._compared(told, form), told, ()
            case FirstSeen():
                holds, leaves = self._ago("c.created_at", form.first_seen)
                return holds, "to_jsonb(c.created_at)", leaves
            case HasDone(not_within=timedelta()):
                return self._not_done(form)
            case HasDone():
                return self._done(form)
            case FirstDone() | LastDone():
                return self._extreme(form)
            case SumOf():
                return self._sum(form)
            case InCoded():
                return self._coded(form)
        raise TypeError(type(form).__name__)

    # What customers did.

    def _not_done(self, form: HasDone) -> tuple[str, str, tuple[str, ...]]:
        """Quiet since the last time; since we know the customer, if there was none."""
        assert form.not_within is not None
        last = f'(select e."timestamp" {self._events(form)} order by e."timestamp" desc limit 1)'
        holds, leaves = self._ago(f"coalesce({last}, c.created_at)", Ago(not_within=form.not_within))
        return holds, f"to_jsonb({last})", leaves

    def _done(self, form: HasDone) -> tuple[str, str, tuple[str, ...]]:
        least, most = (form.exactly, form.exactly) if form.exactly is not None else (form.at_least, form.at_most)
        if least is None and most is None:
            least = 1
        events = self._events(form, form.within)
        count = f"(select count(*) {events})"
        leaves = []
        if form.within:
            # As many must leave the window until there are too few, or no more too many.
            for newest in (least - 1 if least else None, most):
                if newest is not None:
                    place = self._bind(newest, "bigint")
                    nth = f'(select e."timestamp" {events} order by e."timestamp" desc offset {place} limit 1)'
                    leaves.append(self._leaves(nth, form.within))
        if least == 1 and most is None:
            return f"exists (select {events})", f"to_jsonb({count})", tuple(leaves)
        return self._between(count, least, most), f"to_jsonb({count})", tuple(leaves)

    def _extreme(self, form: FirstDone | LastDone) -> tuple[str, str, tuple[str, ...]]:
        events, order = (form.first, "asc") if isinstance(form, FirstDone) else (form.last, "desc")
        found = f'select e.* {self._named_events(events)} order by e."timestamp" {order}, e.id {order} limit 1'
        at = f'(select e."timestamp" from ({found}) e)'
        actual = f"(select jsonb_build_object('at', e.\"timestamp\", 'properties', e.properties) from ({found}) e)"
        holds: list[str] = []
        leaves: list[str] = []
        if form.within or form.not_within:
            compared, changes = self._ago(
                at, Ago.model_validate(form.model_dump(include={"within", "not_within"}, exclude_none=True))
            )
            holds.append(compared)
            leaves.extend(changes)
        if form.where:
            holds.append(f"exists (select from ({found}) e where true{self._where(form.where)})")
        return f"({' and '.join(holds)})", actual, tuple(leaves)

    def _sum(self, form: SumOf) -> tuple[str, str, tuple[str, ...]]:
        events = self._named_events(form.of, form.within, form.where)
        amount = self._property("e.properties", form.sum)
        total = f"(select coalesce(sum({_number(amount)}), 0) {events})"
        leaves: tuple[str, ...] = ()
        if form.within:
            oldest = f'(select e."timestamp" {events} order by e."timestamp" limit 1)'
            leaves = (self._leaves(oldest, form.within),)
        least, most = (None if limit is None else Decimal(str(limit)) for limit in (form.at_least, form.at_most))
        return self._between(total, least, most, "numeric"), f"to_jsonb({total})", leaves

    def _events(self, form: HasDone, within: timedelta | None = None) -> str:
        return self._named_events(form.event, within, form.where)

    def _named_events(
        self,
        names: str | list[str],
        within: timedelta | None = None,
        where: Mapping[str, Value | Comparison] | None = None,
    ) -> str:
        """Return ``from events e where …`` for what a customer did."""
        if names == ANY_EVENT:
            which = ACTIVITY
        elif isinstance(names, str):
            which = f"e.name = {self._bind(names, 'text')}"
        else:
            which = f"e.name = any({self._bind(names, 'text[]')})"
        since = f' and e."timestamp" > {self._bind(self.moment.ago(within), "timestamptz")}' if within else ""
        return f"from events e where e.customer_id = c.id and {which}{since}{self._where(where or {})}"

    def _where(self, where: Mapping[str, Value | Comparison]) -> str:
        return "".join(
            " and "
            + self._compared(
                self._property("e.properties", name),
                wanted if isinstance(wanted, Comparison) else Comparison(is_=wanted),
            )
            for name, wanted in where.items()
        )

    def _coded(self, form: InCoded) -> tuple[str, str, tuple[str, ...]]:
        code, parameters = form.code, form.parameters()
        keep = {"customers": CUSTOMERS}
        if code.basis is not None:
            key = code.basis_key(parameters)
            if key not in self.bases:
                raise BasisMissing(key)
            keep["basis"] = self._bind(self.bases[key], "jsonb")
        values = {**parameters.model_dump(), "now": self.moment.now}
        sql = filled_in(code.sql, self._bind, values, self.moment.ago, keep=keep)
        return (
            f"(c.id in (select s.customer_id from ({sql}) s where s.member))",
            f"(select s.because from ({sql}) s where s.customer_id = c.id)",
            (),
        )

    # Comparing.

    def _compared(self, value: str, wanted: Comparison) -> str:
        """Compare a JSON value, which may be null."""
        if wanted.is_ is not None:
            return f"coalesce({value} = {self._json(wanted.is_)}, false)"
        if wanted.is_not is not None:
            return f"({value} is distinct from {self._json(wanted.is_not)})"
        if wanted.one_of is not None:
            return f"coalesce({value} = any({self._bind(wanted.one_of, 'jsonb[]')}), false)"
        if wanted.exists is not None:
            return f"({value} is {'not ' if wanted.exists else ''}null)"
        if wanted.contains is not None:
            return self._contains(value, wanted.contains)
        least, most = (None if limit is None else Decimal(str(limit)) for limit in (wanted.at_least, wanted.at_most))
        return f"coalesce({self._between(_number(value), least, most, 'numeric')}, false)"

    def _contains(self, value: str, part: Value) -> str:
        element = f"when 'array' then {value} @> jsonb_build_array({self._json(part)})"
        in_text = ""
        if isinstance(part, str):
            in_text = f"when 'string' then strpos(lower({value} #>> '{{}}'), lower({self._bind(part, 'text')})) > 0 "
        return f"coalesce(case jsonb_typeof({value}) {in_text}{element} end, false)"

    def _between(self, value: str, least: Any, most: Any, type: str = "bigint") -> str:
        """Compare a number with limits, either of which may be missing."""
        if least is not None and most is not None:
            return f"({value} between {self._bind(least, type)} and {self._bind(most, type)})"
        if least is not None:
            return f"({value} >= {self._bind(least, type)})"
        return f"({value} <= {self._bind(most, type)})"

    def _ago(self, at: str, wanted: Ago) -> tuple[str, tuple[str, ...]]:
        """Compare how long ago something was, which may never have been; and when that may change."""
        window = wanted.within or wanted.not_within
        assert window is not None
        since = self._bind(self.moment.ago(window), "timestamptz")
        holds = f"coalesce({at} {'>' if wanted.within else '<='} {since}, false)"
        return holds, (self._leaves(f"(select t from (select {at} as t) s where t > {since})", window),)

    # Time.

    def _leaves(self, at: str, window: timedelta) -> str:
        """Return SQL of the wall time at which what happened at a wall time has left a window, see `Moment.leaves`."""
        clock = self.moment.clock
        if clock.speed == 1:
            return f"({at} + {self._interval(window)})"
        origin, quick = self._bind(clock.origin, "timestamptz"), self._interval(clock.wall_duration(window))
        slow, speed = self._interval(window), self._bind(clock.speed, "float8")
        return (
            f"(select case when t >= {origin} then t + {quick} when t + {slow} <= {origin} then t + {slow} "
            f"else {origin} + (t + {slow} - {origin}) / {speed} end from (select {at} as t) s)"
        )

    # Parameters.

    def _interval(self, duration: timedelta) -> str:
        # Of seconds only: a day of an interval would follow the summer time of the session's zone.
        return f"make_interval(secs => {self._bind(duration.total_seconds(), 'float8')})"

    def _property(self, of: str, name: str) -> str:
        return f"nullif({of} -> {self._bind(name, 'text')}, 'null')"

    def _json(self, value: Value) -> str:
        return self._bind(value, "jsonb")

    def _bind(self, value: Any, type: str) -> str:
        self.values.append(value)
        return f"@{{{len(self.values) - 1}}}::{type}"


def _number(value: str) -> str:
    """Return SQL of the number a JSON value is; null if it is none."""
    return f"(case when jsonb_typeof({value}) = 'number' then ({value})::numeric end)"
