"""The judgement: every promise held against the evidence. Pure, and each rule here has a test that breaks it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cli.torture.evidence import Effect, Evidence, Message, Stay
from domain.messages import OWN
from policy.configuration import Cap, Policy
from policy.contact import is_held_out

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
class Books:
    """The evidence, arranged to be looked up."""

    evidence: Evidence
    policy: Policy
    messages: dict[str, Message]
    stays: dict[int, Stay]
    effects: dict[str, list[Effect]]

    @classmethod
    def of(cls, evidence: Evidence, policy: Policy) -> "Books":
        """Arrange the evidence."""
        effects: dict[str, list[Effect]] = defaultdict(list)
        for effect in evidence.effects:
            effects[effect.message or ""].append(effect)
        return cls(
            evidence,
            policy,
            {message.id: message for message in evidence.messages},
            {stay.id: stay for stay in evidence.stays},
            dict(effects),
        )


def judge(evidence: Evidence, policy: Policy) -> list[Violation]:
    """Return every violation of every promise."""
    books = Books.of(evidence, policy)
    rules = (
        _nothing_lost,
        _nothing_refused,
        _nothing_twice,
        _books_tell_the_truth,
        _nothing_after_the_goal,
        _no_run_stuck,
        _runs_and_stays_match,
        _nothing_unresolved,
        _decided_when_it_left,
        _quiet_hours_kept,
        _caps_kept,
        _blocks_kept,
        _suppressions_kept,
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


def _nothing_after_the_goal(books: Books) -> Iterator[Violation]:
    names = {event.id: event for event in books.evidence.events}
    for message in books.evidence.messages:
        stay = books.stays[message.stay]
        if stay.decided_by is None:
            continue
        claimed = message.status not in NEVER_LEFT
        if claimed and (message.sequence is None or message.sequence > stay.decided_by):
            yield Violation(
                "after the goal",
                _named(message),
                f"claimed at {message.sequence}, after the {stay.outcome} of stay {stay.id} at {stay.decided_by}",
            )
        decision = names.get(stay.decided_by)
        told = books.evidence.accepted.get(decision.call) if decision and decision.call else None
        for asked_at in _calls(books.effects.get(message.id, ())) if told else ():
            assert told is not None
            if asked_at > told + LEAVES_WITHIN + A_CALL:
                late = (asked_at - told).total_seconds()
                yield Violation(
                    "after the goal", _named(message), f"its provider was called {late:.1f} s after the goal's 200"
                )


def begun_after_the_goal(evidence: Evidence) -> list[float]:
    """Return by how many seconds provider calls began after the 200 of a goal: claimed before it, on their way."""
    names = {event.id: event for event in evidence.events}
    told = {
        stay.id: evidence.accepted.get(names[stay.decided_by].call or "")
        for stay in evidence.stays
        if stay.decided_by in names
    }
    stays = {message.id: message.stay for message in evidence.messages}
    late = []
    for effect in evidence.effects:
        goal = told.get(stays.get(effect.message or "", 0))
        late += [(at - goal).total_seconds() for at in _calls([effect]) if goal is not None and at > goal]
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
    stays = {stay.workflow_id: stay for stay in books.evidence.stays}
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


def _suppressions_kept(books: Books) -> Iterator[Violation]:
    since = {(each.channel, each.recipient): each.since for each in books.evidence.suppressions}
    grace = LEAVES_WITHIN + A_CALL + timedelta(seconds=books.evidence.clock_was_wrong_by)
    for message, effect in _that_left(books):
        began = since.get((message.channel, (message.recipient or "").lower()))
        if began and effect.asked_at > began + grace:
            late = (effect.asked_at - began).total_seconds()
            yield Violation("policy", _named(message), f"left {late:.0f} s after its address was suppressed")


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
