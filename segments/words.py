"""Conditions in words."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from segments.form import (
    ANY_EVENT,
    Ago,
    AllOf,
    AnyOf,
    Attribute,
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
)


def said(condition: Condition) -> str:
    """Say a condition, without those it is made of."""
    match condition:
        case AllOf():
            return "all of"
        case AnyOf():
            return "any of"
        case Not():
            return "not"
        case InSegment():
            return f"in the segment {condition.segment}"
        case InCoded():
            given = ", ".join(f"{name} {value}" for name, value in condition.with_.items())
            return f"{condition.coded}: {given}" if given else condition.coded
        case Has():
            return f"has {'a device that takes pushes' if condition.has == 'device' else f'a known {condition.has}'}"
        case Trait():
            return f"{condition.trait} {_compared(condition)}"
        case Attribute():
            return f"{condition.attribute.replace('_', ' ')} {_compared(condition)}"
        case FirstSeen():
            return f"first seen{_ago(condition.first_seen)}"
        case HasDone():
            return _done(condition)
        case FirstDone():
            return f"first {_named(condition.first)}{_where(condition.where)}{_ago(condition)}"
        case LastDone():
            return f"last {_named(condition.last)}{_where(condition.where)}{_ago(condition)}"
        case SumOf():
            what = f"sum of {condition.sum} of {_named(condition.of)}{_where(condition.where)}"
            return f"{what} {_limits(condition.at_least, condition.at_most)}{_in(condition.within)}"


def duration(window: timedelta) -> str:
    """Say a duration as a person would: "14 days"."""
    seconds = window.total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def _done(condition: HasDone) -> str:
    what = f"{_named(condition.event)}{_where(condition.where)}"
    if condition.not_within:
        return f"no {what} for {duration(condition.not_within)}"
    if condition.exactly is not None:
        often = f"exactly {_times(condition.exactly)}"
    elif condition.at_least is None and condition.at_most is None:
        often = f"at least {_times(1)}"
    else:
        often = _limits(condition.at_least, condition.at_most, times=True)
    return f"{what} {often}{_in(condition.within)}"


def _named(events: str | list[str]) -> str:
    if events == ANY_EVENT:
        return "activity"
    return events if isinstance(events, str) else " or ".join(events)


def _where(where: Mapping[str, Any] | None) -> str:
    told = [
        f"{name} {_compared(wanted) if isinstance(wanted, Comparison) else f'is {_value(wanted)}'}"
        for name, wanted in (where or {}).items()
    ]
    return f" with {' and '.join(told)}" if told else ""


def _compared(wanted: Comparison | Attribute) -> str:
    if wanted.is_ is not None:
        return f"is {_value(wanted.is_)}"
    if wanted.is_not is not None:
        return f"is not {_value(wanted.is_not)}"
    if wanted.one_of is not None:
        return f"is one of {', '.join(map(_value, wanted.one_of))}"
    if wanted.exists is not None:
        return "is known" if wanted.exists else "is not known"
    assert isinstance(wanted, Comparison)
    if wanted.contains is not None:
        return f"contains {_value(wanted.contains)}"
    return _limits(wanted.at_least, wanted.at_most)


def _limits(least: float | None, most: float | None, *, times: bool = False) -> str:
    if least is not None and most is not None:
        return f"{least} to {_times(most) if times else most}"
    word, limit = ("at least", least) if least is not None else ("at most", most)
    assert limit is not None
    return f"{word} {_times(limit) if times else limit}"


def _times(count: float) -> str:
    return "once" if count == 1 else f"{count} times"


def _in(within: timedelta | None) -> str:
    return f" in {duration(within)}" if within else ""


def _ago(when: Ago | FirstDone | LastDone) -> str:
    if when.within:
        return f" at most {duration(when.within)} ago"
    return f" more than {duration(when.not_within)} ago" if when.not_within else ""


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
