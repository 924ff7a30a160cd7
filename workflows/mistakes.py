"""What is wrong with a journey as it is declared and written: all of it at once, with file and line and what to change.

Found before anything runs. What only running shows is found by `storyboards.rehearsal`, on an author's machine.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

from domain.events import CUSTOMER_ERASED, JOURNEY_STOPPED, OF_MESSAGES, Event
from domain.messages import Channel, Status
from workflows.source import UNKNOWN, VERBS, Written, parsed, place_of, written_classes

if TYPE_CHECKING:
    from workflows.declaration import Declaration, NamedText, Parameters, Rule

ANSWERED = frozenset({Channel.SMS, Channel.WHATSAPP})
"""Channels customers can answer by."""

ROOTS = frozenset({"customer", "event", "site", "company", "parameters"})
"""Names that mean something in every text."""

PRIORITIES = range(1, 6)


def declaration_mistakes(workflow: type, declared: "Declaration") -> list[str]:
    """Return what is wrong with what ``@journey`` is told."""
    written = Written.of(workflow)

    def told(name: str) -> str:
        return written.declared(name) if written else place_of(workflow)

    def wrong() -> Iterator[str]:
        for name, events in _told_events(declared):
            yield from (f"{told(name)}: {name} {problem}" for problem in map(_wrong_event, events) if problem)
        for name in ("starts_on", "ends_on", "exits_on"):
            for rule in getattr(declared, name):
                yield from _wrong_condition(rule, told(name), name)
        yield from (f"{told(name)}: {problem}" for name, problem in _never(declared))
        if declared.key is not None and not declared.key.strip():
            yield f"{told('key')}: key is empty; name the property, or leave it out for one stay a customer"
        if declared.reenter_after is not None and declared.reenter_after <= timedelta(0):
            yield f"{told('reenter_after')}: reenter_after must be longer than nothing"
        if declared.limited_with is not None and declared.reenter_after is None:
            yield f"{told('limited_with')}: limited_with says whose starts count; say for how long in reenter_after"
        if declared.priority not in PRIORITIES:
            yield f"{told('priority')}: priority of {declared.name} must be 1 to 5"
        yield from (f"{told('keywords')}: {problem}" for problem in _wrong_keywords(declared))
        if not 0 <= declared.holdout < 1:
            yield f"{told('holdout')}: holdout of {declared.name} is a share, from 0 to less than 1"
        blocks_for = getattr(declared.parameters, declared.blocks_for or "", None)
        if declared.blocks_for is not None and not (isinstance(blocks_for, timedelta) and blocks_for > timedelta(0)):
            yield f"{told('blocks_for')}: blocks_for must name a parameter of {declared.name} that is a duration"
        for name in sorted(ROOTS & declared.facts.keys()):
            yield f"{told('facts')}: texts know {name} as something else; give these facts another name"

    return list(wrong())


def steps_mistakes(workflow: type, declared: "Declaration") -> list[str]:
    """Return what is wrong with `steps()` and the other methods a journey is written with."""
    steps = inspect.getattr_static(workflow, "steps", None)
    if steps is None or steps.__module__ == "workflows.journey":
        return [f"{place_of(workflow)}: {workflow.__name__} has no steps(); write async def steps(self) -> None"]
    problems = []
    if not inspect.iscoroutinefunction(steps):
        problems.append(
            f"{place_of(steps)}: steps of {workflow.__name__} must be written async def steps(self) -> None"
        )
    elif len(inspect.signature(steps).parameters) != 1:
        problems.append(f"{place_of(steps)}: steps of {workflow.__name__} takes nothing but self")
    for each in written_classes(workflow):
        problems += [f"{each.at(call)}: {problem}" for call, problem in _wrong_calls(each, declared)]
    return problems


class Text(Protocol):
    """What is to be known of a text here."""

    @property
    def template(self) -> str: ...

    @property
    def channel(self) -> Channel: ...

    @property
    def locale(self) -> str: ...

    @property
    def variables(self) -> set[str]: ...


def text_mistakes(named: "Iterable[NamedText]", texts: Iterable[Text], locales: Iterable[str]) -> list[str]:
    """Return the texts that are named and are not there, each with the files to write."""
    there = {(text.template, text.channel, text.locale) for text in texts}
    templates = sorted({template for template, _, _ in there})
    problems = []
    for text in named:
        if text.monthly:
            continue
        ending = "md" if text.channel is Channel.EMAIL else "txt"
        missing = [locale for locale in locales if (text.template, text.channel, locale) not in there]
        if missing:
            files = " and ".join(f"{text.channel}.{locale}.{ending}" for locale in missing)
            near = get_close_matches(text.template, [each for each in templates if each != text.template], 1, 0.8)
            meant = f", or is it {near[0]}" if near else ""
            problems.append(
                f"{text.source}: there is no text {text.template} for {text.channel}; "
                f"write {files} in templates/texts/{text.template}{meant}"
            )
    return problems


def parameter_mistakes(workflow: type, model: "type[Parameters]", texts: Iterable[Text]) -> list[str]:
    """Return the parameters of a journey that neither its module nor its texts read."""
    in_texts = {variable for text in texts for variable in text.variables}
    modules = [parsed(each.file) for each in written_classes(workflow)]
    nodes = [node for module in modules for node in ast.walk(module)]
    if not modules or any(isinstance(node, ast.Call) and _hands_on(node, nodes) for node in nodes):
        return []
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    written = Written.of(model)
    return [
        f"{_field(written, name) if written else place_of(model)}: nothing reads the parameter {name} of "
        f"{workflow.__name__}; use it, or leave it out: whoever sets it would see no change"
        for name in model.model_fields
        if name not in read and f"parameters.{name}" not in in_texts
    ]


def _hands_on(call: ast.Call, nodes: list[ast.AST]) -> bool:
    """Whether a call is given all the parameters, or the journey itself: then what it reads is not known."""
    aliases = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "self.parameters"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return any(ast.unparse(each) in {"self", "self.parameters", *aliases} for each in given)


def _told_events(declared: "Declaration") -> Iterator[tuple[str, list[Any]]]:
    for name in ("starts_on", "ends_on", "exits_on"):
        yield name, [rule.event for rule in getattr(declared, name)]
    yield "restarts_on", list(declared.restarts_on)
    yield "listens_to", list(declared.listens_to)


def is_event(thing: object) -> bool:
    """Whether something is the declaration of an event, with its name."""
    return isinstance(thing, type) and issubclass(thing, Event) and bool(getattr(thing, "event_name", ""))


def _wrong_event(event: object) -> str | None:
    if not is_event(event):
        if isinstance(event, type) and issubclass(event, Event):
            return f'names {event.__name__}, which has no name: class {event.__name__}(Event, name="…")'
        return f'names {event!r}, which is no declared event: class …(Event, name="…") in the pack\'s events.py'
    name: str = event.event_name  # type: ignore[attr-defined]
    if name.startswith(OF_MESSAGES) or name in (CUSTOMER_ERASED, JOURNEY_STOPPED):
        return f"names {name}, which no journey is told of: what became of a message comes from cascade and ask"
    return None


def _wrong_condition(rule: "Rule", where: str, name: str) -> Iterator[str]:
    when: Any = rule.when
    for needed in (rule.if_done, rule.unless_done):
        if needed is not None and (name != "starts_on" or not is_event(needed)):
            yield f"{where}: if_done and unless_done of a rule in starts_on name an event the customer may have done"
    if when is None:
        return
    if not callable(when):
        yield f"{where}: when of {name} must be a function of the trigger's and this event's properties"
        return
    place = place_of(when) if inspect.isfunction(when) else where
    if inspect.iscoroutinefunction(when):
        yield f"{place}: when of {name} must be an ordinary function, not async: it answers at once"
    try:
        inspect.signature(when).bind({}, {})
    except (TypeError, ValueError):
        yield f"{place}: when of {name} must take two arguments: the trigger's properties and this event's"


def _wrong_keywords(declared: "Declaration") -> Iterator[str]:
    begins = {*(rule.event for rule in declared.starts_on), *declared.restarts_on}
    for word, event in declared.keywords.items():
        if word != " ".join(word.casefold().split()) or not word:
            yield f"the keyword {word!r} must be written in lower case, with single spaces"
        if event not in begins:
            yield f"the keyword {word} makes {_named(event)} of itself, which does not start {declared.name}"
        if required := [name for name, field in event.model_fields.items() if field.is_required()]:
            # It could never be dispatched, and nobody would hear what the customer wrote.
            yield f"the keyword {word} makes {_named(event)} of itself, whose {', '.join(required)} no word tells"


def _never(declared: "Declaration") -> Iterator[tuple[str, str]]:
    """What cannot happen because something else always happens first."""
    goals, exits = _unconditional(declared.ends_on), _unconditional(declared.exits_on)
    for event in _unconditional(declared.starts_on) & goals:
        yield (
            "ends_on",
            f"{_named(event)} starts {declared.name} and is its goal: each would begin the next stay as it ends one; "
            "say which of them is the goal, Rule(…, when=…)",
        )
    for event in goals & {rule.event for rule in declared.exits_on}:
        yield "exits_on", f"{_named(event)} is the goal already, so it is never an exit; leave it out of one of them"
    for name, events in (("restarts_on", declared.restarts_on), ("listens_to", declared.listens_to)):
        for event in (goals | exits) & set(events):
            yield name, f"{_named(event)} ends {declared.name}, so nothing comes after it; leave it out of {name}"
    for event in set(declared.restarts_on) & set(declared.listens_to):
        yield (
            "listens_to",
            f"{_named(event)} begins steps() again, so no wait_for ever sees it; leave it out of listens_to",
        )


def _unconditional(rules: "Iterable[Rule]") -> set[type[Event]]:
    return {rule.event for rule in rules if rule.when is None}


def _named(event: object) -> str:
    return str(getattr(event, "event_name", event))


def _wrong_calls(written: Written, declared: "Declaration") -> Iterator[tuple[ast.AST, str]]:
    verbs = {id(call) for call in written.calls(*VERBS)}
    for node in ast.walk(written.tree):
        if isinstance(node, ast.Expr) and id(node.value) in verbs:
            yield node, f"is not awaited, so nothing happens; write await {ast.unparse(node)}"
    heard = set(declared.listens_to)
    for call in written.calls("wait_for"):
        for event in _events_of(written, call.args):
            if event not in heard:
                yield call, f"waits for {event.event_name}, which is not declared; add {event.__name__} to listens_to"
    known = {*(rule.event for rule in declared.starts_on), *declared.restarts_on, *heard}
    # What began the stays of a journey that takes nobody in any more is not declared.
    for call in written.calls("latest") if declared.starts_on else ():
        for event in _events_of(written, call.args):
            if event not in known:
                yield (
                    call,
                    (
                        f"asks for the latest {event.event_name}, of which {declared.name} never hears; "
                        f"add {event.__name__} to listens_to"
                    ),
                )
    yield from _wrong_cascades(written)
    for call in written.calls("ask"):
        for channel in channels_of(call.args):
            if channel not in ANSWERED:
                yield call, f"nobody can answer by {channel}; ask by {' or '.join(sorted(ANSWERED))}"
    for node in ast.walk(written.tree):
        if isinstance(node, ast.Call):
            yield from _wrong_durations(written, node)


def _wrong_cascades(written: Written) -> Iterator[tuple[ast.AST, str]]:
    for call in written.calls("cascade"):
        channels = channels_of(call.args)
        for channel in sorted({each for each in channels if channels.count(each) > 1}):
            yield call, f"the cascade goes to {channel} twice; it goes on to a channel of which the last was not"
        for keyword in call.keywords:
            until = written.value(keyword.value)
            if keyword.arg == "until" and until in (Status.FAILED, Status.SKIPPED, Status.WAITING, Status.SENDING):
                yield call, f"a message that is {until} has reached nobody; cascade until delivered, read or clicked"


def _wrong_durations(written: Written, call: ast.Call) -> Iterator[tuple[ast.AST, str]]:
    given: list[tuple[str, ast.expr]] = [
        (keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg in ("within", "useful_for")
    ]
    if (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in ("wait", "until_quiet", "wait_since_start")
        and call.args
    ):
        given.append((call.func.attr, call.args[0]))
    for name, expression in given:
        duration = written.value(expression)
        if isinstance(duration, timedelta) and duration <= timedelta(0):
            yield expression, f"{name} must be longer than nothing, not {ast.unparse(expression)}"


def channels_of(drafts: Iterable[ast.expr]) -> list[Channel]:
    """Return the channels of drafts that are written out: `email("…")`."""
    names = {each.value for each in Channel}
    return [
        Channel(draft.func.id)
        for draft in drafts
        if isinstance(draft, ast.Call) and isinstance(draft.func, ast.Name) and draft.func.id in names
    ]


def _events_of(written: Written, expressions: Iterable[ast.expr]) -> list[type[Event]]:
    values = (written.value(each) for each in expressions if not isinstance(each, ast.Starred))
    return [value for value in values if value is not UNKNOWN and is_event(value)]


def _field(written: Written, name: str) -> str:
    for node in written.tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return written.at(node)
    return written.at(written.tree)
