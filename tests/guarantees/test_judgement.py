"""The torture's judge: each promise, broken once in made-up evidence, is noticed; whole evidence passes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli.torture.evidence import (
    Block,
    Dialogue,
    Effect,
    Event,
    Evidence,
    Farewell,
    Message,
    Run,
    Stay,
    Told,
    farewell_of,
)
from cli.torture.judgement import Violation, begun_after_the_goal, judge
from domain.clock import Clock
from domain.conversations import CONVERSATION
from domain.messages import Channel
from policy.configuration import Cap, Policy

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

POLICY = Policy(
    quiet_hours={Channel.SMS: (8, 21)},
    caps=(Cap(channel=Channel.EMAIL, at_most=2, within=timedelta(days=1)),),
)

LETTER = Message(
    id="m-1",
    customer=1,
    stay=1,
    channel="email",
    marketing=True,
    recipient="ada@example.com",
    status="delivered",
    reason=None,
    sequence=20,
    at=NOON,
    expires_at=None,
    claimed_at=NOON,
    resolved=False,
    resolution=None,
    sent_again=False,
    asked_by_replacing=False,
)
LEFT = Effect(1, "m-1", "email", "ada@example.com", NOON)

FIRST, SECOND_ONE = {"application_id": "1-1"}, {"application_id": "1-2"}

WHOLE = Evidence(
    told=[
        Told("begun", "offer_made", FIRST),
        Told("read", "series_begun", SECOND_ONE),
        Told("won", "offer_taken", FIRST),
    ],
    accepted={"begun": NOON - SECOND, "read": NOON - SECOND, "won": NOON + SECOND},
    events=[
        Event(10, 1, "begun", "offer_made", True, None),
        Event(11, 1, "read", "series_begun", True, None),
        Event(30, 1, "won", "offer_taken", True, None),
    ],
    stays=[
        Stay(1, 1, "Offer", "Offer-c1-e1", "goal", 30, True, 10),
        Stay(2, 1, "Series", "Series-c1-e2", None, None, False, 11),
    ],
    messages=[LETTER],
    effects=[LEFT],
    runs=[
        Run("Offer-c1-e1", "completed", NOON),
        Run("Series-c1-e2", "running", NOON, waits_until=NOON + HOUR),
    ],
    farewells=[],
    dialogues=[],
    blocks=[],
    customers={"ada": 1},
    zones={1: "Etc/GMT"},
    merged=frozenset(),
    clock=Clock(),
    read_at=NOON,
    seen_before=10,
    answers={"200": 2, "503": 1},
    refused=[],
    unfinished=None,
)

Break = Callable[[Evidence], Evidence]


def letter(**different: object) -> Break:
    """The one letter, otherwise."""
    return lambda evidence: replace(evidence, messages=[replace(LETTER, **different)])  # type: ignore[arg-type]


def letters(number: int, **alike: object) -> Break:
    """So many letters an hour apart, each of which left."""
    messages = [
        replace(LETTER, id=f"m-{n}", at=NOON + n * HOUR, **alike)  # type: ignore[arg-type]
        for n in range(number)
    ]
    effects = [replace(LEFT, id=n, message=f"m-{n}") for n in range(number)]
    return lambda evidence: replace(evidence, messages=messages, effects=effects)


def effects(*different: Effect) -> Break:
    return lambda evidence: replace(evidence, effects=list(different))


def run(workflow_id: str, status: str, **different: object) -> Break:
    def change(evidence: Evidence) -> Evidence:
        others = [each for each in evidence.runs if each.workflow_id != workflow_id]
        changed = Run(workflow_id, status, NOON, **different)  # type: ignore[arg-type]
        return replace(evidence, runs=[*others, changed])

    return change


def without_run(workflow_id: str) -> Break:
    return lambda evidence: replace(evidence, runs=[each for each in evidence.runs if each.workflow_id != workflow_id])


def event(**different: object) -> Break:
    def change(evidence: Evidence) -> Evidence:
        first, *others = evidence.events
        return replace(evidence, events=[replace(first, **different), *others])  # type: ignore[arg-type]

    return change


def all_of(*breaks: Break) -> Break:
    def change(evidence: Evidence) -> Evidence:
        for each in breaks:
            evidence = each(evidence)
        return evidence

    return change


def stay(**different: object) -> Break:
    """The offer's stay, otherwise."""

    def change(evidence: Evidence) -> Evidence:
        first, *others = evidence.stays
        return replace(evidence, stays=[replace(first, **different), *others])  # type: ignore[arg-type]

    return change


