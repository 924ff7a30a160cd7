"""The journeys a deployment has enabled, and what each event is to them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from domain.events import Event
from domain.messages import DEFAULT_TOPIC
from workflows.declaration import Declaration, DeclarationError, Role, Rule, texts_named, texts_planned
from workflows.journey import Journey
from workflows.mistakes import (
    Text,
    declaration_mistakes,
    is_event,
    parameter_mistakes,
    steps_mistakes,
    text_mistakes,
)
from workflows.source import place_of


@dataclass(frozen=True)
class Catalog:
    """The journeys a deployment has enabled."""

    journeys: Mapping[str, Declaration]
    roles: Mapping[str, tuple[tuple[Declaration, Role, Rule], ...]] = field(init=False)

    def __post_init__(self) -> None:
        roles: dict[str, list[tuple[Declaration, Role, Rule]]] = {}
        for declaration in self.journeys.values():
            for role, rules in _roles(declaration):
                for rule in rules:
                    roles.setdefault(rule.event.event_name, []).append((declaration, role, rule))
        object.__setattr__(self, "roles", {name: tuple(found) for name, found in roles.items()})

    @property
    def keywords(self) -> Mapping[str, type[Event]]:
        """What a word in a chat means, if a journey says so."""
        return {word: event for each in self.journeys.values() for word, event in each.keywords.items()}

    @classmethod
    def of(
        cls,
        workflows: Sequence[type[Journey[Any]]],
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        topics: Collection[str] | None = (DEFAULT_TOPIC,),
        held_out: Collection[str] = (),
    ) -> "Catalog":
        """Collect journeys, with a deployment's values for their parameters.

        Args:
            topics: What the contact policy lets customers choose to hear of; None where there is no policy.
            held_out: Journeys the contact policy names.

        Raises:
            DeclarationError: Two journeys share a name, two declarations give one event different
                fields, an event has a field that could hold something personal, a parameter is
                unknown or out of its range, a journey is declared or written wrongly or writes about no
                topic of the policy, or the policy names a journey that is not enabled. All of it at once.
        """
        given = dict(parameters or {})
        declarations: list[Declaration] = []
        wrong: list[str] = []
        for workflow in workflows:
            try:
                declaration, mistakes = declaration_of(workflow, given.pop(workflow.__name__, {}))
            except DeclarationError as error:
                wrong.append(str(error))
                continue
            declarations.append(declaration)
            wrong += mistakes
        journeys = {declaration.name: declaration for declaration in declarations}
        wrong += _shared_names(declarations)
        wrong += [
            f"{each.source}: {each.name} writes about {each.topic}; "
            f"the policy has the topics {', '.join(sorted(topics))}"
            for each in journeys.values()
            if topics is not None and each.topic not in topics
        ]
        wrong += _contradictions(declarations)
        wrong += _shared_keywords(declarations)
        known = {*journeys, *(workflow.__name__ for workflow in workflows)}
        if given:
            wrong.append(f"parameters given for journeys that are not enabled: {', '.join(sorted(given))}")
        if unknown := set(held_out) - known:
            wrong.append(f"policy.holdouts: journeys that are not enabled: {', '.join(sorted(unknown))}")
        if wrong:
            raise DeclarationError("\n".join(wrong))
        return cls(journeys)

    def check_texts(self, texts: Iterable[Text], locales: Iterable[str]) -> None:
        """Find out now, not when a customer is not written to, that a journey names a text there is not.

        A parameter that nothing reads is found here too: texts may read it.

        Args:
            locales: Languages every text must exist in.

        Raises:
            DeclarationError: With file and line of each such name, and what to write.
        """
        known, languages, wrong = list(texts), list(locales), []
        for declaration in self.journeys.values():
            named = [*texts_named(declaration.workflow), *texts_planned(declaration.parameters)]
            own = {(text.template, text.channel) for text in named}
            wrong += text_mistakes(named, known, languages)
            wrong += parameter_mistakes(
                declaration.workflow,
                type(declaration.parameters),
                [text for text in known if (text.template, text.channel) in own],
            )
        if wrong:
            raise DeclarationError("\n".join(wrong))

    @property
    def holdouts(self) -> dict[str, float]:
        """Shares of customers whom journeys themselves leave out, for comparison."""
        return {each.name: each.holdout for each in self.journeys.values() if each.holdout}

    def limited_together(self, declaration: Declaration) -> list[str]:
        """Return the journeys whose starts count together with those of one, itself among them."""
        shared = declaration.limited_with
        return [
            each.name
            for each in self.journeys.values()
            if each.name == declaration.name or (shared is not None and each.limited_with == shared)
        ]

    @property
    def exclusive(self) -> list[str]:
        """Journeys beside which nobody else writes marketing, see `Declaration.exclusive`."""
        return sorted(each.name for each in self.journeys.values() if each.exclusive)

    def event(self, name: str) -> type[Event] | None:
        """Return the declaration of an event, if any enabled journey has one."""
        for _, _, rule in self.roles.get(name, ()):
            return rule.event
        return None


def declaration_of(cls: type[Journey[Any]], parameters: Mapping[str, Any]) -> tuple[Declaration, list[str]]:
    """Return a journey's declaration with a deployment's values for its parameters, and all that is wrong with it.

    Raises:
        DeclarationError: The class is not declared.
    """
    source = place_of(cls)
    if "_declared" not in vars(cls):
        raise DeclarationError(f"{source}: {cls.__name__} has no @journey declaration")
    wrong = []
    try:
        values = cls._parameters_model.model_validate(dict(parameters))
    except ValidationError as error:
        wrong.append(f"{source}: parameters of {cls.__name__}: {'; '.join(map(_told, error.errors()))}")
        values = cls._parameters_model.model_construct()
    reenter_after = cls._declared["reenter_after"]
    declaration = Declaration(
        name=cls.__name__,
        workflow=cls,
        story=(cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else "",
        parameters=values,
        source=source,
        **{
            **cls._declared,
            "reenter_after": reenter_after(values) if callable(reenter_after) else reenter_after,
        },
    )
    wrong += [*declaration_mistakes(cls, declaration), *steps_mistakes(cls, declaration)]
    return declaration, wrong


def _told(error: Mapping[str, Any]) -> str:
    """Say what is wrong with a parameter; a rule about several has no place of its own, and names them."""
    place, rule = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    return f"{place}: {rule}" if place else rule


def _roles(declaration: Declaration) -> Iterable[tuple[Role, tuple[Rule, ...]]]:
    yield Role.START, declaration.starts_on
    yield Role.GOAL, declaration.ends_on
    yield Role.EXIT, declaration.exits_on
    yield Role.RESTART, tuple(Rule(event) for event in declaration.restarts_on)
    yield Role.HEARD, tuple(Rule(event) for event in declaration.listens_to)


def _shared_names(declarations: Sequence[Declaration]) -> Iterator[str]:
    first: dict[str, Declaration] = {}
    for each in declarations:
        other = first.setdefault(each.name, each)
        if other is not each:
            yield f"{each.source}: {each.name} is also declared at {other.source}; give one of them another name"


def _shared_keywords(declarations: Sequence[Declaration]) -> Iterator[str]:
    first: dict[str, Declaration] = {}
    for each in declarations:
        for word, event in each.keywords.items():
            other = first.setdefault(word, each)
            if other.keywords[word] is not event:
                yield f"{each.source}: the keyword {word} means something else in {other.name} ({other.source})"


def _contradictions(declarations: Sequence[Declaration]) -> Iterator[str]:
    """What journeys say differently of one event, and what events say that no history may keep."""
    known: dict[str, type[Event]] = {}
    for each in declarations:
        for event in filter(is_event, each.declared_events()):
            name = event.event_name
            other = known.setdefault(name, event)
            if other is not event:
                yield (
                    f"{place_of(event)}: {event.__qualname__} is the event {name}, and so is {other.__qualname__} at "
                    f"{place_of(other)}; give it a name of its own, or use the other"
                )
    for event in dict.fromkeys(known.values()):
        if free := event.free_fields():
            yield (
                f"{place_of(event)}: {event.__name__} declares {', '.join(free)}, which could hold something "
                "personal, and what is declared is kept by Temporal; declare numbers, dates, enumerations, "
                "or domain.events.Code, or leave it to texts and rules, which see everything"
            )
