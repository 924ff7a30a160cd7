"""The judgement: every promise held against the evidence. Pure, and each rule here has a test that breaks it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cli.torture.evidence import Effect, Event, Evidence, Message, Stay, Told
from cli.torture.journeys import JOURNEYS
from domain.messages import OWN
from policy.configuration import Cap, Policy
from policy.contact import is_held_out
from workflows.catalog import Catalog
from workflows.declaration import Declaration, Rule
from workflows.enabled import JOURNEYS as SHIPPED

DECLARED: Mapping[str, Declaration] = Catalog.of((*SHIPPED, *JOURNEYS)).journeys
"""What the authors of the journeys have declared: which events begin them, and which end them."""

LEAVES_WITHIN = timedelta(seconds=2)
"""Wall time from a claim to the beginning of its provider call."""

A_CALL = timedelta(seconds=10)
"""Wall time a provider call may take; its request may arrive at any moment of it."""

SLOW_RUN = timedelta(seconds=5)
"""Wall time by which a wait may have ended without the run having got on yet."""

ON_ITS_WAY = LEAVES_WITHIN + A_CALL + timedelta(seconds=3)
"""Wall time for which a message may be `sending`."""

GONE = frozenset({"accepted", "sent", "delivered", "read", "clicked", "replied"})
"""What our books say of a message that a provider took."""

NEVER_LEFT = frozenset({"waiting", "skipped"})
"""What our books say of a message for which no call is claimed."""

EXPECTED_ANSWERS = frozenset({"200", "429", "503", "no answer"})
"""What a backend may hear in a storm."""


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        promise: Which one, in a word or two.
        about: Event, customer, stay or message, to look into.
        what: What happened instead.
    """

    promise: str
    about: str
    what: str


@dataclass(frozen=True)
class End:
    """A stay may send nothing any more.

    Attributes:
        place: Of what ended it, in the customer's order.
        heard: When whoever told of it had heard 200; None if nobody told of it.
        why: What ended it.
    """

    place: int
    heard: datetime | None
    why: str


@dataclass(frozen=True)
class Books:
    """The evidence, arranged to be looked up.

    Attributes:
        kept: Accepted events by the backend's id.
        goals: By stay, the goals backends have told, whatever our tables say came of them.
        ends: By stay, all that ended it: these goals, and what our tables say.
    """

    evidence: Evidence
    policy: Policy
    messages: dict[str, Message]
    stays: dict[int, Stay]
    effects: dict[str, list[Effect]]
    kept: dict[str, Event]
    goals: dict[int, list[End]]
    ends: dict[int, list[End]]

    @classmethod
    def of(cls, evidence: Evidence, policy: Policy) -> "Books":
        """Arrange the evidence."""
        effects: dict[str, list[Effect]] = defaultdict(list)
        for effect in evidence.effects:
            effects[effect.message or ""].append(effect)
        kept = {event.call: event for event in evidence.events if event.call is not None}
        calls = {event.id: call for call, event in kept.items()}
        goals = _goals(evidence, calls, kept)
        return cls(
            evidence,
            policy,
            {message.id: message for message in evidence.messages},
            {stay.id: stay for stay in evidence.stays},
            dict(effects),
            kept,
            goals,
            {stay.id: [*goals[stay.id], *_decided(evidence, calls, stay)] for stay in evidence.stays},
        )


def _goals(evidence: Evidence, calls: Mapping[int, str], kept: Mapping[str, Event]) -> dict[int, list[End]]:
    """Return what ended each stay by what backends told and declarations say."""
    told, ending = {each.call: each for each in evidence.told}, _ending(evidence)
    goals: dict[int, list[End]] = {}
    for stay in evidence.stays:
        begun = told.get(calls.get(stay.trigger, ""))
        goals[stay.id] = [
            End(kept[goal.call].id, evidence.accepted[goal.call], goal.name)
            for goal in (_that_end(ending, DECLARED[stay.journey], begun) if begun else ())
            if goal.call in kept and kept[goal.call].id > stay.trigger
        ]
    return goals


