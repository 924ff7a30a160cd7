"""What of segments is declared in the code: SQL for what no form can say, and the segments a pack brings along."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

_PLACEHOLDER = re.compile(r"(?<![:\w]):([a-z_]+)\b")

_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (int, "bigint"),
    ((float, Decimal), "numeric"),
    ((str, StrEnum), "text"),
    (datetime, "timestamptz"),
)

Bind = Callable[[Any, str], str]
"""Takes a value and its SQL type, returns the placeholder that stands for it."""


class CodedParameters(BaseModel):
    """Parameters of SQL in the code; a duration reaches it as the wall time that long ago."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Coded:
    """SQL that says for some customers whether they are in.

    Attributes:
        parameters: What a form gives under ``with``; in the SQL ``:name`` stands for each, ``:customers`` for the
            customers asked about (``bigint[]``), ``:now`` for the present (wall time, as every time in it).
        sql: Returns ``customer_id``, ``member`` (boolean), and ``because`` (jsonb), which explains it; at most one
            row a customer. Who has none is not in.
        basis: SQL over all customers with one jsonb value, such as quintiles, which ``:basis`` stands for in `sql`.
            It is worked out when all customers are looked at, and holds until the next time.
    """

    name: str
    story: str
    parameters: type[CodedParameters]
    sql: str
    basis: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes whenever its SQL does."""
        return sha256(f"{self.name}:{self.sql}:{self.basis}".encode()).hexdigest()[:16]

    def basis_key(self, parameters: CodedParameters) -> str:
        """Return the name under which the basis is kept: forms that need the same one share it."""
        names = set(_PLACEHOLDER.findall(self.basis or ""))
        values = orjson.dumps(parameters.model_dump(mode="json", include=names), option=orjson.OPT_SORT_KEYS)
        return f"{self.name}:{sha256((self.basis or '').encode() + values).hexdigest()[:16]}"


def filled_in(
    sql: str, bind: Bind, values: Mapping[str, Any], ago: Callable[[timedelta], datetime], *, keep: Mapping[str, str]
) -> str:
    """Return SQL with a parameter for every ``:name``.

    Args:
        ago: Gives the wall time a duration ago.
        keep: What stands for names that have no value.
    """

    def stands_for(match: re.Match[str]) -> str:
        name = match[1]
        if name in keep:
            return keep[name]
        value = values[name]
        if isinstance(value, timedelta):
            value = ago(value)
        return bind(value, next(sql for types, sql in _TYPES if isinstance(value, types)))

    return _PLACEHOLDER.sub(stands_for, sql)


@dataclass(frozen=True)
class Segment:
    """A segment a pack brings along: a version of it is in every installation that enables the pack.

    Attributes:
        form: As `segments.form` reads it.
        source: File and line of the declaration.
    """

    name: str
    story: str
    form: Mapping[str, Any]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        caller = sys._getframe(2)
        object.__setattr__(self, "source", self.source or f"{caller.f_code.co_filename}:{caller.f_lineno}")
