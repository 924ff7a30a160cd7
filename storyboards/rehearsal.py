"""Rehearses a journey: walks through its real `steps()` in no time, again and again, until every way has been seen.

The verbs are the real ones, down to the two places where a journey meets the world: asking `deliver`, and waiting.
There the rehearsal decides what happens: a message goes out or cannot, nobody reacts, somebody reads, answers, does
one of the declared things. Fields of events are tried with values of their types and with those the code compares
with. So what a rehearsal has seen can really happen; what it has not seen is told, never guessed.
"""

import ast
import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any, NoReturn

from temporalio import workflow

from domain.clock import Clock
from domain.conversations import OPERATOR
from domain.enrolments import Departure, Outcome, Reply, SeenEvent
from domain.events import Event
from domain.messages import DeliverRequest, Delivery, Draft, Order, Status, Verdict
from domain.runs import Start
from storyboards.samples import compared, samples
from storyboards.ways import OURS, Arm, Loop, Place, Spot, arms_of, is_at, loops_of, place_of_error, place_of_frame
from workflows.bot import Bot, Patience
from workflows.declaration import Declaration
from workflows.journey import E, Journey
from workflows.source import VERBS, written_classes

RUNS, WORK = 600, 10_000
"""Most walks of one rehearsal, and most steps of all of them."""

STEPS = 600
"""Most steps of one walk; a longer journey is cut there, visibly."""

TRIED, MEANWHILE = 150, 12
"""Most sets of values tried for an event that is waited for or starts the journey, and for one nobody waits for."""

CURTAIN = datetime(2030, 1, 7, 10, tzinfo=UTC)
"""When every walk begins: a Monday morning."""


NOWHERE = Place(())

OTHER = "another button"
"""Came of a pause: one of the buttons that the code does not name."""

MONTHLY = "month"
"""Stands for the edition of a text that has one."""


class Kind(StrEnum):
    """What a pause waits for."""

    TIME = "time"
    QUIET = "quiet"
    EVENT = "event"
    ANSWER = "answer"
    BUTTON = "button"
    STATUS = "status"


@dataclass(frozen=True)
class Messages:
    """What goes out at once."""

    drafts: tuple[Draft, ...]


@dataclass(frozen=True)
class Pause:
    """A wait.

    Attributes:
        what: Names of the events, or the status, that end it early.
    """

    kind: Kind
    what: tuple[str, ...] = ()


class End(StrEnum):
    """How a walk ended, or a way of its picture."""

    FINISHED = "finished"
    AGAIN = "again"
    """It does the same once more."""
    ON = "on"
    """It goes on as another way does."""
    CUT = "cut"
    """It was longer than a rehearsal is."""
    BROKEN = "broken"


@dataclass(frozen=True)
class Ending:
    """The last of a walk.

    Attributes:
        told: Of a broken one: which error, and where.
        back: Of one that goes round: what it does once more.
    """

    end: End
    told: str = ""
    back: "Messages | Pause | None" = None


Item = Messages | Pause | Ending


@dataclass(frozen=True)
class Step:
    """One thing that happened in a walk.

    Attributes:
        place: Where the code asked for it.
        key: Tells it from every other thing the journey does, whichever walk it happens in.
        asked: How long the author wanted a pause to be; journey time.
        lasts: How long it was if nothing ended it: quiet counts from what the customer did last.
        came: What ended a pause, "" if nothing but time could.
    """

    item: Item
    place: Place
    key: tuple[Any, ...]
    asked: timedelta = timedelta(0)
    lasts: timedelta = timedelta(0)
    came: str = ""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The ways that were taken to come here."""
        return arms_of(self.place)


@dataclass(frozen=True)
class Missed:
    """A line no walk came to."""

    source: str
    code: str


@dataclass(frozen=True)
class Rehearsal:
    """Everything a journey was seen to do.

    Attributes:
        walks: Each different one, the one in which nobody reacts first.
        silent: Those of a bot after a question to which nobody pressed a button; empty where it does nothing then.
        asked: How long the author wanted each pause to be, by its key; journey time.
        missed: What the code says but no walk came to.
    """

    declaration: Declaration
    walks: tuple[tuple[Step, ...], ...]
    silent: tuple[tuple[Step, ...], ...]
    asked: Mapping[tuple[Any, ...], frozenset[timedelta]]
    missed: tuple[Missed, ...]

    @property
    def drafts(self) -> dict[Draft, str]:
        """Every message it asked for, with ``file:line`` of where."""
        return {
            draft: str(step.place)
            for walk in (*self.walks, *self.silent)
            for step in walk
            if isinstance(step.item, Messages)
            for draft in step.item.drafts
        }

    @property
    def broken(self) -> list[str]:
        """Where `steps()` failed, and how."""
        ends = (walk[-1].item for walk in (*self.walks, *self.silent))
        return sorted({end.told for end in ends if isinstance(end, Ending) and end.end is End.BROKEN})


def rehearse(declaration: Declaration) -> Rehearsal:
    """Walk through a journey, with a deployment's parameters. Takes tenths of a second; blocks."""
    # In a thread of its own, because a rehearsal has its own event loop, and the caller may have one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_rehearse, declaration).result()


