"""`journeys new`: writes a journey that runs, with its events, its texts and its test."""

import ast
import contextlib
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from cli.commands import console, fail
from domain.events import Event, is_ours
from settings import PROJECT
from storyboards.rehearsal import CURTAIN
from storyboards.samples import samples
from workflows.enabled import JOURNEYS

BLUEPRINT = Path(__file__).parent / "blueprint"
LINE = 120
"""Most characters of a line of code here."""

_NAME = re.compile(r"[A-Z][a-z0-9]+([A-Z][a-z0-9]+)*")
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_IMPORTED = {"Event", "Field", "Journey", "Parameters", "Pauses", "Person", "Status", "World"}
_FILES = {"events", "segments"}
_SEARCHED = ("workflows", "tests", "bench", "cli", "domain")


class Refused(Exception):
    """Nothing was written; the message says what to change."""


@dataclass(frozen=True)
class Order:
    """What is to be written.

    Attributes:
        name: The class.
        pack: The folder below `workflows`.
        event: What starts it.
        goal: What ends it.
    """

    name: str
    pack: str
    event: str
    goal: str

    @property
    def snake(self) -> str:
        """The name as files and texts have it."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the journey, such as ForgottenCart.")],
    pack: Annotated[
        str | None,
        typer.Option(help="Its business pack, a folder below workflows/; the only one there is if not said."),
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Event that starts it, such as cart_left; NAME_begun if not said.")
    ] = None,
    goal: Annotated[
        str | None, typer.Option(help="Event that is its goal, such as cart_ordered; NAME_completed if not said.")
    ] = None,
) -> None:
    """Write a new journey that runs: its class, its events, its texts in English and Russian, and its test.

    What is there already is never written over; if anything is in the way, nothing is written.

    Example: journeys new ForgottenCart --pack shop --event cart_left --goal cart_ordered
    """
    try:
        order = _order(name, pack, event, goal)
        files = _files(order)
        _refuse_uncommitted(files)
        write(PROJECT, files)
    except Refused as refused:
        fail(str(refused))
    for file in files:
        console.print(f"  {file}", highlight=False, markup=False)
    console.print(f"{order.name} is written. Now:", style="bold", highlight=False)
    test = f"tests/workflows/test_{order.snake}.py"
    for command, why in (
        (f"journeys draw {order.name}", "look at it"),
        (f"pytest {test}", "walk through its two weeks in seconds"),
        ("journeys check", "after every change: what is wrong, with file and line"),
        ("make record", "before it is released: its runs are kept, so that no later change breaks them"),
    ):
        console.print(f"  {_here(command):<62} {why}", highlight=False, markup=False, soft_wrap=True)
    if order.pack not in {journey.__module__.split(".")[-2] for journey in JOURNEYS}:
        console.print(f'The pack is new: it runs where journeys.toml has "{order.pack}" among enabled.', markup=False)


def _here(command: str) -> str:
    """Return a command as it can be typed in the checkout, whether or not its environment is activated."""
    program = Path(sys.executable).with_name(command.split()[0])
    here = program.exists() and program.is_relative_to(PROJECT)
    return f"{program.parent.relative_to(PROJECT)}/{command}" if here else command


# What may be written.


def _order(name: str, pack: str | None, event: str | None, goal: str | None) -> Order:
    if not _NAME.fullmatch(name):
        raise Refused(f"{name}: a journey's name is written in PascalCase, such as ForgottenCart")
    packs = sorted({journey.__module__.split(".")[-2] for journey in JOURNEYS})
    if pack is None and len(packs) > 1:
        raise Refused(f"--pack: say which, there are {', '.join(packs)}; another name begins a new one")
    order = Order(name, pack or packs[0], "", "")
    order = Order(name, order.pack, event or f"{order.snake}_begun", goal or f"{order.snake}_completed")
    for what, value in (("--pack", order.pack), ("--event", order.event), ("--goal", order.goal)):
        if not _SNAKE.fullmatch(value):
            raise Refused(f"{what} {value}: is written in small letters, digits and underscores, such as cart_left")
    for value in (order.snake, order.pack):
        if keyword.iskeyword(value):
            raise Refused(f"{value} is a word of Python's own; give it another name")
    if order.snake in _FILES:
        raise Refused(
            f"{order.name} would be {order.snake}.py, which holds the pack's {order.snake}; give it another name"
        )
    for value in (order.name, _class_of(order.event), _class_of(order.goal)):
        if value in _IMPORTED:
            raise Refused(f"{value} means something else in a journey's file; give it another name")
    if (PROJECT / "workflows" / f"{order.pack}.py").exists():
        raise Refused(f"--pack {order.pack}: workflows/{order.pack}.py is no pack; give it another name")
    if order.event == order.goal:
        raise Refused(f"--goal {order.goal}: the event that starts a journey is not its goal too")
    for value in (order.event, order.goal):
        if is_ours(value):
            raise Refused(f"{value} is an event of the product's own, which no backend tells; give it another name")
    return order


def _refuse_uncommitted(files: Mapping[Path, str]) -> None:
    """Refuse to change a file whose changes cannot be told from the author's afterwards."""
    changed = [str(file) for file in files if (PROJECT / file).exists()]
    try:
        asked = ["git", "status", "--porcelain", "--", *changed]
        told = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return  # Not a checkout by git: nothing could be told apart in any case.
    if dirty := [line[3:] for line in told.splitlines()]:
        raise Refused(f"{', '.join(dirty)}: has changes that are not committed; commit or undo them first")


