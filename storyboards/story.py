"""A journey as one story with forks, put together from everything its rehearsal has seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from domain.messages import Draft
from storyboards.rehearsal import End, Ending, Item, Kind, Messages, Missed, Pause, Rehearsal, Step
from storyboards.ways import OTHERWISE, argument
from workflows.declaration import Declaration

LONGEST = 1000
"""Most parts of a story; one that has more is cut, visibly."""


@dataclass(frozen=True)
class Sent:
    """Messages that go out at once.

    Attributes:
        number: By which the picture and its reader name them, from 1.
    """

    number: int
    drafts: tuple[Draft, ...]


@dataclass(frozen=True)
class Waits:
    """A pause.

    Attributes:
        long: Journey time.
        depends: How it is reckoned, in the author's code, if it is not always as long; else "".
    """

    pause: Pause
    long: timedelta
    depends: str = ""


@dataclass(frozen=True)
class Way:
    """One way at a fork.

    Attributes:
        words: When it is taken; "" where nobody could say.
    """

    words: str
    parts: "tuple[Part, ...]"


@dataclass(frozen=True)
class Fork:
    """Where it depends; the ways meet again after it, unless they end."""

    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Over:
    """An end of the story.

    Attributes:
        told: Of a broken one: which error, and where.
        back: Of one that goes round: the number of the messages that go out again, 0 if it only waits again.
    """

    end: End
    told: str = ""
    back: int = 0


Part = Sent | Waits | Fork | Over


@dataclass(frozen=True)
class Storyboard:
    """A journey's whole story.

    Attributes:
        missed: What its code says but no rehearsal came to.
    """

    declaration: Declaration
    parts: tuple[Part, ...]
    missed: tuple[Missed, ...]

    @property
    def messages(self) -> tuple[Sent, ...]:
        """Everything that may go out, once each, in the order of its numbers."""
        return tuple({each.number: each for each in _sent(self.parts)}.values())

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The messages one by one."""
        return tuple(draft for sent in self.messages for draft in sent.drafts)


def storyboard(rehearsal: Rehearsal) -> Storyboard:
    """Put the walks of a rehearsal together."""
    graph = _Graph(rehearsal.asked)
    for walk in rehearsal.walks or ((),):
        graph.add(walk)
    return Storyboard(rehearsal.declaration, _Teller(graph).parts(), rehearsal.missed)


def _sent(parts: tuple[Part, ...]) -> Iterator[Sent]:
    for part in parts:
        match part:
            case Sent():
                yield part
            case Fork(ways):
                for way in ways:
                    yield from _sent(way.parts)


Key = tuple[Any, ...]
START: Key = ("start",)
EXIT: Key = ("exit",)


@dataclass
class _Node:
    """Something that was done in at least one walk."""

    item: Item | None
    step: Step | None = None
    next: dict[Key, list[str]] = field(default_factory=dict)


class _Graph:
    """All walks laid upon each other; no way leads back, because what is done in a later lap is something else."""

    def __init__(self, asked: Mapping[Key, frozenset[timedelta]]) -> None:
        self.nodes: dict[Key, _Node] = {START: _Node(None), EXIT: _Node(None)}
        self.asked = asked

    def add(self, walk: tuple[Step, ...]) -> None:
        """Lay one more walk upon the others."""
        key, came = START, ""
        for step in walk:
            self.nodes.setdefault(step.key, _Node(step.item, step))
            outcomes = self.nodes[key].next.setdefault(step.key, [])
            if came not in outcomes:
                outcomes.append(came)
            key, came = step.key, step.came
        self.nodes[key].next.setdefault(EXIT, [])

    def meets(self) -> dict[Key, Key]:
        """Return for each node the nearest one that every way from it comes to."""
        meets: dict[Key, Key] = {}
        depth = {EXIT: 0}
        # Those further on come first: each is known before whatever leads to it.
        for key in self._backwards():
            if key == EXIT:
                continue
            meeting, *others = self.nodes[key].next
            for other in others:
                while meeting != other:
                    if depth[meeting] < depth[other]:
                        other = meets[other]
                    else:
                        meeting = meets[meeting]
            meets[key], depth[key] = meeting, depth[meeting] + 1
        return meets

    def _backwards(self) -> list[Key]:
        done: dict[Key, None] = {}
        stack: list[tuple[Key, Iterator[Key]]] = [(START, iter(self.nodes[START].next))]
        while stack:
            key, following = stack[-1]
            step = next((each for each in following if each not in done), None)
            if step is None:
                done[key] = None
                stack.pop()
            else:
                stack.append((step, iter(self.nodes[step].next)))
        return list(done)