def _rehearse(declaration: Declaration) -> Rehearsal:
    if not declaration.starts_on:
        # It takes nobody in any more, and nobody knows what began the stays it goes on with.
        return Rehearsal(declaration, walks=(), silent=(), asked={}, missed=())
    seen = _Seen()
    with asyncio.Runner() as runner:
        workflow._Runtime.set_on_loop(runner.get_loop(), _Runtime())  # type: ignore[arg-type]
        walks = _walk(declaration, "steps", seen, runner)
        silent = _walk(declaration, "fell_silent", seen, runner) if goes_by_silence(declaration) else ()
    return Rehearsal(
        declaration,
        walks=walks,
        silent=silent,
        asked={key: frozenset(durations) for key, durations in seen.asked.items()},
        missed=tuple(_missed(declaration.workflow, seen.places)),
    )


def goes_by_silence(declaration: Declaration) -> bool:
    """Whether it is a bot that does something about who leaves the talk."""
    cls = declaration.workflow
    return issubclass(cls, Bot) and cls.fell_silent is not Bot.fell_silent


@dataclass
class _Seen:
    """What all walks have come to together."""

    places: set[Spot] = field(default_factory=set)
    asked: dict[tuple[Any, ...], set[timedelta]] = field(default_factory=dict)


def _walk(declaration: Declaration, entry: str, seen: _Seen, runner: asyncio.Runner) -> tuple[tuple[Step, ...], ...]:
    """Walk through one of a journey's methods in every way there is."""
    known = compared(declaration.workflow)
    walks: dict[tuple[Any, ...], tuple[Step, ...]] = {}
    # What was never tried at its place comes before what was tried only after something else.
    new, others = deque[tuple[int, ...]]([()]), deque[tuple[int, ...]]()
    tried: set[tuple[Any, int]] = set()
    runs = work = 0
    while (new or others) and runs < RUNS and work < WORK:
        script = new.popleft() if new else others.popleft()
        stage = _Stage(declaration, known, script)
        runner.run(stage.walk(entry))
        runs, work = runs + 1, work + len(stage.steps)
        seen.places |= stage.places
        for step in stage.steps:
            seen.asked.setdefault(step.key, set()).add(step.asked)
        way = tuple((step.key, step.came) for step in stage.steps)
        if way in walks:
            continue
        walks[way] = tuple(stage.steps)
        for prefix, choice, option in stage.untaken():
            known_there = (choice, option) in tried
            tried.add((choice, option))
            (others if known_there else new).append((*prefix, option))
    return tuple(walks.values())


@dataclass
class _Verb:
    """A verb under way: where the author wrote it, and what it has come to so far."""

    name: str
    place: Place
    asked: timedelta = timedelta(0)
    until: Status | None = None
    events: tuple[type[Event], ...] = ()
    drafts: list[Draft] = field(default_factory=list)
    message: str = ""
    about: Draft | None = None
    parts: int = 0


_verb: ContextVar[_Verb] = ContextVar("_verb")


