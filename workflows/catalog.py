"""The journeys a deployment has enabled, and what each event is to them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.events import Event
from domain.messages import DEFAULT_TOPIC
from workflows.declaration import Declaration, DeclarationError, Role, Rule, source_of
from workflows.journey import Journey, declaration_of


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

    @classmethod
    def of(
        cls,
        workflows: Iterable[type[Journey[Any]]],
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        topics: Collection[str] = (DEFAULT_TOPIC,),
        held_out: Collection[str] = (),
    ) -> "Catalog":
        """Collect journeys, with a deployment's values for their parameters.

        Args:
            topics: What the contact policy lets customers choose to hear of.
            held_out: Journeys the contact policy names.

        Raises:
            DeclarationError: Two journeys share a name, two declarations give one event different
                fields, an event has a field that could hold something personal, a parameter is
                unknown or out of its range, a journey writes about no topic of the policy, or the
                policy names a journey that is not enabled.
        """
        journeys: dict[str, Declaration] = {}
        events: dict[str, tuple[type[Event], str]] = {}
        given = dict(parameters or {})
        for workflow in workflows:
            declaration = declaration_of(workflow, given.pop(workflow.__name__, {}))
            if declaration.name in journeys:
                other = journeys[declaration.name].source
                raise DeclarationError(f"{declaration.source}: {declaration.name} is also declared at {other}")
            if declaration.topic not in topics:
                raise DeclarationError(
                    f"{declaration.source}: {declaration.name} writes about {declaration.topic}; "
                    f"the policy has the topics {', '.join(sorted(topics))}"
                )
            journeys[declaration.name] = declaration
            for name, event in declaration.events().items():
                known, where = events.setdefault(name, (event, declaration.source))
                if known is not event:
                    raise DeclarationError(
                        f"{declaration.source}: event {name} is declared by {event.__qualname__}, "
                        f"but {where} declares it by {known.__qualname__}"
                    )
                if free := event.free_fields():
                    raise DeclarationError(
                        f"{source_of(event)}: {event.__name__} declares {', '.join(free)}, which could hold something "
                        "personal, and what is declared is kept by Temporal; declare numbers, dates, enumerations, "
                        "or domain.events.Code, or leave it to texts and rules, which see everything"
                    )
        if given:
            raise DeclarationError(f"parameters given for journeys that are not enabled: {', '.join(sorted(given))}")
        if unknown := set(held_out) - journeys.keys():
            raise DeclarationError(f"policy.holdouts: journeys that are not enabled: {', '.join(sorted(unknown))}")
        return cls(journeys)

    def event(self, name: str) -> type[Event] | None:
        """Return the declaration of an event, if any enabled journey has one."""
        for _, _, rule in self.roles.get(name, ()):
            return rule.event
        return None


def _roles(declaration: Declaration) -> Iterable[tuple[Role, tuple[Rule, ...]]]:
    yield Role.START, declaration.starts_on
    yield Role.GOAL, declaration.ends_on
    yield Role.EXIT, declaration.exits_on
    yield Role.RESTART, tuple(Rule(event) for event in declaration.restarts_on)
    yield Role.HEARD, tuple(Rule(event) for event in declaration.listens_to)