def _ending(evidence: Evidence) -> dict[tuple[str, str | None], list[Told]]:
    """Return the accepted events that may end stays, by journey and key."""
    ending = defaultdict(list)
    for journey in DECLARED.values():
        names = {rule.event.event_name for rule in _ends_on(journey)}
        for each in evidence.told:
            if each.name in names and each.call in evidence.accepted:
                ending[journey.name, journey.key_of(each.properties)].append(each)
    return ending


def _that_end(ending: Mapping[tuple[str, str | None], Sequence[Told]], journey: Declaration, begun: Told) -> list[Told]:
    """Return what ends the stay in a journey that an event begins."""
    return [
        each
        for each in ending.get((journey.name, journey.key_of(begun.properties)), ())
        if any(
            rule.event.event_name == each.name and rule.holds(begun.properties, each.properties, in_doubt=True)
            for rule in _ends_on(journey)
        )
    ]


def _ends_on(journey: Declaration) -> tuple[Rule, ...]:
    return (*journey.ends_on, *journey.exits_on)


def _decided(evidence: Evidence, calls: Mapping[int, str], stay: Stay) -> list[End]:
    """Return what ended a stay by our own tables."""
    if stay.decided_by is None:
        return []
    return [End(stay.decided_by, evidence.accepted.get(calls.get(stay.decided_by, "")), str(stay.outcome))]


def judge(evidence: Evidence, policy: Policy) -> list[Violation]:
    """Return every violation of every promise."""
    books = Books.of(evidence, policy)
    rules = (
        _nothing_lost,
        _starts_start,
        _nothing_refused,
        _nothing_twice,
        _books_tell_the_truth,
        _goals_count,
        _nothing_after_the_goal,
        _no_run_stuck,
        _runs_and_stays_match,
        _nothing_unresolved,
        _decided_when_it_left,
        _quiet_hours_kept,
        _caps_kept,
        _blocks_kept,
        _dialogues_kept,
        _farewells_kept,
        _expiries_kept,
        _holdouts_kept,
    )
    return [violation for rule in rules for violation in rule(books)]


# Nothing lost.


def _nothing_lost(books: Books) -> Iterator[Violation]:
    evidence = books.evidence
    kept = Counter(event.call for event in evidence.events if event.call is not None)
    for call in evidence.accepted.keys() - kept.keys():
        yield Violation("lost", f"event {call}", "was answered 200 and is not in the database")
    for call, times in kept.items():
        if times > 1:
            yield Violation("doubled", f"event {call}", f"is in the database {times} times")
        if call not in evidence.accepted:
            yield Violation("lost", f"event {call}", "is in the database, but its backend never heard 200")
    for event in evidence.events:
        if event.parked is not None:
            yield Violation("lost", f"event {event.id}", f"{event.name} is parked: {event.parked}")
        elif not event.dispatched:
            yield Violation("lost", f"event {event.id}", f"{event.name} has not reached its runs")


def _starts_start(books: Books) -> Iterator[Violation]:
    """Whatever begins a journey has begun it.

    Unless the customer was in it already with the same key, or its goal was told too, which may have come first.
    """
    calls = {event.id: call for call, event in books.kept.items()}
    told = {each.call: each for each in books.evidence.told}
    entered = {
        (stay.journey, DECLARED[stay.journey].key_of(begun.properties), stay.customer)
        for stay in books.evidence.stays
        if (begun := told.get(calls.get(stay.trigger, "")))
    }
    ending = _ending(books.evidence)
    for each in books.evidence.told:
        event = books.kept.get(each.call)
        if event is None or not event.dispatched or each.call not in books.evidence.accepted:
            continue
        for journey in DECLARED.values():
            enters = (journey.name, journey.key_of(each.properties), event.customer)
            if _starts(journey, each) and enters not in entered and not _that_end(ending, journey, each):
                yield Violation("lost", f"event {each.call}", f"{each.name} has begun no {journey.name}")