class _Stage:
    """One walk: what the world does, by a script, and what the journey did."""

    def __init__(self, declaration: Declaration, known: tuple[Any, ...], script: Sequence[int]) -> None:
        self.declaration = declaration
        self.now = CURTAIN
        self.steps: list[Step] = []
        self.places: set[Spot] = set()
        self._known = known
        self._script = script
        self._taken: list[int] = []
        self._offered: list[tuple[Any, int]] = []
        self._laps: dict[Loop, int] = {}
        self._sent: set[tuple[Item, Place, int]] = set()
        self._waited: set[tuple[Item, Place, int]] = set()
        self._sequence = 1
        self._verbs = 0
        self._player: _Player

    # The walk.

    async def walk(self, entry: str) -> None:
        """Play one of the journey's methods to its end."""
        starts = [each for rule in self.declaration.starts_on for each in self._tried(rule.event, TRIED)]
        player = self._player = self._cast(starts[self._choose("start", len(starts))])
        # It may have begun again before: then the event that made it do so is known.
        restarts = [each for event in self.declaration.restarts_on for each in self._tried(event, MEANWHILE)]
        if again := self._choose("restart", 1 + len(restarts)):
            event = self._seen(restarts[again - 1])
            player._latest[event.name] = event
        task = asyncio.get_running_loop().create_task(getattr(player, entry)())
        await asyncio.wait([task])
        last = self.steps[-1] if self.steps else None
        if not task.cancelled() and (error := task.exception()):
            place = place_of_error(error.__traceback__)
            self.places |= set(place.spots)
            self._end(Ending(End.BROKEN, f"{place}: {type(error).__name__}: {error}"), place)
        elif last is None or not isinstance(last.item, Ending):
            self._end(Ending(End.FINISHED))

    def _cast(self, trigger: Event) -> "_Player":
        workflow = self.declaration.workflow
        cls: Any = type(workflow.__name__, (_Talker if issubclass(workflow, Bot) else _Player, workflow), {})
        player: _Player = cls.__new__(cls)
        player._stage = self
        player.__init__(  # type: ignore[misc]
            Start(
                enrolment=1,
                customer=1,
                trigger=self._seen(trigger),
                parameters=self.declaration.parameters.model_dump(mode="json"),
                clock=Clock(),
            )
        )
        return player

    def untaken(self) -> Iterator[tuple[tuple[int, ...], Any, int]]:
        """What else could have happened beyond the script: the way there, where, and which."""
        once: set[Any] = set()
        for index, (where, options) in enumerate(self._offered):
            if index >= len(self._script) and where not in once:
                for option in range(1, options):
                    yield tuple(self._taken[:index]), where, option
            elif index < len(self._script) and self._taken[index]:
                # What came here once may come for ever; that it is waited for again has been seen.
                once.add(where)

    # What the world does.

    def gone(self, request: DeliverRequest) -> bool:
        """Decide whether a message goes out. In a cascade or a question it does: what else happens there is known."""
        verb = _verb.get()
        # Which month it is makes no other message of it.
        draft = request.draft.model_copy(update={"edition": MONTHLY}) if request.draft.edition else request.draft
        if verb.name == "send":
            verb.drafts.append(draft)
            return not self._choose(("gone", verb.place, draft), 2)
        self._step(Messages((draft,)), verb)
        verb.message, verb.about = str(request.message), draft
        return True

    def pause(self, player: "_Player", due: datetime, met: Callable[[], bool]) -> None:
        """Decide what happens during a pause."""
        verb = _verb.get()
        item = _pause(verb)
        self._step(item, verb, max(due - self.now, timedelta(0)))
        while due > self.now:
            options = list(self._happenings(player, verb))
            chosen = self._choose((verb.place, item, verb.parts), 1 + len(options))
            if not chosen:
                self.now = due
                return
            self.now += (due - self.now) / 2
            came, happens = options[chosen - 1]
            happens()
            if met():
                self.steps[-1] = replace(self.steps[-1], came=came)
                return

    def met(self, event: str) -> None:
        """Write down that an event was waited for, also where it had come before."""
        verb = _verb.get()
        if not verb.parts:
            self._step(_pause(verb), verb, verb.asked)
            self.steps[-1] = replace(self.steps[-1], came=event)

    def pressed(self, question: Draft) -> Reply:
        """Decide which button of a question is pressed: each the code goes by, and one of the others there are."""
        verb = _verb.get()
        self._step(Messages((question,)), verb)
        self._step(Pause(Kind.BUTTON), verb, verb.asked)
        buttons = [each for each in self._known if isinstance(each, str) and each != OPERATOR]
        chosen = self._choose((verb.place, question), 1 + len(buttons))
        button = buttons[chosen - 1] if chosen else OTHER
        self.steps[-1] = replace(self.steps[-1], came=f"“{button}”" if chosen else OTHER)
        return Reply(sequence=self._sequence, message="", choice=button)

    def _happenings(self, player: "_Player", verb: _Verb) -> "Iterator[tuple[str, Callable[[], None]]]":
        """What could happen during a pause, and what it is called where it ends one."""
        if verb.until is not None:
            until = verb.until
            yield (until, lambda: player._advance(verb.message, until))
        if verb.name == "ask":
            numbers = [each for each in self._known if isinstance(each, int) and not isinstance(each, bool)]
            scores = {str(each + above) for each in numbers for above in (0, 1)}
            words = [*(each for each in self._known if isinstance(each, str)), *sorted(scores)]
            for choice in (None, *words):
                reply = Reply(sequence=self._sequence, message=verb.message, choice=choice)
                came = f"“{choice}”" if choice else "answers in words" if words else "answers"
                yield (came, lambda reply=reply: player._replies.update({verb.message: reply}))  # type: ignore[misc]
        for event in self.declaration.listens_to:
            awaited = event in verb.events
            for each in self._tried(event, TRIED if awaited else MEANWHILE):
                seen = self._seen(each)
                came = event.event_name if awaited else ""
                yield (came, lambda seen=seen: player._hear(seen))  # type: ignore[misc]

    def _tried(self, event: type[Event], most: int) -> Sequence[Event]:
        return samples(event, self._known, most, self.now)

    def _seen(self, event: Event) -> SeenEvent:
        self._sequence += 1
        return SeenEvent(
            sequence=self._sequence, name=event.event_name, at=self.now, fields=event.model_dump(mode="json")
        )

    def _choose(self, where: Any, options: int) -> int:
        """Return which of some options happens, by the script; the first where the script has ended."""
        index = len(self._taken)
        chosen = self._script[index] if index < len(self._script) else 0
        self._taken.append(chosen)
        self._offered.append((where, options))
        return chosen

    # What the journey did.

    @property
    def chooses(self) -> bool:
        """Whether a bot's question is under way."""
        verb = _verb.get(None)
        return verb is not None and verb.name == "choose"

    @contextlib.contextmanager
    def verb(self, name: str, **told: Any) -> Iterator[None]:
        """Remember, while a verb is under way, where it was written."""
        self._verbs += 1
        if self._verbs > 10 * STEPS:
            self._leave(Ending(End.CUT), NOWHERE)
        verb = _Verb(name, place_of_frame(sys._getframe(2)), **told)
        self.places |= set(verb.place.spots)
        token = _verb.set(verb)
        try:
            yield
        finally:
            _verb.reset(token)
        if verb.drafts:
            self._step(Messages(tuple(verb.drafts)), verb)

    def _step(self, item: Messages | Pause, verb: _Verb, lasts: timedelta = timedelta(0)) -> None:
        """Write down what is done, unless it has been done before: then the walk is over.

        Raises:
            asyncio.CancelledError: It is.
        """
        doing = (item, verb.place, verb.parts)
        done = self._sent if isinstance(item, Messages) else self._waited
        if doing in done:
            self._leave(Ending(End.AGAIN, back=item), verb.place)
        done.add(doing)
        if isinstance(item, Messages):
            # To wait once more is to go round only if nothing new was sent meanwhile.
            self._waited.clear()
        if len(self.steps) >= STEPS:
            self._leave(Ending(End.CUT), verb.place)
        laps = self._laps_at(verb)
        # What comes after a message that did not arrive depends on which it was.
        about = verb.about if isinstance(item, Pause) and item.kind is Kind.STATUS else None
        key = (laps, verb.place, verb.parts, item, about)
        verb.parts += 1
        self.steps.append(Step(item, verb.place, key, verb.asked, lasts))

    def _laps_at(self, verb: _Verb) -> tuple[int, ...]:
        """Which time each loop round a verb is gone through: what is done later in it is something else."""
        place, loops = verb.place, loops_of(verb.place)
        before = self.steps[-1].place if self.steps else Place(())
        around = [loop for loop in loops if loop in loops_of(before)]
        for loop in loops:
            if loop not in around:
                self._laps[loop] = 0
        if (around and place.spots < before.spots) or (around and place == before and not verb.parts):
            self._laps[around[-1]] += 1
        return tuple(self._laps[loop] for loop in loops)

    def _leave(self, ending: Ending, place: Place) -> NoReturn:
        self._end(ending, place)
        # As on a goal: every verb refuses from now on.
        self._player._departure = Departure(sequence=self._sequence, outcome=Outcome.STOPPED)
        raise asyncio.CancelledError

    def _end(self, ending: Ending, place: Place = NOWHERE) -> None:
        self.steps.append(Step(ending, place, (ending,)))