def _taken(pattern: str) -> str | None:
    """Return where something is declared already, as ``file:line``."""
    searched = re.compile(pattern)
    for room in _SEARCHED:
        for file in sorted((PROJECT / room).rglob("*.py")):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if searched.search(line):
                    return f"{file.relative_to(PROJECT)}:{number}"
    return None


# What is written.


def _files(order: Order) -> dict[Path, str]:
    """Return every file to write or change, with its new content.

    Raises:
        Refused: Something is in the way.
    """
    if not (PROJECT / "tests" / "world.py").exists():
        raise Refused("journeys are written in a checkout of the repository; this is none")
    if place := _taken(rf"^class {order.name}\("):
        raise Refused(f"{order.name} is taken: {place}; give the journey another name")
    known = _known_events(order)
    values = _values(order, known)
    folder, texts = Path("workflows") / order.pack, Path("templates/texts") / order.snake
    files = {folder / f"{order.snake}.py": _filled("journey.py.txt", values)}
    files |= {
        texts / path.relative_to(BLUEPRINT / "texts"): path.read_text(encoding="utf-8")
        for path in sorted((BLUEPRINT / "texts").rglob("*.*"))
    }
    files[Path(f"tests/workflows/test_{order.snake}.py")] = _filled("test.py.txt", values)
    for file in (*files, texts):
        if os.path.lexists(PROJECT / file):
            raise Refused(f"{file} is there already; give the journey another name")
    if not (PROJECT / folder / "__init__.py").exists():
        files[folder / "__init__.py"] = f'"""{order.pack.replace("_", " ").capitalize()}: say here whose journeys."""\n'
    missing = [event for event in (order.event, order.goal) if event not in known]
    if missing:
        files[folder / "events.py"] = _events(order, missing)
    files[Path("workflows/enabled.py")] = _enabled(order)
    for file, content in files.items():
        _refuse_if_long(file, content)
    return files


def _known_events(order: Order) -> dict[str, type[Event]]:
    """Return those of the events that the pack declares already.

    Raises:
        Refused: Somebody else does, or something else has the name the class would get.
    """
    module = f"workflows.{order.pack}.events"
    declared = {each.event_name: each for each in _all_events(Event) if each.__module__ == module}
    for event in (order.event, order.goal):
        if event in declared:
            continue
        if place := _taken(rf'^class \w+\(\w+, name="{event}"\)'):
            raise Refused(f"the event {event} is declared at {place}; give yours another name")
        if place := _class_in(PROJECT / "workflows" / order.pack / "events.py", _class_of(event)):
            raise Refused(f"{_class_of(event)}, as the event {event} would be declared, is taken: {place}")
        if _class_of(event) == order.name:
            raise Refused(f"the event {event} would be declared under the journey's own name; give it another")
    return {event: declared[event] for event in (order.event, order.goal) if event in declared}


def _all_events(of: type[Event]) -> Iterator[type[Event]]:
    for each in of.__subclasses__():
        if getattr(each, "event_name", None):
            yield each
        yield from _all_events(each)


def _class_in(file: Path, name: str) -> str | None:
    if not file.exists():
        return None
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return f"{file.relative_to(PROJECT)}:{node.lineno}"
    return None