class _Teller:
    """Tells the graph as a story: one thing after the other, and forks whose ways meet again."""

    def __init__(self, graph: _Graph) -> None:
        self._graph = graph
        self._meets = graph.meets()
        self._numbers: dict[Key, int] = {}
        self._told = 0

    def parts(self) -> tuple[Part, ...]:
        """Return the whole story."""
        return tuple(self._from(START, EXIT))

    def _from(self, key: Key, stop: Key) -> Iterator[Part]:
        while key != stop:
            node = self._graph.nodes[key]
            self._told += 1
            if self._told > LONGEST:
                yield Over(End.CUT)
                return
            if part := self._part(key, node):
                yield part
            meeting = self._meets[key]
            if len(node.next) > 1:
                yield Fork(tuple(Way(words, tuple(self._from(to, meeting))) for words, to in self._ways(node)))
            key = meeting

    def _part(self, key: Key, node: _Node) -> Part | None:
        match node.item:
            case Messages(drafts):
                return Sent(self._numbers.setdefault(key, len(self._numbers) + 1), drafts)
            case Pause() as pause:
                asked = self._graph.asked[key]
                if max(asked) <= timedelta(0):
                    return None
                return Waits(pause, max(asked), argument(node.step.place) if node.step and len(asked) > 1 else "")
            case Ending(end, told, back):
                return Over(end, told, self._number_of(back) if back else 0)
        return None

    def _number_of(self, item: Item) -> int:
        numbers = (number for key, number in self._numbers.items() if self._graph.nodes[key].item == item)
        return min(numbers, default=0)

    def _ways(self, node: _Node) -> list[tuple[str, Key]]:
        """The ways on from a fork, each with its words, in the order somebody would tell them."""
        arms = {to: _arms(node, self._graph.nodes[to]) for to in node.next}
        told = {to: " or ".join(_outcomes(node, came)) for to, came in node.next.items()}
        forked = any(arms.values())
        ways = []
        for to, outcome in told.items():
            alone = list(told.values()).count(outcome) == 1
            condition = arms[to] or (OTHERWISE if forked else "")
            words = outcome if outcome and alone else ", ".join(filter(None, (outcome, condition)))
            came_of_itself = "" in node.next[to]
            ways.append((came_of_itself, _place(self._graph.nodes[to]), words, to))
        return [(words, to) for *_, words, to in sorted(ways, key=lambda way: way[:2])]


def _place(node: _Node) -> tuple[Any, ...]:
    """Where something stands in the code; the end of it all stands after everything."""
    if node.step is None or not node.step.place.spots:
        return (1,)
    within = 0 if isinstance(node.item, Ending) else node.step.key[2]
    return (0, tuple((spot.line, spot.column) for spot in node.step.place.spots), within)


def _arms(node: _Node, to: _Node) -> str:
    """In the author's words, when one comes from one thing to another."""
    before = node.step.arms if node.step else ()
    after = to.step.arms if to.step else ()
    return ", ".join(arm.words for arm in after if arm not in before and arm.words)


def _outcomes(node: _Node, came: list[str]) -> list[str]:
    """What came of a pause: what ended it, or that nothing did."""
    if not isinstance(node.item, Pause) or node.item.kind in (Kind.TIME, Kind.QUIET):
        return []
    return [each.replace("_", " ") or _nothing(node.item) for each in sorted(came, key=lambda each: (not each, each))]


def _nothing(pause: Pause) -> str:
    match pause.kind:
        case Kind.ANSWER:
            return "no answer"
        case Kind.STATUS:
            return f"not {pause.what[0]}"
        case _:
            return "not in time"
