"""Journey: what every customer journey can do, and the one place that talks to Temporal.

An author writes `steps()`, which reads as the story. Everything that must hold in every journey is
here: leaving at the goal, exits, restarts, pausing, waiting in journey time, never sending the same
message twice, telling the operator in words where the run stands.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

import typing_extensions
from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from domain.enrolments import (
        AUDITED,
        DeliveryStatus,
        Departure,
        FormProgress,
        Outcome,
        Reply,
        SeenEvent,
    )
    from domain.events import Event
    from domain.messages import (
        DEFAULT_TOPIC,
        RANK,
        DeliverRequest,
        Delivery,
        Draft,
        MessageClass,
        Order,
        Status,
        Verdict,
    )
    from domain.runs import MOST_LINES, MOST_MESSAGES, MOST_UNREAD, Continuation, Start
    from workflows.audience import leaving
    from workflows.declaration import Parameters, Rule, as_events, as_rules

DELIVER_TIMEOUT = timedelta(seconds=30)
"""Wall time of one attempt of `deliver`; longer than a provider call and its two transactions."""

EDITION = 3
"""Of the commands this base class gives. A run keeps the edition it began with, so that it replays.

2: a wait that is over before it begins takes a timer too. A run's commands do not depend on how long its
waits are, and durations can be changed while it is under way.
3: what an operator does straight in Temporal is entered in the audit log, and a run whose history has grown long
goes on as a new one.
"""

_TRANSACTIONAL, _MARKETING = Priority(priority_key=1), Priority(priority_key=3)
"""Who goes first where a worker has more to send than hands; campaigns come last."""

SHORTEST = timedelta(seconds=1)
"""Journey time a wait takes that is over before it begins."""

P = typing_extensions.TypeVar("P", bound=Parameters, default=Parameters)
E = TypeVar("E", bound=Event)
J = TypeVar("J", bound="type[Journey[Any]]")


@dataclass
class _Wait:
    """A wait under way, as the operator sees it."""

    what: str
    until: datetime
    policy: bool = False
    skipped: bool = False


class Journey(Generic[P]):
    """The class authors build on; `P` is the model of the journey's parameters.

    `steps()` may be begun again at any moment (see `restarts_on`); a message that has gone in this
    enrolment does not go again, and a wait after such a message counts from when it went. So the
    story is written once, from the beginning, and goes on where it was.
    """

    _declared: ClassVar[Mapping[str, Any]]
    _parameters_model: ClassVar[type[Parameters]] = Parameters
    _restart_names: ClassVar[frozenset[str]] = frozenset()
    _heard_names: ClassVar[frozenset[str]] = frozenset()
    _asks_hour: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Journey) and isinstance(get_args(base)[0], type):
                cls._parameters_model = get_args(base)[0]

    @workflow.init
    def __init__(self, start: Start) -> None:
        self._start = start
        known = self._parameters_model.model_fields
        # A run may have begun with parameters that the present code does not read any more.
        self._parameters = self._parameters_model.model_validate(
            {name: value for name, value in start.parameters.items() if name in known}
        )
        self._began = self.now
        self._seen = start.trigger.sequence
        self._stirred = self._began
        self._latest = {start.trigger.name: start.trigger}
        self._unread: list[SeenEvent] = []
        self._replies: dict[str, Reply] = {}
        self._statuses: dict[str, Status] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._occurrences: dict[str, int] = {}
        self._awaited: dict[str, set[Status]] = {}
        self._log: list[str] = []
        self._untold = 0
        self._waits: list[_Wait] = []
        self._counts_from: datetime | None = None
        self._best_hour: int | None = None
        self._place = 0
        self._restarted = False
        self._continues = False
        self._paused = False
        self._departure: Departure | None = None
        if start.before:
            self._take_up(start.before)

    # What the author writes and uses.

    async def steps(self) -> None:
        """Tell the story. Ends the journey when it returns."""
        raise NotImplementedError

    @property
    def parameters(self) -> P:
        """The journey's parameters in this deployment."""
        return self._parameters  # type: ignore[return-value]

    @property
    def now(self) -> datetime:
        """The present in journey time."""
        return self._start.clock.journey_time(workflow.now())

    @property
    def month(self) -> str:
        """The present month in journey time (UTC), as editions of texts are named: ``2026-12``."""
        return f"{self.now:%Y-%m}"

    @property
    def began(self) -> datetime:
        """When what began the journey happened, in journey time."""
        return self._start.trigger.at

    @property
    def stirred(self) -> datetime:
        """When the customer last did anything this journey hears of, in journey time; its trigger counts."""
        return self._stirred

    @property
    def place(self) -> int:
        """How far in its plan the journey has come, as `reached` was told; 0 at first."""
        return self._place

    def latest(self, event: type[E]) -> E | None:
        """Return the newest event of a kind this run has seen, its trigger included."""
        seen = self._latest.get(event.event_name)
        return event.model_validate(seen.fields) if seen else None

    async def send(self, *drafts: Draft) -> list[Delivery]:
        """Send one message, or several at once; returns when each has left or will not.

        The contact policy may hold a message back; then this waits, visibly. A message that has
        gone in this enrolment before is not sent again unless the draft says so.
        """
        deliveries = await self._all(self._deliver(draft) for draft in drafts)
        self._counts_from = max((each.at for each in deliveries if each.at), default=None)
        return deliveries

    async def wait(self, duration: timedelta) -> None:
        """Wait for a journey duration, counted from the last message or the end of the last wait."""
        due = (self._counts_from or self.now) + duration
        await self._until(due, f"{_spoken(duration)} to pass")
        self._counts_from = due

    async def wait_until(self, moment: datetime) -> None:
        """Wait until a moment of journey time; one that has passed takes no time."""
        await self._until(moment, f"{moment:%d %b %H:%M} UTC")
        self._counts_from = moment

    async def wait_since_start(self, duration: timedelta) -> None:
        """Wait until a journey duration has passed since what began the journey.

        In a journey declared with `at_best_hour`, until the hour after that at which the customer reacts most.
        """
        due = self.began + duration
        if self._best_hour is not None:
            due += timedelta(hours=(self._best_hour - due.hour) % 24)
        await self._until(due, f"{_spoken(duration)} since the start")
        self._counts_from = due

    async def until_quiet(self, duration: timedelta) -> None:
        """Wait until the customer has done nothing this journey hears of for a journey duration.

        Quiet counts from the events' own timestamps, not from when they reached us.
        """
        while True:
            stirred = self._stirred
            await self._until(stirred + duration, f"{_spoken(duration)} of quiet", self._stirred_since(stirred))
            if self._stirred == stirred:
                break
        self._counts_from = None

    def _stirred_since(self, moment: datetime) -> Callable[[], bool]:
        return lambda: self._stirred > moment

    async def wait_for(self, *events: type[E], within: timedelta) -> E | None:
        """Wait for the first of some declared events; None when the journey duration is over.

        Sees what came since the last event this returned, also during a send or a wait.
        """
        kinds = {event.event_name: event for event in events}
        if not kinds.keys() <= self._heard_names:
            undeclared = ", ".join(sorted(kinds.keys() - self._heard_names))
            raise RuntimeError(f"{type(self).__name__} waits for {undeclared}, but does not declare it in listens_to")

        def position() -> int | None:
            return next((i for i, seen in enumerate(self._unread) if seen.name in kinds), None)

        if position() is None:
            await self._until(self.now + within, " or ".join(kinds), lambda: position() is not None)
        self._counts_from = None
        found = position()
        if found is None:
            return None
        seen = self._unread[found]
        del self._unread[: found + 1]
        return kinds[seen.name].model_validate(seen.fields)

    async def cascade(
        self, *drafts: Draft, until: Status, within: timedelta, order: Order = Order.AS_WRITTEN
    ) -> Delivery | None:
        """Send by one channel after the other until one has reached the customer.

        The next channel is used when the one before was refused or skipped, or did not come to
        `until` within the journey duration. A send of uncertain outcome counts as gone.

        Args:
            order: Cheapest first: what each message costs, as long as its text is and to where it
                goes, is reckoned when it is sent.

        Returns:
            The delivery that got as far as `until`; None if none was seen to.
        """
        left = list(drafts)
        while left:
            # What is cheapest `deliver` decides, and its answer is in the history: that costs no event more.
            candidates = left if order is Order.CHEAPEST_FIRST else left[:1]
            draft, delivery = await self._deliver_one_of(candidates, awaits=_at_least(until))
            left.remove(draft)
            if delivery.gone and left and await self._reaches(delivery, until, within):
                self._counts_from = None
                return delivery
        self._counts_from = None
        return None

    async def ask(self, *drafts: Draft, within: timedelta) -> Reply | None:
        """Send a question and wait for the answer; None if none came in the journey duration.

        Of several drafts each is sent where the one before was not answered in that time; then an answer to any
        of them counts.
        """
        asked: list[str] = []

        def answered() -> Reply | None:
            return next((self._replies[message] for message in asked if message in self._replies), None)

        for draft in drafts:
            delivery = await self._deliver(draft, awaits=(Status.REPLIED, Status.FAILED))
            self._counts_from = None
            if delivery.gone:
                asked.append(str(delivery.message))
                await self._until(
                    self.now + within,
                    f"a reply to {draft.channel} {draft.template}",
                    lambda: answered() is not None or self._statuses.get(asked[-1]) is Status.FAILED,
                )
            if reply := answered():
                return reply
        return None

    async def reached(self, place: int) -> None:
        """Say that the journey's plan is done up to a place; where `steps()` begin anew, they go on from `place`.

        This is where a run whose history has grown long goes on as a new one. No other moment would do in the
        middle of `steps()`: how often a loop has gone round, which way was taken and what a `wait_for` has
        seen is known to the coroutine alone, and walking it again from its beginning would wait and ask again.
        """
        self._raise_if_interrupted()
        forward = place > self._place
        self._place = place
        self._continues = forward and self._has_grown_long()
        self._raise_if_interrupted()

    def left_at(self, *drafts: Draft) -> datetime | None:
        """Return when the first of some drafts left, in journey time; None if none of them has."""
        found = [self._deliveries[draft.step] for draft in drafts if draft.step in self._deliveries]
        return min((each.at for each in found if each.gone and each.at), default=None)

    # What reaches a run from outside. Dispatch forwards a customer's events in order, at least
    # once; the sequence makes a second arrival harmless.

    @workflow.signal
    def event(self, event: SeenEvent) -> None:
        """The customer did something this journey declared."""
        if self._is_new(event.sequence):
            self._hear(event)

    @workflow.signal
    def form_progress(self, progress: FormProgress) -> None:
        """The customer filled in more of the form."""
        self.event(progress.event)

    @workflow.signal
    def delivery_status(self, report: DeliveryStatus) -> None:
        """A message this run waits for has moved on."""
        if self._is_new(report.sequence):
            self._advance(report.message, Status(report.status))

    @workflow.signal
    def reply(self, reply: Reply) -> None:
        """The customer answered a message of this run."""
        if self._is_new(reply.sequence):
            # Who answers twice has answered: what was begun by the first answer is not undone by another.
            self._replies.setdefault(reply.message, reply)
            self._advance(reply.message, Status.REPLIED)

    @workflow.signal
    def depart(self, departure: Departure) -> None:
        """The enrolment is over: goal, exit, merge, erasure."""
        if self._departure is None:
            self._seen = max(self._seen, departure.sequence)
            self._departure = departure
            self._describe()

    @workflow.update
    async def pause(self) -> str:
        """Operator: start no message until `resume`; timers run on."""
        self._paused = True
        self._describe()
        await self._enter("pause")
        return "paused; timers run on, what becomes due is acted on at resume"

    @pause.validator
    def _may_pause(self) -> None:
        self._refuse_if(self._paused, "it is paused already")

    @workflow.update
    async def resume(self) -> str:
        """Operator: go on after `pause`."""
        self._paused = False
        self._describe()
        await self._enter("resume")
        return "resumed"

    @resume.validator
    def _may_resume(self) -> None:
        self._refuse_if(not self._paused, "it is not paused")

    @workflow.update
    async def stop(self) -> str:
        """Operator: end this enrolment now, without a goal."""
        self._departure = Departure(sequence=self._seen, outcome=Outcome.STOPPED)
        self._describe()
        await self._enter("stop")
        return "stopped"

    @stop.validator
    def _may_stop(self) -> None:
        self._refuse_if(False, "")

    @workflow.update
    async def skip_wait(self) -> str:
        """Operator: end the current wait as if its time were over."""
        wait = self._waits[0]
        wait.skipped = True
        await self._enter("skip_wait")
        return f"no longer waits for {wait.what}"

    @skip_wait.validator
    def _may_skip_wait(self) -> None:
        self._refuse_if(not self._waits, "it is not waiting for anything")
        self._refuse_if(self._waits[0].policy, f"the wait is the contact policy's: {self._waits[0].what}")

    async def _enter(self, command: str) -> None:
        """Enter a command in the audit log, unless it came over HTTP and has an entry already."""
        update = workflow.current_update_info()
        if self._start.edition < 3 or update is None or update.id.startswith(AUDITED):
            return
        await workflow.execute_local_activity(
            "record_command",
            args=[self._start.enrolment, command, update.id],
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
        )

    @workflow.query
    def standing(self) -> dict[str, Any]:
        """Return where the run stands: sent so far, waiting for what and until when, paused."""
        return {
            "sent": list(self._log),
            "waiting": [
                {"for": wait.what, "until": wait.until.isoformat(), "policy": wait.policy} for wait in self._waits
            ],
            "paused": self._paused,
            "outcome": self._departure.outcome if self._departure else None,
            "speed": self._start.clock.speed,
        }

    # How a run lives and leaves.

    async def _live(self) -> str:
        """Walk the steps until the journey is over, then record how it ended."""
        try:
            while self._departure is None:
                await self._walk()
                if self._restarted:
                    # Nothing is lost by a new run where everything begins anew.
                    self._continues = self._continues or self._has_grown_long()
                    self._restarted = False
                    self._counts_from = None
                if self._continues and self._departure is None:
                    await self._continue()
        except asyncio.CancelledError:
            self._departure = Departure(sequence=self._seen, outcome=Outcome.CANCELLED)
            await self._record()
            raise
        await self._record()
        return self._departure.outcome

    async def _walk(self) -> None:
        """Go through `steps()` once, until its end, a restart, or a departure."""
        walk = asyncio.create_task(self.steps())
        try:
            await workflow.wait_condition(lambda: walk.done() or self._interrupted)
        except asyncio.CancelledError:
            await _end([walk])
            raise
        await _end([walk])
        if self._interrupted:
            return
        if walk.cancelled():
            raise RuntimeError(f"{type(self).__name__}.steps() cancelled itself")
        if error := walk.exception():
            # Whatever it is, it must not fail the run: an error that is no Temporal failure
            # suspends it, until a release mends the steps.
            raise RuntimeError(f"{type(self).__name__}.steps() raised {type(error).__name__}") from error
        self._departure = Departure(sequence=self._seen, outcome=Outcome.FINISHED)

    def _has_grown_long(self) -> bool:
        return self._start.edition >= 3 and workflow.info().is_continue_as_new_suggested()

    async def _continue(self) -> None:
        """Go on as a new run, under the same id, unless the journey is over by now."""
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._departure is None:
            # A new history may have the commands of the present release.
            update = {"edition": EDITION, "before": self._handed_on()}
            workflow.continue_as_new(self._start.model_copy(update=update))

    def _handed_on(self) -> Continuation:
        known = dict(list(self._deliveries.items())[-MOST_MESSAGES:])
        messages = {str(each.message) for each in known.values()}
        return Continuation(
            began=self._began,
            place=self._place,
            sequence=self._seen,
            stirred=self._stirred,
            counts_from=self._counts_from,
            best_hour=self._best_hour,
            latest=self._latest,
            unread=tuple(self._unread[-MOST_UNREAD:]),
            replies={message: reply for message, reply in self._replies.items() if message in messages},
            statuses={message: status for message, status in self._statuses.items() if message in messages},
            deliveries=known,
            occurrences=self._occurrences,
            awaited={step: frozenset(self._awaited[step]) for step in known if step in self._awaited},
            log=tuple(self._log[-MOST_LINES:]),
            untold=self._untold + max(len(self._log) - MOST_LINES, 0),
            paused=self._paused,
        )

    def _take_up(self, before: Continuation) -> None:
        self._began = before.began
        self._place = before.place
        self._seen = before.sequence
        self._stirred = before.stirred
        self._counts_from = before.counts_from
        self._best_hour = before.best_hour
        self._latest = dict(before.latest)
        self._unread = list(before.unread)
        self._replies = dict(before.replies)
        self._statuses = dict(before.statuses)
        self._deliveries = dict(before.deliveries)
        self._occurrences = dict(before.occurrences)
        self._awaited = {step: set(statuses) for step, statuses in before.awaited.items()}
        self._log = list(before.log)
        self._untold = before.untold
        self._paused = before.paused

    async def _record(self) -> None:
        """Write the outcome to our own tables: the one closing record of a run."""
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._describe()
        assert self._departure is not None
        await workflow.execute_local_activity(
            "record_outcome",
            args=[self._start.enrolment, self._departure.outcome],
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
        )

    @property
    def _interrupted(self) -> bool:
        return self._departure is not None or self._restarted or self._continues

    def _raise_if_interrupted(self) -> None:
        # CancelledError, because an author's `except Exception` must not swallow it.
        if self._interrupted:
            raise asyncio.CancelledError

    def _refuse_if(self, refused: bool, reason: str) -> None:
        if self._departure is not None:
            raise ApplicationError(f"the journey is over ({self._departure.outcome})", type="Refused")
        if refused:
            raise ApplicationError(reason, type="Refused")

    # Hearing.

    def _is_new(self, sequence: int) -> bool:
        if sequence <= self._seen:
            return False
        self._seen = sequence
        return True

    def _hear(self, event: SeenEvent) -> None:
        known = self._latest.get(event.name)
        if known is None or event.at >= known.at:
            self._latest[event.name] = event
        self._stirred = max(self._stirred, min(event.at, self.now))
        if event.name in self._restart_names:
            self._restarted = True
        else:
            self._unread.append(event)

    def _advance(self, message: str, status: Status) -> None:
        known = self._statuses.get(message)
        if known is None or RANK[status] > RANK[known]:
            self._statuses[message] = status

    # Sending.

    async def _deliver(self, draft: Draft, awaits: tuple[Status, ...] = ()) -> Delivery:
        """Send one draft unless it has gone already; waits as long as the contact policy says."""
        return (await self._deliver_one_of([draft], awaits))[1]

    async def _deliver_one_of(self, drafts: Sequence[Draft], awaits: tuple[Status, ...] = ()) -> tuple[Draft, Delivery]:
        """Send the cheapest of some drafts, unless one of them has gone already; see `_deliver`."""
        for draft in drafts:
            if known := self._known(draft, awaits):
                return draft, known
        requests = [self._request(draft, awaits) for draft in drafts]
        while True:
            await self._resumed()
            first, *others = (each.model_copy(update={"decided_after": self._seen}) for each in requests)
            delivery = await self._ask_to_deliver(first.model_copy(update={"alternatives": tuple(others)}))
            request = next(each for each in requests if each.message == delivery.message)
            draft = request.draft
            if delivery.verdict is not Verdict.NOT_YET:
                break
            assert delivery.not_before is not None
            await self._until(delivery.not_before, f"{draft.channel} {draft.template}: {delivery.reason}", policy=True)
        # The newest last: they are what a next run is told of.
        self._deliveries.pop(draft.step, None)
        self._deliveries[draft.step] = delivery
        self._best_hour = delivery.best_hour if delivery.best_hour is not None else self._best_hour
        if delivery.gone:
            self._occurrences[draft.step] = request.occurrence
            self._advance(str(delivery.message), delivery.status or Status.UNKNOWN)
        self._log.append(_told(draft, delivery, self.now))
        self._describe()
        return draft, delivery

    def _known(self, draft: Draft, awaits: tuple[Status, ...]) -> Delivery | None:
        """Return what became of a draft, if it is not to be asked for again."""
        known = self._deliveries.get(draft.step)
        reported = set(awaits) <= self._awaited.get(draft.step, set())
        if known and not draft.again and (known.verdict is Verdict.FAILED or (known.gone and reported)):
            return known
        return None

    def _request(self, draft: Draft, awaits: tuple[Status, ...]) -> DeliverRequest:
        self._awaited[draft.step] = {*awaits, *self._awaited.get(draft.step, set())}
        return DeliverRequest(
            enrolment=self._start.enrolment,
            draft=draft,
            occurrence=self._occurrences.get(draft.step, 0) + 1 if draft.again else 1,
            decided_after=self._seen,
            awaits=tuple(sorted(self._awaited[draft.step])),
            expires_at=self.now + draft.useful_for if draft.useful_for else None,
            asks_hour=self._asks_hour,
        )

    async def _ask_to_deliver(self, request: DeliverRequest) -> Delivery:
        self._raise_if_interrupted()
        message = request.message
        try:
            delivery: Delivery = await workflow.execute_activity(
                "deliver",
                request,
                result_type=Delivery,
                start_to_close_timeout=DELIVER_TIMEOUT,
                retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)),
                cancellation_type=ActivityCancellationType.TRY_CANCEL,
                summary=_summary(request),
                priority=_TRANSACTIONAL if request.draft.message_class is MessageClass.TRANSACTIONAL else _MARKETING,
            )
        except ActivityError:
            # A cancelled activity surfaces as an ordinary exception, which a cascade would take
            # for "this channel failed" and go on to the next one after the goal.
            self._raise_if_interrupted()
            # Only what can never be sent ends so (`deliver` is tried until PostgreSQL is back, and
            # keeps count of the provider's refusals itself). The journey goes on without it.
            return Delivery(verdict=Verdict.FAILED, message=message, reason="given_up")
        if delivery.message not in (message, *(each.message for each in request.alternatives)):
            # Temporal compares the kinds of commands, and every message is a `deliver`. Without this, a
            # run whose steps were changed under way would take one message for another and leave one out.
            raise RuntimeError(f"{type(self).__name__} asked for another message here before its steps were changed")
        if delivery.outcome and self._departure is None:
            # The stay is over by our own tables, even if no signal ever says so: after a reset none does.
            self._departure = Departure(sequence=self._seen, outcome=delivery.outcome)
        if delivery.verdict is Verdict.OVERTAKEN:
            await workflow.wait_condition(lambda: self._interrupted)
        self._raise_if_interrupted()
        return delivery

    async def _reaches(self, delivery: Delivery, until: Status, within: timedelta) -> bool:
        message = str(delivery.message)

        def settled() -> bool:
            status = self._statuses[message]
            return status is Status.FAILED or RANK[status] >= RANK[until]

        if not settled():
            await self._until((delivery.at or self.now) + within, f"{until} within {_spoken(within)}", settled)
        return self._statuses[message] is not Status.FAILED and RANK[self._statuses[message]] >= RANK[until]

    async def _all(self, deliveries: Iterable[Any]) -> list[Delivery]:
        """Await several sends; when the steps are left, none of them stays behind."""
        tasks = [asyncio.create_task(each) for each in deliveries]
        try:
            return list(await asyncio.gather(*tasks))
        except (asyncio.CancelledError, Exception):
            # Not `finally`: a run that is only dropped from the worker's memory must not await.
            await _end(tasks)
            raise

    # Waiting.

    async def _resumed(self) -> None:
        if self._paused:
            await workflow.wait_condition(lambda: not self._paused)
        self._raise_if_interrupted()

    async def _until(
        self, due: datetime, what: str, met: Callable[[], bool] = lambda: False, *, policy: bool = False
    ) -> None:
        """Wait, visibly, until a journey time, a condition, or an operator's `skip_wait`."""
        self._raise_if_interrupted()
        left = due - self.now
        # When the contact policy's waits end is in the history, whatever the code says.
        if met() or (left <= timedelta(0) and (policy or self._start.edition < 2)):
            return
        wait = _Wait(what, due, policy)
        self._waits.append(wait)
        self._describe()
        try:
            await workflow.wait_condition(
                lambda: wait.skipped or met(),
                timeout=self._start.clock.wall_duration(max(left, SHORTEST)),
                timeout_summary=f"waits for {what}, until {due:%d %b %H:%M} UTC",
            )
        except TimeoutError:
            pass
        finally:
            self._waits.remove(wait)
        self._raise_if_interrupted()

    def _describe(self) -> None:
        """Tell in the Temporal UI, in words, where the run stands."""
        told = len(self._log) + self._untold
        earlier = f"{told - 10} earlier; " if told > 10 else ""
        lines = [f"**Sent so far:** {earlier}{'; '.join(self._log[-10:]) or 'nothing'}"]
        if self._start.before:
            # What the first run's summary says; continue-as-new keeps none and takes none.
            trigger = self._start.trigger.name
            lines.insert(0, f"**{type(self).__name__}** of customer {self._start.customer}, since {trigger}")
        if self._departure:
            lines.append(
                f"**Over:** {self._departure.outcome}"
                + (f" by {self._departure.event}" if self._departure.event else "")
            )
        for wait in self._waits if not self._departure else ():
            by = " (contact policy)" if wait.policy else ""
            lines.append(f"**Waits for:** {wait.what}{by}, until {wait.until:%Y-%m-%d %H:%M:%S} UTC")
        if self._paused:
            lines.append("**Paused** by an operator: no message starts until it is resumed")
        if self._start.clock.speed != 1:
            lines.append(f"**Journey time** runs {self._start.clock.speed:g} times as fast as the wall's")
        workflow.set_current_details("\n\n".join(lines))


