"""What a journey declares about itself, and what follows from it for an event."""

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator

from domain.events import Event
from domain.messages import Channel
from workflows.drafts import Cascade
from workflows.plan import Plan
from workflows.source import written_classes

if TYPE_CHECKING:
    from workflows.journey import Journey


KEY_LIMIT = 255
"""Most characters of a key."""


class Parameters(BaseModel):
    """Parameters of a journey, changeable per deployment; a wrong one stops the start-up.

    Attributes:
        rising: Names of those that must each be more than the one before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    rising: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _rise(self) -> Self:
        for before, each in pairwise(self.rising):
            if getattr(self, each) <= getattr(self, before):
                raise ValueError(f"{each} must be more than {before}")
        return self


@dataclass(frozen=True)
class Rule:
    """An event that does something to a journey, if a condition holds.

    Attributes:
        event: The declared event.
        when: Takes the properties of the trigger and of this event. Called outside the run, with
            whatever the backend sent, so it may look at undeclared properties.
        any_key: Of a goal or exit: whether it ends the customer's stay of whatever key, as a contract ends the
            reminders of every visit.
        if_done: Of a start: only customers who have done this before.
        unless_done: Of a start: only customers who have never done this before; of its own event, the first one.
    """

    event: type[Event]
    when: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] | None = None
    any_key: bool = False
    if_done: type[Event] | None = field(default=None, kw_only=True)
    unless_done: type[Event] | None = field(default=None, kw_only=True)

    def holds(self, trigger: Mapping[str, Any], event: Mapping[str, Any], *, in_doubt: bool) -> bool:
        """Whether the condition holds; `in_doubt` answers where it fails on what the backend sent."""
        if self.when is None:
            return True
        try:
            return self.when(trigger, event)
        except Exception:
            return in_doubt


class Role(StrEnum):
    """What an event is to a journey."""

    START = "start"
    GOAL = "goal"
    EXIT = "exit"
    RESTART = "restart"
    HEARD = "heard"


@dataclass(frozen=True)
class Declaration:
    """Everything dispatch, the API and `deliver` know of a journey without running it.

    Attributes:
        key: Name of the property that keys the journey (one stay per key); None: one per customer.
        reenter_after: Journey time from the last start before the same key may start again.
        limited_with: Name of what several journeys share: `reenter_after` then counts from a customer's last start
            of any of them, whatever the key.
        facts: SQL that gives templates a row each, by name; ``$1`` is the enrolment's number.
        topic: What it writes about, as customers choose it on their preference page.
        priority: 1 (most important) to 5: who goes first where two journeys want the same slot of a cap.
        gives_way: Whether a message is dropped where it would have to wait for a slot.
        keywords: Words a customer may write in a chat, and the event each makes of itself; lower case.
        holdout: Share of customers who get nothing of it, unless the policy says another.
        says_once: Whether what the customer has seen by one channel is not sent by another.
        exclusive: Whether no other journey and no campaign writes marketing to whoever is in it.
        blocks_for: Name of the parameter that says for how long nothing at all is sent from its start on.
        source: File and line, for whoever has to mend the declaration.
    """

    name: str
    workflow: "type[Journey]"
    story: str
    starts_on: tuple[Rule, ...]
    key: str | None
    ends_on: tuple[Rule, ...]
    exits_on: tuple[Rule, ...]
    restarts_on: tuple[type[Event], ...]
    listens_to: tuple[type[Event], ...]
    reenter_after: timedelta | None
    limited_with: str | None
    parameters: Parameters
    facts: Mapping[str, str]
    topic: str
    priority: int
    gives_way: bool
    says_once: bool
    holdout: float
    source: str
    keywords: Mapping[str, type[Event]] = field(default_factory=dict)
    exclusive: bool = False
    blocks_for: str | None = None

    @property
    def pack(self) -> str:
        """The business pack the journey belongs to."""
        return self.workflow.__module__.split(".")[-2]

    def events(self) -> dict[str, type[Event]]:
        """Every event this journey declares anything about, by name."""
        return {event.event_name: event for event in self.declared_events()}

    def declared_events(self) -> tuple[type[Event], ...]:
        """What it declares to be events."""
        rules = (*self.starts_on, *self.ends_on, *self.exits_on)
        return (*(rule.event for rule in rules), *self.restarts_on, *self.listens_to)

    def is_about(self, rule: Rule, properties: Mapping[str, Any], key: str) -> bool:
        """Whether a goal or exit is about the stay of a key; one without its key is about all."""
        return rule.any_key or self.key_of(properties) in (None, key)

    def key_of(self, properties: Mapping[str, Any]) -> str | None:
        """Return the key an event carries; "" for a journey without keys, None if it is no key."""
        if self.key is None:
            return ""
        value = properties.get(self.key)
        if value is None or isinstance(value, bool | dict | list):
            return None
        key = str(value).strip()
        return key if 0 < len(key) <= KEY_LIMIT else None


class DeclarationError(Exception):
    """A journey is declared wrongly; the message names its file and line."""


def as_rules(declared: "type[Event] | Rule | Iterable[type[Event] | Rule]") -> tuple[Rule, ...]:
    """Accept one event or rule, or several."""
    return tuple(each if isinstance(each, Rule) else Rule(each) for each in _several(declared))


def as_events(declared: "type[Event] | Iterable[type[Event]]") -> tuple[type[Event], ...]:
    """Accept one event or several."""
    return _several(declared)


def _several(declared: Any) -> tuple[Any, ...]:
    return tuple(declared) if isinstance(declared, Iterable) and not isinstance(declared, str) else (declared,)


@dataclass(frozen=True)
class NamedText:
    """A text that a journey's code names.

    Attributes:
        monthly: It is written anew for every month, without a release, so there is no file of it.
    """

    channel: Channel
    template: str
    source: str
    monthly: bool = False


def texts_named(workflow: type) -> list[NamedText]:
    """Return the texts a journey names in its code, with file and line."""
    names = {each.value for each in Channel}
    found = []
    for written in written_classes(workflow):
        for node in ast.walk(written.tree):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[expression]) if isinstance(
                    written.names.get(name), Cascade
                ):
                    template = written.value(expression)
                    if isinstance(template, str):
                        cascade: Cascade = written.names[name]
                        found += [NamedText(channel, template, written.at(node)) for channel in cascade.channels]
                case ast.Call(func=ast.Name(id=name), args=[expression, *_], keywords=keywords) if name in names:
                    template = written.value(expression)
                    if isinstance(template, str):
                        monthly = any(each.arg == "edition" for each in keywords)
                        found.append(NamedText(Channel(name), template, written.at(node), monthly))
    return found


def texts_planned(parameters: Parameters) -> list[NamedText]:
    """Return the texts that plans among a journey's parameters name, with file and line."""
    plans = (value for value in parameters.__dict__.values() if isinstance(value, Plan))
    return [
        NamedText(channel, message.text, message.source)
        for plan in plans
        for message in plan.messages
        for channel in message.channels
    ]