def without_stay(number: int) -> Break:
    """A stay is gone, with its run."""

    def change(evidence: Evidence) -> Evidence:
        gone = {each.workflow_id for each in evidence.stays if each.id == number}
        return replace(
            evidence,
            stays=[each for each in evidence.stays if each.id != number],
            runs=[each for each in evidence.runs if each.workflow_id not in gone],
        )

    return change


def farewell(since: datetime, *, address: str = "ada@example.com", marketing_only: bool = False) -> Break:
    said = Farewell("email", address, since, "a wish", marketing_only)
    return lambda evidence: replace(evidence, farewells=[said])


def dialogue(opened: datetime, closed: datetime) -> Break:
    return lambda evidence: replace(evidence, dialogues=[Dialogue("ada", opened, closed)])


def won_later(evidence: Evidence) -> Evidence:
    """The goal is told some seconds later."""
    return replace(evidence, accepted={**evidence.accepted, "won": NOON + 5 * SECOND})


undecided = all_of(
    stay(outcome=None, decided_by=None, over=False), run("Offer-c1-e1", "running", waits_until=NOON + HOUR)
)
"""The offer goes on as if its goal had not been told."""

AGAIN = replace(LEFT, id=2, asked_at=NOON + SECOND)

BROKEN: dict[str, tuple[str, Break]] = {
    "an accepted event is not kept": ("lost", lambda evidence: replace(evidence, events=evidence.events[1:])),
    "an event is kept twice": (
        "doubled",
        lambda evidence: replace(evidence, events=[*evidence.events, replace(evidence.events[0], id=40)]),
    ),
    "an event is kept that nobody was told is": (
        "lost",
        lambda evidence: replace(evidence, accepted={"read": NOON - SECOND, "won": NOON + SECOND}),
    ),
    "an event has not reached its runs": ("lost", event(dispatched=False)),
    "an event is parked": ("lost", event(dispatched=False, parked="does not fit")),
    "backends could not tell everything": ("lost", lambda evidence: replace(evidence, unfinished="3 events")),
    "an event is refused": ("refused", lambda evidence: replace(evidence, refused=["/v1/track: 400"])),
    "the API answers what it never should": (
        "undocumented answer",
        lambda evidence: replace(evidence, answers={"500": 1}),
    ),
    "a marketing message took effect twice": ("doubled", effects(LEFT, AGAIN)),
    "a marketing message took effect twice, whatever is recorded": (
        "doubled",
        all_of(letter(sent_again=True), effects(LEFT, AGAIN)),
    ),
    "a transactional one took effect twice, and nobody decided so": (
        "doubled",
        all_of(letter(marketing=False), effects(LEFT, AGAIN)),
    ),
    "a transactional one took effect three times": (
        "doubled",
        all_of(letter(marketing=False, sent_again=True), effects(LEFT, AGAIN, replace(AGAIN, id=3))),
    ),
    "something left that nobody decided about": ("doubled", effects(LEFT, replace(AGAIN, message=None))),
    "our books say it left and it did not": ("lost", effects()),
    "a goal does not count, and nobody is written to": ("after the goal", undecided),
    "a goal does not count, and its stay is over later by itself": (
        "after the goal",
        all_of(stay(outcome="completed", decided_by=None), letter(sequence=31)),
    ),
    "a goal does not count, and its stay writes long after it": (
        "after the goal",
        all_of(stay(outcome="completed", decided_by=None), effects(replace(LEFT, asked_at=NOON + 14 * SECOND))),
    ),
    "a start begins nothing": ("lost", without_stay(2)),
    "a claim after the goal": ("after the goal", letter(sequence=31)),
    "a claim without a place": ("after the goal", letter(sequence=None)),
    "a call long after the goal's 200": ("after the goal", effects(replace(LEFT, asked_at=NOON + 14 * SECOND))),
    "a push that takes its own place long after the goal's 200": (
        "after the goal",
        effects(replace(LEFT, replaced_at=(NOON + 14 * SECOND,))),
    ),
    "a run whose decisions fail": ("stuck", run("Series-c1-e2", "running", troubles=("its decision has failed",))),
    "a run that waits for nothing": ("stuck", run("Series-c1-e2", "running")),
    "a run that slept in": ("stuck", run("Series-c1-e2", "running", waits_until=NOON - HOUR)),
    "a run that goes on after its stay": ("stuck", run("Offer-c1-e1", "running", waits_until=NOON + HOUR)),
    "a run that ended and nobody knows": ("stuck", run("Series-c1-e2", "terminated")),
    "a stay without a run": ("stuck", without_run("Series-c1-e2")),
    "a run without a stay": ("stuck", run("Series-c9-e9", "running", waits_until=NOON + HOUR)),
    "a message nobody settled": ("unresolved", letter(status="unknown")),
    "a message for ever on its way": ("unresolved", letter(status="sending", claimed_at=NOON - 16 * SECOND)),
    "a message that waits for a run that is gone": ("unresolved", all_of(letter(status="waiting"), effects())),
    "a letter decided long before it left": (
        "policy",
        all_of(letter(at=NOON - 20 * SECOND), effects(LEFT)),
    ),
    "a text at night": (
        "policy",
        all_of(letter(channel="sms", at=NOON.replace(hour=21)), effects(replace(LEFT, channel="sms"))),
    ),
    "more letters than the cap": ("policy", letters(3)),
    "a letter in a time of silence": (
        "policy",
        lambda evidence: replace(evidence, blocks=[Block(1, 15, NOON - HOUR, NOON + HOUR)]),
    ),
    "a letter long after its reader unsubscribed": ("policy", farewell(NOON - 13 * SECOND, marketing_only=True)),
    "a letter decided after its reader unsubscribed": ("policy", farewell(NOON - SECOND, marketing_only=True)),
    "a letter long after its address bounced": ("policy", farewell(NOON - 13 * SECOND)),
    "what the customer asked for, to an address that bounced": (
        "policy",
        all_of(letter(marketing=False), farewell(NOON - SECOND)),
    ),
    "a letter in a dialogue": ("policy", dialogue(NOON - SECOND, NOON + 2 * SECOND)),
    "what the customer asked for, in a dialogue": (
        "policy",
        all_of(letter(marketing=False), dialogue(NOON - SECOND, NOON + 2 * SECOND)),
    ),
    "a letter decided when it was worth nothing any more": ("policy", letter(expires_at=NOON)),
    "a letter long after it was worth anything": (
        "policy",
        all_of(letter(expires_at=NOON + SECOND), effects(replace(LEFT, asked_at=NOON + 13.5 * SECOND)), won_later),
    ),
}


