"""What a form means, in plain Python: nothing of it is shared with the product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)
"""When the installation of these tests began."""

DURATION = TypeAdapter(timedelta)


@dataclass(frozen=True)
class Deed:
    """Something a customer did, or something of ours about them.

    Attributes:
        place: In the order of acceptance.
    """

    name: str
    at: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)
    type: str = "track"
    source: str = "backend"
    place: int = 0


@dataclass
class Human:
    """A customer; `speed` is a test customer's own, from `ORIGIN` on."""

    created_at: datetime
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    devices: int = 0
    traits: dict[str, Any] = field(default_factory=dict)
    deeds: list[Deed] = field(default_factory=list)
    speed: float | None = None


def holds(form: Any, human: Human, now: datetime, speed: float = 1, segments: Mapping[str, Any] | None = None) -> bool:
    """Whether a form holds for a customer at a wall time, in an installation of a speed."""
    return _Model(human, now, human.speed or speed, segments or {}).holds(form)


@dataclass(frozen=True)
class _Model:
    human: Human
    now: datetime
    speed: float
    segments: Mapping[str, Any]

    def holds(self, form: Any) -> bool:
        if "all" in form:
            return all(map(self.holds, form["all"]))
        if "any" in form:
            return any(map(self.holds, form["any"]))
        if "not" in form:
            return not self.holds(form["not"])
        if "segment" in form:
            return self.holds(self.segments[form["segment"]])
        if "trait" in form:
            return _is_as_wanted(self.human.traits.get(form["trait"]), form)
        if "has" in form:
            return bool({"device": self.human.devices}.get(form["has"], getattr(self.human, form["has"], None)))
        if "attribute" in form:
            return _is_as_wanted(getattr(self.human, form["attribute"]), form)
        if "first_seen" in form:
            return self.was(self.human.created_at, form["first_seen"])
        if "sum" in form:
            return self.summed(form)
        if "event" in form:
            return self.done(form)
        return self.extreme(form)

    def journey_time(self, at: datetime) -> datetime:
        return at if at <= ORIGIN else ORIGIN + (at - ORIGIN) * self.speed

    def is_within(self, at: datetime, window: str) -> bool:
        return self.journey_time(self.now) - self.journey_time(at) < DURATION.validate_python(window)

    def was(self, at: datetime, form: Any) -> bool:
        return ("within" not in form or self.is_within(at, form["within"])) and (
            "not_within" not in form or not self.is_within(at, form["not_within"])
        )

    def deeds(self, names: Any, form: Any) -> list[Deed]:
        wanted = names if isinstance(names, list) else [names]
        return [
            deed
            for deed in self.human.deeds
            if deed.at <= self.now
            and (_is_activity(deed) if names == "*" else deed.name in wanted)
            and _has_properties(deed, form)
        ]

    def done(self, form: Any) -> bool:
        deeds = self.deeds(form["event"], form)
        if "not_within" in form:
            return not self.is_within(
                max((deed.at for deed in deeds), default=self.human.created_at), form["not_within"]
            )
        count = sum(self.is_within(deed.at, form["within"]) if "within" in form else True for deed in deeds)
        if "exactly" in form:
            return bool(count == form["exactly"])
        if "at_least" not in form and "at_most" not in form:
            return count >= 1
        return bool(form.get("at_least", 0) <= count <= form.get("at_most", count))

    def extreme(self, form: Any) -> bool:
        chosen, names = (min, form["first"]) if "first" in form else (max, form["last"])
        deeds = self.deeds(names, {})
        if not deeds:
            return False
        # Of several at one time the one accepted later is the later one.
        deed = chosen(deeds, key=lambda each: (each.at, each.place, deeds.index(each)))
        return self.was(deed.at, form) and _has_properties(deed, form)

    def summed(self, form: Any) -> bool:
        deeds: Sequence[Deed] = self.deeds(form["of"], form)
        total = sum(
            Decimal(str(amount))
            for deed in deeds
            if _is_number(amount := deed.properties.get(form["sum"]))
            and ("within" not in form or self.is_within(deed.at, form["within"]))
        )
        return ("at_least" not in form or total >= Decimal(str(form["at_least"]))) and (
            "at_most" not in form or total <= Decimal(str(form["at_most"]))
        )


def _is_activity(deed: Deed) -> bool:
    return deed.type in ("track", "page", "screen") and not deed.source.startswith("operator:")


def _has_properties(deed: Deed, form: Any) -> bool:
    return all(
        _is_as_wanted(deed.properties.get(name), wanted if isinstance(wanted, dict) else {"is": wanted})
        for name, wanted in form.get("where", {}).items()
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: object, other: object) -> bool:
    """Whether two JSON values are the same: true is not 1, and 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def _is_as_wanted(value: Any, wanted: Mapping[str, Any]) -> bool:
    if "is" in wanted:
        return value is not None and _same(value, wanted["is"])
    if "is_not" in wanted:
        return value is None or not _same(value, wanted["is_not"])
    if "one_of" in wanted:
        return value is not None and any(_same(value, each) for each in wanted["one_of"])
    if "exists" in wanted:
        return bool((value is not None) == wanted["exists"])
    if "contains" in wanted:
        if isinstance(value, list):
            return any(_same(each, wanted["contains"]) for each in value)
        return (
            isinstance(value, str)
            and isinstance(wanted["contains"], str)
            and (wanted["contains"].lower() in value.lower())
        )
    return _is_number(value) and bool(wanted.get("at_least", value) <= value <= wanted.get("at_most", value))