def _pause(verb: _Verb) -> Pause:
    match verb.name:
        case "until_quiet":
            return Pause(Kind.QUIET)
        case "wait_for":
            return Pause(Kind.EVENT, tuple(event.event_name for event in verb.events))
        case "ask":
            return Pause(Kind.ANSWER)
        case "cascade":
            return Pause(Kind.STATUS, (str(verb.until),))
        case _:
            return Pause(Kind.TIME)


class _Player(Journey):
    """A journey on the stage: its own steps and verbs, with a world that follows the script."""

    _stage: _Stage

    @property
    def now(self) -> datetime:
        return self._stage.now

    async def send(self, *drafts: Draft) -> list[Delivery]:
        with self._stage.verb("send"):
            return await super().send(*drafts)

    async def wait(self, duration: timedelta) -> None:
        with self._stage.verb("wait", asked=duration):
            await super().wait(duration)

    async def wait_until(self, moment: datetime) -> None:
        with self._stage.verb("wait_until", asked=max(moment - self.now, timedelta(0))):
            await super().wait_until(moment)

    async def wait_since_start(self, duration: timedelta) -> None:
        with self._stage.verb("wait_since_start", asked=max(self._began + duration - self.now, timedelta(0))):
            await super().wait_since_start(duration)

    async def until_quiet(self, duration: timedelta) -> None:
        with self._stage.verb("until_quiet", asked=duration):
            await super().until_quiet(duration)

    async def wait_for(self, *events: type[E], within: timedelta) -> E | None:
        with self._stage.verb("wait_for", asked=within, events=events):
            event = await super().wait_for(*events, within=within)
            if event is not None:
                self._stage.met(event.event_name)
            return event

    async def cascade(
        self, *drafts: Draft, until: Status, within: timedelta, order: Order = Order.AS_WRITTEN
    ) -> Delivery | None:
        # What will be cheapest nobody knows beforehand: it is drawn in the order in which it is written.
        with self._stage.verb("cascade", asked=within, until=until):
            return await super().cascade(*drafts, until=until, within=within)

    async def reached(self, place: int) -> None:
        with self._stage.verb("reached"):
            await super().reached(place)

    async def ask(self, *drafts: Draft, within: timedelta) -> Reply | None:
        with self._stage.verb("ask", asked=within):
            return await super().ask(*drafts, within=within)

    async def _ask_to_deliver(self, request: DeliverRequest) -> Delivery:
        self._raise_if_interrupted()
        message = request.message
        if self._stage.gone(request):
            return Delivery(verdict=Verdict.GONE, message=message, status=Status.ACCEPTED, at=self.now)
        return Delivery(verdict=Verdict.SKIPPED, message=message, reason="no_address")

    async def _until(
        self, due: datetime, what: str, met: Callable[[], bool] = lambda: False, *, policy: bool = False
    ) -> None:
        self._raise_if_interrupted()
        if not met():
            self._stage.pause(self, due, met)

    def _describe(self) -> None:
        """Nobody looks on."""