def _starts(journey: Declaration, told: Told) -> bool:
    return journey.key_of(told.properties) is not None and any(
        rule.event.event_name == told.name and rule.holds(told.properties, told.properties, in_doubt=False)
        for rule in journey.starts_on
    )


def _nothing_refused(books: Books) -> Iterator[Violation]:
    if books.evidence.unfinished:
        yield Violation("lost", "backends", books.evidence.unfinished)
    for refusal in books.evidence.refused:
        yield Violation("refused", "an event", refusal)
    for answer, times in books.evidence.answers.items():
        if answer not in EXPECTED_ANSWERS:
            yield Violation("undocumented answer", f"HTTP {answer}", f"{times} times to a backend's events")


# Nothing twice.


def _nothing_twice(books: Books) -> Iterator[Violation]:
    for message_id, effects in books.effects.items():
        message = books.messages.get(message_id)
        if message is None:
            if effects[0].id > books.evidence.seen_before:
                continue  # Claimed since the database was read.
            yield Violation("doubled", f"message {message_id}", "a provider was called for what nobody decided about")
        elif len(effects) > (allowed := 2 if _sent_again(message) else 1):
            moments = ", ".join(f"{effect.asked_at:%H:%M:%S.%f}" for effect in effects)
            yield Violation(
                "doubled", _named(message), f"took effect {len(effects)} times instead of {allowed}: {moments}"
            )


def _sent_again(message: Message) -> bool:
    return not message.marketing and message.sent_again


def _books_tell_the_truth(books: Books) -> Iterator[Violation]:
    """Whatever our books say a provider took, it took. (Whose answer a text is, nobody says: "replied" is a guess.)"""
    for message in books.evidence.messages:
        if message.channel not in OWN and message.status in GONE - {"replied"} and message.id not in books.effects:
            yield Violation("lost", _named(message), f"is {message.status}, but no provider was ever called for it")


# Nothing after the goal.


def _goals_count(books: Books) -> Iterator[Violation]:
    """Every goal a backend was answered 200 for has decided the stays it ends."""
    for stay in books.evidence.stays:
        for goal in books.goals[stay.id] if stay.outcome is None else ():
            yield Violation("after the goal", f"stay {stay.id}", f"{goal.why} at {goal.place} does not count")


def _nothing_after_the_goal(books: Books) -> Iterator[Violation]:
    for message in books.evidence.messages:
        ends = books.ends[message.stay]
        if not ends:
            continue
        first = min(ends, key=lambda end: end.place)
        claimed = message.status not in NEVER_LEFT
        if claimed and (message.sequence is None or message.sequence > first.place):
            yield Violation(
                "after the goal",
                _named(message),
                f"claimed at {message.sequence}, after {first.why} of stay {message.stay} at {first.place}",
            )
        heard = min((end.heard for end in ends if end.heard), default=None)
        for asked_at in _calls(books.effects.get(message.id, ())) if heard else ():
            assert heard is not None
            if asked_at > heard + LEAVES_WITHIN + A_CALL:
                late = (asked_at - heard).total_seconds()
                yield Violation(
                    "after the goal", _named(message), f"its provider was called {late:.1f} s after the goal's 200"
                )


def begun_after_the_goal(evidence: Evidence, policy: Policy) -> list[float]:
    """Return by how many seconds provider calls began after the 200 of a goal: claimed before it, on their way."""
    books = Books.of(evidence, policy)
    late = []
    for message, effect in _that_left(books):
        heard = min((end.heard for end in books.ends[message.stay] if end.heard), default=None)
        late += [(at - heard).total_seconds() for at in _calls([effect]) if heard is not None and at > heard]
    return late


def _calls(effects: Sequence[Effect]) -> list[datetime]:
    """Return when the calls arrived that had these effects."""
    return [at for effect in effects for at in (effect.asked_at, *effect.replaced_at)]


# No run stuck.