def _class_of(event: str) -> str:
    return "".join(part.capitalize() for part in event.split("_"))


def _values(order: Order, known: Mapping[str, type[Event]]) -> dict[str, str]:
    """Return what the blueprint leaves open."""
    begun, reached = (known[each].__name__ if each in known else _class_of(each) for each in (order.event, order.goal))
    own = f"from workflows.{order.pack}.events import {', '.join(sorted({begun, reached}))}"
    ours = [
        "from workflows.declaration import Parameters",
        "from workflows.drafts import email, inbox, push, sms",
        "from workflows.journey import Journey, journey",
    ]
    # Somebody whom the event brings into several journeys is looked at in this one only.
    shared = order.event in known
    return {
        "Name": order.name,
        "snake": order.snake,
        "pack": order.pack,
        "imports": "\n".join(f"    {line}" for line in sorted([own, *ours])),
        "Event": begun,
        "Goal": reached,
        "begun": _told(order.event, known),
        "reached": _told(order.goal, known),
        "of": f', "{order.name}"' if shared else "",
        "which": f'"{order.name}"' if shared else "",
    }


def _told(event: str, known: Mapping[str, type[Event]]) -> str:
    """Return the words by which a test tells an event, with the fields it must have."""
    fields = {}
    if event in known:
        required = {name for name, field in known[event].model_fields.items() if field.is_required()}
        fields = samples(known[event], (), 1, CURTAIN)[0].model_dump(mode="json", include=required)
    told = [f'"{event}"', *(f"{name}={_literal(value)}" for name, value in fields.items())]
    return ", ".join(told)


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _filled(blueprint: str, values: Mapping[str, str]) -> str:
    return Template((BLUEPRINT / blueprint).read_text(encoding="utf-8")).substitute(values)


def _events(order: Order, missing: list[str]) -> str:
    file = PROJECT / "workflows" / order.pack / "events.py"
    begun = file.read_text(encoding="utf-8") if file.exists() else _filled("events.py.txt", {"pack": order.pack})
    if not re.search(r"^from domain\.events import .*\bEvent\b", begun, re.MULTILINE):
        raise Refused(f"{file.relative_to(PROJECT)} does not import Event from domain.events; declare the events first")
    declared = (_filled("event.py.txt", {"event": each, "Event": _class_of(each)}) for each in missing)
    return begun.rstrip() + "\n" + "".join(declared)


def _enabled(order: Order) -> str:
    """Add the journey to the list, and its import where it belongs."""
    file = PROJECT / "workflows" / "enabled.py"
    lines = file.read_text(encoding="utf-8").splitlines()
    module = f"workflows.{order.pack}.{order.snake}"
    imports = [number for number, line in enumerate(lines) if line.startswith("from workflows.")]
    after = [number for number in imports if lines[number].split()[1] > module]
    try:
        begins = next(number for number, line in enumerate(lines) if line.startswith("JOURNEYS"))
        closes = lines.index(")", begins)
    except (StopIteration, ValueError):
        raise Refused("workflows/enabled.py has no list JOURNEYS that can be added to") from None
    lines.insert(closes, f"    {order.name},")
    lines.insert(after[0] if after else imports[-1] + 1, f"from {module} import {order.name}")
    return "\n".join(lines) + "\n"


def _refuse_if_long(file: Path, content: str) -> None:
    if file.suffix == ".py" and any(len(line) > LINE for line in content.splitlines()):
        raise Refused(f"{file} would have lines of more than {LINE} characters; choose shorter names")


def write(root: Path, files: Mapping[Path, str]) -> None:
    """Write all of some files, or none.

    Raises:
        Refused: Nothing was written.
    """
    made: list[Path] = []
    waiting = {root / file: (root / file).with_name(f".{file.name}.new") for file in files}
    try:
        # What can fail, for want of space or of a right, fails while every file is still as it was.
        for file, content in files.items():
            for folder in reversed([each for each in (root / file).parents if not each.exists()]):
                folder.mkdir()
                made.append(folder)
            waiting[root / file].write_text(content, encoding="utf-8")
    except BaseException as error:
        for beside in waiting.values():
            with contextlib.suppress(OSError):
                beside.unlink()
        for folder in reversed(made):
            folder.rmdir()
        if isinstance(error, OSError):
            raise Refused(f"cannot write {file}: {error.strerror}; nothing was written") from None
        raise
    for file, beside in waiting.items():
        beside.replace(file)