class _Talker(_Player):
    """A bot on the stage: buttons are pressed. What else can happen, at any question, is told apart."""

    async def choose(self, question: Draft) -> str:
        assert isinstance(self.parameters, Patience)
        with self._stage.verb("choose", asked=self.parameters.silent_after):
            button: str = await super().choose(question)  # type: ignore[misc]
            return button

    async def ask(self, *drafts: Draft, within: timedelta) -> Reply | None:
        if self._stage.chooses:
            return self._stage.pressed(drafts[0])
        return await super().ask(*drafts, within=within)


class _Runtime:
    """What else a journey may ask Temporal for: new runs take the newer ways, and nothing is logged."""

    def workflow_patch(self, id: str, *, deprecated: bool, **_: object) -> bool:
        return True

    def workflow_random(self) -> Random:
        return Random(0)

    def workflow_is_replaying_history_events(self) -> bool:
        return True


def _missed(workflow: type, places: set[Spot]) -> Iterator[Missed]:
    """The verbs in the author's code that no walk came to."""
    verbs = VERBS | {"choose", "say"} if issubclass(workflow, Bot) else VERBS
    for written in written_classes(workflow):
        if written.file in OURS:
            continue
        awaits = {id(node.value): node for node in ast.walk(written.tree) if isinstance(node, ast.Await)}
        for call in written.calls(*verbs):
            if not any(is_at(spot, written.file, awaits.get(id(call), call)) for spot in places):
                yield Missed(written.at(call), ast.unparse(call))