def _no_run_stuck(books: Books) -> Iterator[Violation]:
    by_workflow = {stay.workflow_id: stay for stay in books.evidence.stays}
    for run in books.evidence.runs:
        stay = by_workflow.get(run.workflow_id)
        if run.status != "running" or stay is None:
            continue
        for trouble in run.troubles:
            yield Violation("stuck", run.workflow_id, trouble)
        if stay.over:
            yield Violation("stuck", run.workflow_id, f"runs on although its stay ended ({stay.outcome})")
        elif run.troubles or run.paused:
            continue
        elif run.waits_until is None:
            yield Violation("stuck", run.workflow_id, "waits for nothing and does not end")
        elif books.evidence.clock.wall_time(run.waits_until) < run.looked_at - SLOW_RUN:
            yield Violation("stuck", run.workflow_id, f"should have gone on at {run.waits_until:%d %b %H:%M}")


def _runs_and_stays_match(books: Books) -> Iterator[Violation]:
    runs = {run.workflow_id: run for run in books.evidence.runs}
    # What people of ours write to a customer belongs to a stay too, which no run is for.
    stays = {stay.workflow_id: stay for stay in books.evidence.stays if stay.journey in DECLARED}
    for workflow_id in stays.keys() - runs.keys():
        yield Violation("stuck", f"stay {stays[workflow_id].id}", f"there is no run {workflow_id}")
    for workflow_id in runs.keys() - stays.keys():
        yield Violation("stuck", workflow_id, "a run without a stay")
    for workflow_id in stays.keys() & runs.keys():
        stay, run = stays[workflow_id], runs[workflow_id]
        if not stay.over and run.status != "running":
            yield Violation("stuck", f"stay {stay.id}", f"is not over, but its run is {run.status}")


# Unresolved.


def _nothing_unresolved(books: Books) -> Iterator[Violation]:
    for message in books.evidence.messages:
        over = books.stays[message.stay].over
        left = message.claimed_at is None or message.claimed_at < books.evidence.read_at - ON_ITS_WAY
        if (message.status == "sending" and left) or (message.status == "unknown" and not message.resolved):
            yield Violation("unresolved", _named(message), f"is still {message.status}")
        elif message.status == "waiting" and over:
            yield Violation("unresolved", _named(message), "waits although its stay has ended")


# The contact policy, recomputed from what really left.


def _decided_when_it_left(books: Books) -> Iterator[Violation]:
    """The time the policy decided by is the time of the call, whatever the worker was doing meanwhile."""
    for message, effect in _that_left(books):
        # Whoever settles an uncertain send asks the policy anew, and leaves the first time as it is.
        once = not message.sent_again and not message.asked_by_replacing
        decided = books.evidence.clock.wall_time(message.at)
        if once and effect.asked_at > decided + 2 * LEAVES_WITHIN + A_CALL:
            late = (effect.asked_at - decided).total_seconds()
            yield Violation("policy", _named(message), f"left {late:.1f} s after the time it was decided by")


def _quiet_hours_kept(books: Books) -> Iterator[Violation]:
    for message, _ in _marketing_that_left(books):
        hours = next((hours for channel, hours in books.policy.quiet_hours.items() if channel == message.channel), None)
        zone = books.evidence.zones.get(message.customer)
        if hours is None or zone is None:
            continue
        local = message.at.astimezone(ZoneInfo(zone))
        if not hours[0] <= local.hour < hours[1]:
            yield Violation("policy", _named(message), f"left at {local:%H:%M} of customer {message.customer}")


def _caps_kept(books: Books) -> Iterator[Violation]:
    by_customer: dict[int, list[Message]] = defaultdict(list)
    for message, _ in _marketing_that_left(books):
        if message.status != "failed":  # A letter that bounced has taken up nobody's patience.
            by_customer[message.customer].append(message)
    for customer, messages in by_customer.items():
        if customer in books.evidence.merged:
            continue  # What two customers got counts for one only from when they are known to be one.
        for cap in books.policy.caps:
            yield from _over(cap, customer, messages)


