"""The ways through code: where a step stands in it, and which conditions lead there, in the author's words."""

import ast
import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from workflows import bot, journey
from workflows.source import parsed

_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_PYTHONS = str(Path(asyncio.__file__).parent)
OURS = frozenset({journey.__file__, bot.__file__, str(Path(__file__).parent / "rehearsal.py")})
"""Files that stand between an author's code and the stage."""


@dataclass(frozen=True, order=True)
class Spot:
    """A place in a file; lines count from 1, columns from 0."""

    line: int
    column: int
    file: str


@dataclass(frozen=True)
class Place:
    """Where code asked for something: in `steps()`, in a method it calls, and so on."""

    spots: tuple[Spot, ...]

    def __str__(self) -> str:
        return f"{self.spots[-1].file}:{self.spots[-1].line}" if self.spots else "somewhere"


@dataclass(frozen=True)
class Arm:
    """One way at a fork.

    Attributes:
        fork: The statement.
        number: Which of its ways, in the order they are written.
        words: When it is taken, "" where nobody would say.
    """

    fork: Spot
    number: int
    words: str


def place_of_frame(frame: FrameType | None) -> Place:
    """Return where the author's code stands that led to a frame."""
    spots: list[Spot] = []
    while frame and not frame.f_code.co_filename.startswith(_PYTHONS):
        if frame.f_code.co_filename not in OURS:
            spots.append(_spot(frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return Place(tuple(reversed(spots)))


def place_of_error(trace: TracebackType | None) -> Place:
    """Return where the author's code stands in which an error arose."""
    spots: list[Spot] = []
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if file not in OURS and not file.startswith(_PYTHONS):
            spots.append(_spot(trace.tb_frame.f_code, trace.tb_lasti))
        trace = trace.tb_next
    return Place(tuple(spots))


def _spot(code: CodeType, instruction: int) -> Spot:
    line, _, column, _ = next(islice(code.co_positions(), instruction // 2, None))
    return Spot(line or code.co_firstlineno, column or 0, code.co_filename)


def arms_of(place: Place) -> tuple[Arm, ...]:
    """Return the ways that were taken to come to a place, the outermost first."""
    return tuple(arm for spot in place.spots for arm in _arms(spot))


Loop = tuple[tuple[Spot, ...], Spot]
"""A loop, and whence it was come to: called from elsewhere it is another one."""


def loops_of(place: Place) -> tuple[Loop, ...]:
    """Return the loops a place is in, the outermost first."""
    return tuple(
        (place.spots[:depth], Spot(node.lineno, node.col_offset, spot.file))
        for depth, spot in enumerate(place.spots)
        for node in _enclosing(spot)
        if isinstance(node, _LOOPS)
    )


@lru_cache(maxsize=4096)
def _enclosing(spot: Spot) -> tuple[ast.AST, ...]:
    """Return the nodes a spot is in, the outermost first."""
    found: list[ast.AST] = []
    node: ast.AST | None = parsed(spot.file)
    while node is not None:
        found.append(node)
        node = next((child for child in _parts(node) if _holds(child, spot)), None)
    return tuple(found)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        # A case of `match` has no place of its own, only its parts do.
        yield from ast.iter_child_nodes(child) if isinstance(child, ast.match_case) else (child,)


def is_at(spot: Spot, file: str, node: ast.AST) -> bool:
    """Whether a spot lies within a part of a file."""
    return spot.file == file and _holds(node, spot)


def _holds(node: ast.AST, spot: Spot) -> bool:
    if not hasattr(node, "lineno"):
        return False
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
    return begin <= (spot.line, spot.column) < end


def argument(place: Place) -> str:
    """Return how long the pause at a place is, in the author's code."""
    for node in reversed(_enclosing(place.spots[-1]) if place.spots else ()):
        match node:
            case ast.Await(value=ast.Call(args=args, keywords=keywords)):
                within = [keyword.value for keyword in keywords if keyword.arg in ("within", "duration")]
                return ast.unparse((within or args)[0])
    return ""


@lru_cache(maxsize=4096)
def _arms(spot: Spot) -> tuple[Arm, ...]:
    arms: list[Arm] = []
    nodes = _enclosing(spot)
    for node, inner in pairwise(nodes):
        arm = _arm(node, inner, spot.file)
        if arm:
            arms.append(arm)
    # An `elif` is one fork with the `if` before it, and says itself when it is taken.
    return tuple(
        arm
        for arm, inner_arms in ((arm, arms[number:]) for number, arm in enumerate(arms, 1))
        if not (inner_arms and arm.words == OTHERWISE and _is_elif(nodes, arm, inner_arms[0]))
    )


OTHERWISE = "otherwise"


def _is_elif(nodes: tuple[ast.AST, ...], outer: Arm, inner: Arm) -> bool:
    at = {(node.lineno, node.col_offset): node for node in nodes if isinstance(node, ast.If)}
    first, second = (at.get((arm.fork.line, arm.fork.column)) for arm in (outer, inner))
    return first is not None and first.orelse == [second]


def _arm(node: ast.AST, inner: ast.AST, file: str) -> Arm | None:
    match node:
        case ast.If(test=test, body=body, orelse=orelse):
            if inner in body:
                return Arm(Spot(node.lineno, node.col_offset, file), 0, spoken(test))
            if inner in orelse:
                return Arm(Spot(node.lineno, node.col_offset, file), 1, OTHERWISE)
        case ast.Match(cases=cases):
            for number, case in enumerate(cases):
                if inner in case.body:
                    return Arm(Spot(node.lineno, node.col_offset, file), number, _spoken_case(case))
    return None


def _spoken_case(case: ast.match_case) -> str:
    words = OTHERWISE if ast.unparse(case.pattern) == "_" else in_words(ast.unparse(case.pattern))
    return f"{words}, {spoken(case.guard)}" if case.guard else words


def spoken(test: ast.expr) -> str:
    """Say a condition as near to a person's words as its names are; of a wait, what came of it says more."""
    return "" if any(isinstance(node, ast.Await) for node in ast.walk(test)) else in_words(ast.unparse(test))


def in_words(code: str) -> str:
    """Say a name or a condition: ``Level.ALMOST_EMPTY`` is "almost empty"."""
    words = re.sub(r"\bself\.(parameters\.)?", "", code)
    words = re.sub(r"\blatest\((\w+)\)", lambda found: _split(found[1]), words)
    words = re.sub(r"\b[A-Z]\w*\.([A-Z][A-Z0-9_]*)\b", lambda found: found[1].lower(), words)
    words = re.sub(r"\b(\w+) is None\b", r"no \1", words)
    words = re.sub(r"\b(\w+) is not None\b", r"\1", words)
    words = words.replace("==", "is").replace("!=", "is not").replace(">=", "≥").replace("<=", "≤")
    words = re.sub(r"'([^']*)'", r"“\1”", words)
    return re.sub(r"_|\.(?=\D)", " ", words).strip()


def _split(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