def broken(evidence: Evidence, policy: Policy = POLICY) -> list[Violation]:
    return judge(evidence, policy)


def test_whole_evidence_passes() -> None:
    assert broken(WHOLE) == []


@pytest.mark.parametrize("how", BROKEN)
def test_each_broken_promise_is_noticed(how: str) -> None:
    promise, change = BROKEN[how]
    assert {violation.promise for violation in broken(change(WHOLE))} == {promise}


def test_a_letter_to_somebody_held_out_is_noticed() -> None:
    assert [each.promise for each in broken(WHOLE, POLICY.model_copy(update={"holdout": 1.0}))] == ["policy"]


ALLOWED: dict[str, Break] = {
    "a transactional message sent again by a recorded decision": all_of(
        letter(marketing=False, sent_again=True), effects(LEFT, AGAIN)
    ),
    "a claim before the goal whose call begins soon after it": effects(replace(LEFT, asked_at=NOON + 5 * SECOND)),
    "a message decided against after the goal": all_of(letter(status="skipped", sequence=31), effects()),
    "an uncertain message somebody settled": letter(status="unknown", resolved=True),
    "as many letters as the cap": letters(2),
    "transactional letters beyond the cap": letters(3, marketing=False),
    "letters beyond the cap that bounced": letters(3, status="failed"),
    "a letter claimed before the silence began": lambda evidence: replace(
        evidence, blocks=[Block(1, 25, NOON - HOUR, NOON + HOUR)]
    ),
    "a letter claimed before its address bounced, on its way for some seconds": all_of(
        farewell(NOON + SECOND), effects(replace(LEFT, asked_at=NOON + 10 * SECOND))
    ),
    "a letter to somebody else than who unsubscribed": farewell(NOON - HOUR, address="bob@example.com"),
    "what the customer asked for, after they unsubscribed": all_of(
        letter(marketing=False), farewell(NOON - HOUR, marketing_only=True)
    ),
    "a letter decided before a dialogue was open": dialogue(NOON, NOON + HOUR),
    "a letter that arrives when a dialogue may have been closed": dialogue(NOON - HOUR, NOON),
    "a letter that is still worth something": letter(expires_at=NOON + SECOND),
    "a start whose goal came first": all_of(
        without_stay(1), lambda evidence: replace(evidence, messages=[], effects=[])
    ),
    "a start of what the customer is in already": lambda evidence: replace(
        evidence,
        told=[*evidence.told, Told("again", "series_begun", SECOND_ONE)],
        accepted={**evidence.accepted, "again": NOON},
        events=[*evidence.events, Event(40, 1, "again", "series_begun", True, None)],
    ),
    "a goal of another application": all_of(
        undecided,
        lambda evidence: replace(evidence, told=[*evidence.told[:2], Told("won", "offer_taken", SECOND_ONE)]),
    ),
    "a message that is just being sent": letter(status="sending", claimed_at=NOON - 14 * SECOND),
    "a message that was claimed while the evidence was gathered": effects(LEFT, replace(AGAIN, id=11, message="m-9")),
    "a run that is only slow": run("Series-c1-e2", "running", waits_until=NOON - 4 * SECOND),
    "a talk with people of ours, which no run is for": lambda evidence: replace(
        evidence, stays=[*evidence.stays, Stay(3, 1, CONVERSATION, "conversation-c1-e3", None, None, False, 12)]
    ),
    "a run an operator has paused": run("Series-c1-e2", "running", paused=True),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_is_allowed_passes(what: str) -> None:
    assert broken(ALLOWED[what](WHOLE)) == []


def test_calls_begun_after_the_goal_are_counted_with_how_late_they_were() -> None:
    late = replace(LEFT, asked_at=NOON + 2 * SECOND)
    assert begun_after_the_goal(replace(WHOLE, effects=[LEFT, late]), POLICY) == [1.0]


SAID = {
    "stop": ("twilio", {"MessageSid": "SM1", "From": "+14155550123", "To": "+14155550100", "Body": "STOP"}),
    "bounce": ("sendgrid", {"event": "bounce", "type": "bounce", "email": "Ada@example.com"}),
    "unsubscribe": ("sendgrid", {"event": "unsubscribe", "email": "Ada@example.com"}),
}


@pytest.mark.parametrize("by", SAID)
def test_what_a_provider_tells_of_an_address_is_a_farewell_from_when_we_had_taken_it(by: str) -> None:
    kind, payload = SAID[by]
    said = farewell_of({"id": 1, "kind": kind, "payload": payload, "at": NOON.isoformat()})
    assert said
    assert (said.by, said.since, said.marketing_only) == (by, NOON, by == "unsubscribe")
    assert said.address == ("+14155550123" if kind == "twilio" else "ada@example.com")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("twilio", {"From": "+14155550123", "Body": "yes please"}),
        ("twilio", {"To": "+14155550123", "MessageStatus": "delivered"}),
        ("sendgrid", {"event": "bounce", "type": "blocked", "email": "ada@example.com"}),
        ("sendgrid", {"event": "open", "email": "ada@example.com"}),
        ("push", {"event": "opened"}),
    ],
)
def test_nothing_else_is_a_farewell(kind: str, payload: dict[str, str]) -> None:
    assert farewell_of({"id": 1, "kind": kind, "payload": payload, "at": NOON.isoformat()}) is None