def _over(cap: Cap, customer: int, messages: Sequence[Message]) -> Iterator[Violation]:
    """Every window as long as the cap's that ends with a message."""
    counted = sorted((each for each in messages if cap.channel in (None, each.channel)), key=lambda each: each.at)
    for place, message in enumerate(counted):
        window = [each for each in counted[: place + 1] if each.at > message.at - cap.within]
        if len(window) > cap.at_most:
            yield Violation("policy", _named(message), f"is {len(window)}. of customer {customer} for cap {cap.name}")


def _blocks_kept(books: Books) -> Iterator[Violation]:
    blocks: dict[int, list[tuple[int, datetime, datetime]]] = defaultdict(list)
    for block in books.evidence.blocks:
        blocks[block.customer].append((block.event or 0, block.begins, block.until))
    for message, _ in _that_left(books):
        for event, begins, until in blocks.get(message.customer, ()):
            if (message.sequence or 0) > event and begins <= message.at < until:
                yield Violation("policy", _named(message), f"left in a silence of customer {message.customer}")


def _dialogues_kept(books: Books) -> Iterator[Violation]:
    """What is decided after a dialogue was open and arrives before anybody wanted to close it, was claimed in it."""
    for dialogue in books.evidence.dialogues:
        customer = books.evidence.customers.get(dialogue.user_id)
        for message, effect in _that_left(books):
            decided = books.evidence.clock.wall_time(message.at)
            if message.customer == customer and dialogue.opened < decided and effect.asked_at < dialogue.closed:
                yield Violation("policy", _named(message), f"left in a dialogue with customer {customer}")


def _farewells_kept(books: Books) -> Iterator[Violation]:
    """Nothing is decided after we were told, nor arrives later than what had been claimed by then."""
    said = defaultdict(list)
    for each in books.evidence.farewells:
        said[each.channel, each.address].append(each)
    for message, effect in _that_left(books):
        for farewell in said[message.channel, (message.recipient or "").lower()]:
            if farewell.marketing_only and not message.marketing:
                continue
            decided = books.evidence.clock.wall_time(message.at)
            if decided > farewell.since or effect.asked_at > farewell.since + LEAVES_WITHIN + A_CALL:
                late = (effect.asked_at - farewell.since).total_seconds()
                yield Violation("policy", _named(message), f"left {late:.1f} s after {farewell.by} of its address")


def _expiries_kept(books: Books) -> Iterator[Violation]:
    for message, effect in _that_left(books):
        if message.expires_at is None:
            continue
        ends = books.evidence.clock.wall_time(message.expires_at)
        # What may have left before that may be handed over again, to ask about it.
        if message.at >= message.expires_at or effect.asked_at > ends + LEAVES_WITHIN + A_CALL:
            yield Violation("policy", _named(message), f"left although it was worth nothing from {ends:%H:%M:%S} on")


def _holdouts_kept(books: Books) -> Iterator[Violation]:
    for message, _ in _marketing_that_left(books):
        journey = books.stays[message.stay].journey
        shares = (("*", books.policy.holdout), (journey, books.policy.holdouts.get(journey, 0)))
        if message.customer not in books.evidence.merged and any(
            is_held_out(books.policy, scope, message.customer, share) for scope, share in shares
        ):
            yield Violation("policy", _named(message), f"left to customer {message.customer}, who is held out")


def _that_left(books: Books) -> Iterator[tuple[Message, Effect]]:
    """Messages with their effects, by the providers' ledger."""
    for message_id, effects in books.effects.items():
        if message := books.messages.get(message_id):
            for effect in effects:
                yield message, effect


def _marketing_that_left(books: Books) -> Iterator[tuple[Message, Effect]]:
    """Marketing messages with their first effect."""
    for message_id, effects in books.effects.items():
        if (message := books.messages.get(message_id)) and message.marketing:
            yield message, effects[0]


def _named(message: Message) -> str:
    return f"message {message.id} ({message.channel}, {message.status}) of customer {message.customer}"