def journey(
    *,
    starts_on: type[Event] | Rule | Iterable[type[Event] | Rule],
    key: str | None = None,
    ends_on: type[Event] | Rule | Iterable[type[Event] | Rule] = (),
    exits_on: type[Event] | Rule | Iterable[type[Event] | Rule] = (),
    restarts_on: type[Event] | Iterable[type[Event]] = (),
    listens_to: type[Event] | Iterable[type[Event]] = (),
    reenter_after: timedelta | Callable[[Any], timedelta] | None = None,
    limited_with: str | None = None,
    facts: Mapping[str, str] | None = None,
    topic: str = DEFAULT_TOPIC,
    priority: int = 3,
    gives_way: bool = False,
    keywords: Mapping[str, type[Event]] | None = None,
    holdout: float = 0.0,
    says_once: bool = False,
    at_best_hour: bool = False,
    exclusive: bool = False,
    blocks_for: str | None = None,
) -> Callable[[J], J]:
    """Declare a journey: a class decorator that makes it a Temporal workflow. No side effect.

    Args:
        starts_on: Events that enrol a customer; or segments, see `InSegment`.
        key: Property that keys the journey; a customer has one stay per key. None: one stay.
        ends_on: The goal: ends the journey wherever it is, at once.
        exits_on: Like a goal, but no success.
        restarts_on: Drops what is pending and begins `steps()` again.
        listens_to: Events `wait_for` may wait for.
        reenter_after: Journey time from the last start before a new start of the same key; or which of the
            journey's parameters says so: ``lambda limits: limits.once_in``.
        limited_with: Name of what several journeys share: `reenter_after` then counts from the customer's last
            start of any of them, whatever the key.
        facts: SQL by name whose one row templates see under that name; ``$1`` is the enrolment.
        topic: What it writes about; one of the policy's.
        priority: 1 (most important) to 5. Where two journeys want the same slot of a frequency cap, the
            more important one gets it, and the other waits.
        gives_way: Messages are dropped where they would have to wait for a slot.
        keywords: Words, in lower case, that a customer may write in a chat: each is the event it names.
        holdout: Share of customers, 0 to 1, who get nothing of it, for comparison, unless the deployment's policy
            says another.
        says_once: What the customer has seen of a stay by one channel is not sent by another.
        at_best_hour: `wait_since_start` goes on to the hour at which the customer reacts most.
        exclusive: No other journey and no campaign writes marketing to whoever is in it; what they have to say
            meanwhile is dropped.
        blocks_for: Name of the parameter that says for how long, from the event that starts it, nothing at all
            is sent to the customer. Counts from the transaction that accepts the event, and lifts by itself.
    """

    def declare(cls: J) -> J:
        cls._declared = {
            "starts_on": as_rules(starts_on),
            "key": key,
            "ends_on": (*as_rules(ends_on), *leaving(as_rules(starts_on), won_back=True)),
            "exits_on": (*as_rules(exits_on), *leaving(as_rules(starts_on))),
            "restarts_on": as_events(restarts_on),
            "listens_to": as_events(listens_to),
            "reenter_after": reenter_after,
            "limited_with": limited_with,
            "facts": facts or {},
            "topic": topic,
            "priority": priority,
            "gives_way": gives_way,
            "keywords": keywords or {},
            "says_once": says_once,
            "holdout": holdout,
            "exclusive": exclusive,
            "blocks_for": blocks_for,
        }
        cls._asks_hour = at_best_hour
        # What is no event is told with all other mistakes, when the journey is to run.
        cls._restart_names = frozenset(getattr(event, "event_name", "") for event in as_events(restarts_on))
        cls._heard_names = frozenset(getattr(event, "event_name", "") for event in as_events(listens_to))

        # Temporal wants the run method on the class itself, not on a parent, and its parameters
        # written exactly as those of __init__, where self has no annotation.
        async def run(self, start: Start) -> str:  # type: ignore[no-untyped-def]
            outcome: str = await self._live()
            return outcome

        run.__qualname__ = f"{cls.__qualname__}.run"
        run.__module__ = cls.__module__
        setattr(cls, "run", workflow.run(run))  # noqa: B010
        return workflow.defn(name=cls.__name__)(cls)

    return declare


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what has not ended, and wait until it has."""
    for task in tasks:
        task.cancel()
    await workflow.wait(tasks)


def _at_least(status: Status) -> tuple[Status, ...]:
    return tuple(each for each in Status if each is Status.FAILED or RANK[status] <= RANK[each] < RANK[Status.SKIPPED])


def _spoken(duration: timedelta) -> str:
    """Say a duration as a person would: "1 day", "3 hours", "90 seconds"."""
    seconds = duration.total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def _summary(request: DeliverRequest) -> str:
    if not request.alternatives:
        return f"{request.draft.channel}: {request.draft.template}"
    drafts = [request.draft, *(each.draft for each in request.alternatives)]
    return f"the cheapest of {', '.join(f'{draft.channel}: {draft.template}' for draft in drafts)}"


def _told(draft: Draft, delivery: Delivery, now: datetime) -> str:
    became = str(delivery.status) if delivery.gone else f"{delivery.verdict} ({delivery.reason})"
    return f"{delivery.channel or draft.channel} {draft.template}: {became}, {delivery.at or now:%d %b %H:%M}"
