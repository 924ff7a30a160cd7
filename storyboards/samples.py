"""Values to try a journey with: those of an event's types, and those the code compares with."""

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import prod
from random import Random
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from domain.events import Event
from workflows.source import UNKNOWN, Written, parsed, written_classes

_INTEGERS = (0, 1, 2, 3, 5, 8, 9, 10, 20, 50, 100)
_NUMBERS = (0.0, 0.1, 0.5, 0.9, 1.0, 2.0, 10.0, 100.0, 1000.0)
_DURATIONS = tuple(timedelta(hours=hours) for hours in (1, 24, 3 * 24, 7 * 24, 14 * 24, 30 * 24))
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,31}")


@lru_cache(maxsize=256)
def samples(event: type[Event], compared: tuple[Any, ...], most: int, now: datetime) -> Sequence[Event]:
    """Return events of a kind, as different from each other as their fields allow, the same ones every time.

    Args:
        compared: Values the code compares with, see `compared`.
        now: Dates lie before and after it.
    """
    names = list(event.model_fields)
    values = [list(_values(field.annotation, compared, now)) for field in event.model_fields.values()]
    chosen: Iterable[tuple[Any, ...]]
    if prod(len(each) for each in values) <= 4 * most:
        chosen = itertools.product(*values)
    else:
        random = Random(event.event_name)
        chosen = (tuple(random.choice(each) for each in values) for _ in range(4 * most))
    found: dict[str, Event] = {}
    for given in chosen:
        try:
            sample = event.model_validate(dict(zip(names, given, strict=True)))
        except ValidationError:
            continue
        found[sample.model_dump_json()] = sample
    spread = list(found.values())
    return tuple(spread[:: max(1, -(-len(spread) // most))])


def compared(workflow: type) -> tuple[Any, ...]:
    """Return the constants a journey and its module's functions compare with, and its parameters' defaults."""
    found: list[Any] = []
    for written in written_classes(workflow):
        functions = [node for node in parsed(written.file).body if not isinstance(node, ast.ClassDef)]
        for node in itertools.chain(*map(ast.walk, (written.tree, *functions))):
            found += [value for each in _sides(node) for value in _constants(written, each)]
    for field in getattr(workflow, "_parameters_model").model_fields.values():  # noqa: B009
        found.append(field.default)
    return tuple(dict.fromkeys(each for each in found if isinstance(each, int | float | str | timedelta)))


def _sides(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, comparators=others):
            yield from (left, *others)
        case ast.MatchValue(value=value):
            yield value


def _constants(written: Written, expression: ast.expr) -> Iterator[Any]:
    value = written.value(expression)
    for each in value if isinstance(value, tuple | list | set | frozenset) else (value,):
        if each is not UNKNOWN:
            # What a code or a choice is compared with may be the member of an enumeration.
            yield each.value if isinstance(each, Enum) else each


def _values(annotation: Any, known: Sequence[Any], now: datetime) -> Iterator[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _values(arguments[0], known, now)
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from _values(each, known, now)
    elif origin is Literal:
        yield from arguments
    elif isinstance(annotation, type):
        yield from _of_type(annotation, known, now)


def _of_type(kind: type, known: Sequence[Any], now: datetime) -> Iterator[Any]:
    numbers = [each for each in known if isinstance(each, int | float) and not isinstance(each, bool)]
    if issubclass(kind, Enum):
        yield from kind
    elif issubclass(kind, bool):
        yield from (False, True)
    elif issubclass(kind, int):
        near = {int(each) + step for each in numbers for step in (-1, 0, 1)}
        yield from sorted({*_INTEGERS, *near})
    elif issubclass(kind, float | Decimal):
        near_them = {each + step for each in numbers for step in (-0.01, 0, 0.01)}
        yield from sorted({*_NUMBERS, *near_them})
    elif issubclass(kind, datetime):
        yield from (now + each for each in _spans(known))
    elif issubclass(kind, date):
        yield from ((now + each).date() for each in _spans(known))
    elif issubclass(kind, timedelta):
        yield from (each for each in _spans(known) if each > timedelta(0))
    elif issubclass(kind, str):
        yield from dict.fromkeys(
            ["other", *(each for each in known if isinstance(each, str) and _CODE.fullmatch(each))]
        )
    elif kind is NoneType:
        yield None


def _spans(known: Sequence[Any]) -> list[timedelta]:
    given = [each for each in known if isinstance(each, timedelta)]
    near = {each + step for each in given for step in (timedelta(hours=-1), timedelta(0), timedelta(hours=1))}
    return sorted({*_DURATIONS, *(-each for each in _DURATIONS[:2]), *near})
