"""A journey as one story with forks, put together from everything its rehearsal has seen."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from domain.messages import Draft
from storyboards.rehearsal import OTHER, End, Ending, Item, Kind, Messages, Missed, Pause, Rehearsal, Step
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
        back: Of one that goes round: the number of the messages that go out again, 0 if it only waits again. Of one
            that goes on elsewhere: with which messages.
    """

    end: End
    told: str = ""
    back: int = 0


Part = Sent | Waits | Fork | Over


@dataclass(frozen=True)
class Storyboard:
    """A journey's whole story.

    Attributes:
        silent: What a bot does about who falls silent at any question.
        missed: What its code says but no rehearsal came to.
    """

    declaration: Declaration
    parts: tuple[Part, ...]
    silent: tuple[Part, ...]
    missed: tuple[Missed, ...]

    @property
    def messages(self) -> tuple[Sent, ...]:
        """Everything that may go out, once each, in the order of its numbers."""
        return tuple({each.number: each for each in _sent((*self.parts, *self.silent))}.values())

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """The messages one by one."""
        return tuple(draft for sent in self.messages for draft in sent.drafts)


def storyboard(rehearsal: Rehearsal) -> Storyboard:
    """Put the walks of a rehearsal together."""
    numbers: dict[Key, int] = {}
    parts = _Teller(_Graph.of(rehearsal.walks or ((),), rehearsal.asked), numbers).parts()
    silent = _Teller(_Graph.of(rehearsal.silent, rehearsal.asked), numbers).parts() if rehearsal.silent else ()
    return Storyboard(rehearsal.declaration, parts, silent, rehearsal.missed)


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
class _Edge:
    """That one thing came after another in some walks.

    Attributes:
        came: What came of the first, if it was a pause.
        before: What had come of the pauses before it.
    """

    came: list[str] = field(default_factory=list)
    before: dict[Key, set[str]] = field(default_factory=dict)


@dataclass
class _Node:
    """Something that was done in at least one walk."""

    item: Item | None
    step: Step | None = None
    next: dict[Key, _Edge] = field(default_factory=dict)


class _Graph:
    """All walks laid upon each other; no way leads back, because what is done in a later lap is something else."""

    def __init__(self, asked: Mapping[Key, frozenset[timedelta]]) -> None:
        self.nodes: dict[Key, _Node] = {START: _Node(None), EXIT: _Node(None)}
        self.asked = asked

    @classmethod
    def of(cls, walks: Iterable[tuple[Step, ...]], asked: Mapping[Key, frozenset[timedelta]]) -> "_Graph":
        """Lay walks upon each other."""
        graph = cls(asked)
        for walk in walks:
            graph._add(walk)
        return graph

    def _add(self, walk: tuple[Step, ...]) -> None:
        key, came, before = START, "", dict[Key, str]()
        for step in walk:
            self.nodes.setdefault(step.key, _Node(step.item, step))
            edge = self.nodes[key].next.setdefault(step.key, _Edge())
            if came not in edge.came:
                edge.came.append(came)
            for pause, outcome in before.items():
                edge.before.setdefault(pause, set()).add(outcome)
            if isinstance(self.nodes[key].item, Pause):
                before[key] = came
            key, came = step.key, step.came
        self.nodes[key].next.setdefault(EXIT, _Edge())

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

    def __init__(self, graph: _Graph, numbers: dict[Key, int]) -> None:
        self._graph = graph
        self._meets = graph.meets()
        self._numbers = numbers
        self._told = 0

    def parts(self) -> tuple[Part, ...]:
        """Return the whole story."""
        return tuple(self._from(START, EXIT))

    def _from(self, key: Key, stop: Key) -> Iterator[Part]:
        while key != stop:
            node = self._graph.nodes[key]
            if key in self._numbers and self._forks(key, stop):
                # Ways that come together before they meet all the others are told once; a line or two is repeated.
                yield Over(End.ON, back=self._numbers[key])
                return
            self._told += 1
            if self._told > LONGEST:
                yield Over(End.CUT)
                return
            if part := self._part(key, node):
                yield part
            meeting = self._meets[key]
            if len(node.next) > 1:
                fork = Fork(tuple(Way(words, tuple(self._from(to, meeting))) for words, to in self._ways(node)))
                yield fork
                if _ends(fork):
                    return
            key = meeting

    def _forks(self, key: Key, stop: Key) -> bool:
        """Whether there are several ways from one thing to another."""
        while key != stop:
            if len(self._graph.nodes[key].next) > 1:
                return True
            key = self._meets[key]
        return False

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
        nodes = self._graph.nodes
        return min(
            (number for key, number in self._numbers.items() if key in nodes and nodes[key].item == item), default=0
        )

    def _ways(self, node: _Node) -> list[tuple[str, Key]]:
        """The ways on from a fork, each with its words, in the order somebody would tell them."""
        arms = {to: _arms(node, self._graph.nodes[to]) for to in node.next}
        told = {to: " or ".join(_outcomes(node, edge.came)) for to, edge in node.next.items()}
        forked = any(arms.values())
        ways = []
        for to, outcome in told.items():
            alike = [other for other, words in told.items() if words == outcome]
            earlier = self._earlier(node, to, alike) if len(alike) > 1 and not forked else ""
            condition = arms[to] or (OTHERWISE if forked else "")
            words = outcome if outcome and len(alike) == 1 else ", ".join(filter(None, (earlier, outcome, condition)))
            came_of_itself = bool({"", OTHER} & set(node.next[to].came))
            order = (earlier.startswith(OTHER), earlier, came_of_itself, _place(self._graph.nodes[to]))
            ways.append((order, words, to))
        return [(words, to) for _, words, to in sorted(ways, key=lambda way: way[0])]

    def _earlier(self, node: _Node, to: Key, alike: list[Key]) -> str:
        """Say a way by what came of a pause further back, if that tells it from others that look alike here."""
        came = {way: node.next[way].before for way in alike}
        for key in reversed(came[to]):
            sets = [before.get(key, set()) for before in came.values()]
            if len(set[str]().union(*sets)) == sum(map(len, sets)):
                return " or ".join(_outcomes(self._graph.nodes[key], list(came[to][key])))
        return ""


def _ends(part: Part) -> bool:
    """Whether nothing goes on from a part."""
    if isinstance(part, Fork):
        return all(way.parts and _ends(way.parts[-1]) for way in part.ways)
    return isinstance(part, Over)


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
    if OTHER in came:
        return [OTHER]
    return [each.replace("_", " ") or _nothing(node.item) for each in sorted(came, key=lambda each: (not each, each))]


def _nothing(pause: Pause) -> str:
    match pause.kind:
        case Kind.ANSWER:
            return "no answer"
        case Kind.STATUS:
            return f"not {pause.what[0]}"
        case _:
            return "not in time"
