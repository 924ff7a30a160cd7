"""Segments and journeys: a journey for whoever is in a segment, for as long as they are."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.events import Event
from domain.segments import SegmentEntered, SegmentLeft
from workflows.declaration import DeclarationError, Rule

if TYPE_CHECKING:
    from workflows.catalog import Catalog
    from workflows.declaration import Declaration


@dataclass(frozen=True)
class OfSegment(Rule):
    """A rule about an event of one segment.

    Attributes:
        segment: Its name.
    """

    segment: str = ""


class InSegment(OfSegment):
    """A start: entering a segment. No message leaves for whoever is in it no more.

    Whoever leaves the segment leaves the journey, unless it keeps them: then it goes on without a word, and writes
    again if they come back meanwhile.

    Example:
        @journey(starts_on=InSegment("not_seen_30_days"))
    """

    keeps: bool
    enters: bool
    won_back: bool

    def __init__(self, segment: str, *, keeps: bool = False, enters: bool = True, won_back: bool = False) -> None:
        """Name the segment.

        Args:
            keeps: Whether whoever leaves the segment stays in the journey.
            enters: False for a journey that takes nobody in any more, whose stays are for the segment all the same.
            won_back: Whether leaving it is the goal: of a segment of those who do nothing, doing anything.
        """
        super().__init__(SegmentEntered, _is(segment) if enters else _nobody, segment=segment)
        object.__setattr__(self, "keeps", keeps)
        object.__setattr__(self, "enters", enters)
        object.__setattr__(self, "won_back", won_back)


class Enters(OfSegment):
    """A start, goal or exit: entering a segment. Whoever it starts a journey for may leave the segment after.

    Example:
        @journey(starts_on=Enters("credit_interest_cold"))
    """

    def __init__(self, segment: str) -> None:
        super().__init__(SegmentEntered, _is(segment), segment=segment)


class Leaves(OfSegment):
    """A start, goal or exit: leaving a segment.

    Example:
        @journey(starts_on=Leaves("repeat_customers"))
    """

    def __init__(self, segment: str) -> None:
        super().__init__(SegmentLeft, _is(segment), segment=segment)


def _is(segment: str) -> Any:
    def when(_: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        return event.get("segment") == segment

    return when


def _nobody(_: Mapping[str, Any], __: Mapping[str, Any]) -> bool:
    return False


def _of_both(segment: str) -> Any:
    """The condition of an exit: a stay that another event began is not for the segment's members only."""

    def when(trigger: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        return trigger.get("segment") == segment == event.get("segment")

    return when


def leaving(starts: Iterable[Rule], *, won_back: bool = False) -> tuple[Rule, ...]:
    """Return the exits that belong to starts; or the goals, of those whom it wins back to leave their segment."""
    return tuple(
        OfSegment(SegmentLeft, _of_both(rule.segment), segment=rule.segment)
        for rule in starts
        if isinstance(rule, InSegment) and not rule.keeps and rule.won_back is won_back
    )


def audience(declaration: "Declaration | None", trigger: Mapping[str, Any]) -> str | None:
    """Return the segment a stay is for, by what began it; None if it is for whoever is in it."""
    named = {rule.segment for rule in declaration.starts_on if isinstance(rule, InSegment)} if declaration else set()
    segment = trigger.get("segment")
    return segment if segment in named else None


def takes_in(declaration: "Declaration") -> list[Rule]:
    """Return the rules by which a journey takes customers in; none for one that only goes on with its stays."""
    return [rule for rule in declaration.starts_on if not isinstance(rule, InSegment) or rule.enters]


def journeys_for(catalog: "Catalog", segment: str) -> list[str]:
    """Return the journeys that name a segment."""
    return sorted(
        declaration.name
        for declaration in catalog.journeys.values()
        if any(isinstance(rule, OfSegment) and rule.segment == segment for rule in _rules(declaration))
    )


def is_about(rule: Rule, properties: Mapping[str, Any]) -> bool:
    """Whether an event may be what a rule is about: that of another segment is not."""
    return not isinstance(rule, OfSegment) or rule.segment == properties.get("segment")


def concerns_a_run(catalog: "Catalog", event: type[Event], segment: str) -> bool:
    """Whether a journey may do something about an event of a segment."""
    return any(is_about(rule, {"segment": segment}) for _, _, rule in catalog.roles.get(event.event_name, ()))


def check_segments(catalog: "Catalog", known: Collection[str]) -> None:
    """Find out now, not when nobody comes, that a journey names a segment there is not.

    Raises:
        DeclarationError: With file and line of each such journey.
    """
    wrong = [mistake for declaration in catalog.journeys.values() for mistake in _mistakes(declaration, known)]
    if wrong:
        raise DeclarationError("\n".join(wrong))


def _mistakes(declaration: "Declaration", known: Collection[str]) -> Iterator[str]:
    named = {rule.segment: None for rule in _rules(declaration) if isinstance(rule, OfSegment)}
    for segment in named:
        if segment not in known:
            there_are = ", ".join(sorted(known)) or "none"
            yield f"{declaration.source}: there is no segment {segment}; there are {there_are}"
    for rule in declaration.starts_on:
        if isinstance(rule, OfSegment) and declaration.key is not None:
            yield (
                f"{declaration.source}: {declaration.name} starts in a segment, which has no {declaration.key}; "
                "leave key out"
            )


def _rules(declaration: "Declaration") -> tuple[Rule, ...]:
    return (*declaration.starts_on, *declaration.ends_on, *declaration.exits_on)
