"""The contact policy: every rule by example, and by properties that hold whatever the facts are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.messages import OWN, Channel, MessageClass
from policy.configuration import Cap, Policy, Weekday
from policy.contact import RULES, Block, Consent, Delay, Drop, Facts, Send, Sent, Wanted, decide, explain, is_held_out

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=BERLIN)  # A Monday.
NIGHT = NOON.replace(hour=23, minute=30)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
TRANSACTIONAL = {"message_class": MessageClass.TRANSACTIONAL}


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "now": NOON,
        "customer": 7,
        "journey": "AbandonedApplication",
        "topic": "offers",
        "channel": Channel.SMS,
        "message_class": MessageClass.MARKETING,
        "recipient": "+4915112345678",
        "zones": [BERLIN],
    }
    return Facts(**{**given, **changes})


def sms_cap(at_most: int, within: timedelta, **more: Any) -> Policy:
    return Policy(caps=(Cap(channel=Channel.SMS, at_most=at_most, within=within, **more),))


def sent(*ago: timedelta, channel: Channel = Channel.SMS, of: MessageClass = MessageClass.MARKETING) -> list[Sent]:
    return [Sent(channel, of, NOON - each) for each in ago]


# What each rule does, and whether it holds for transactional messages.

OBJECTIONS: dict[str, tuple[Policy, dict[str, Any], Drop | Delay]] = {
    "erased": (Policy(), {"erased": True}, Drop("erased")),
    "no_address": (Policy(), {"recipient": None}, Drop("no_address")),
    "suppressed": (Policy(), {"suppression": "opted_out"}, Drop("suppressed:opted_out")),
    "expired": (Policy(), {"expires_at": NOON}, Drop("expired")),
    "segment": (Policy(), {"outside": "not_seen"}, Drop("segment:not_seen")),
    "goal": (Policy(), {"reached": "credit_issued"}, Drop("goal:credit_issued")),
    "sent_before": (Policy(), {"sent_before": True}, Drop("sent_before")),
    "seen": (Policy(), {"seen_by": Channel.INBOX}, Drop("seen:inbox")),
    "campaign": (Policy(), {"campaign_lately": True}, Drop("campaign:another one wrote lately")),
    "blocked": (Policy(), {"block": Block("refused", NOON + HOUR)}, Drop("blocked:refused")),
    "exclusive": (Policy(), {"left_to": "WinBack"}, Drop("exclusive:WinBack")),
    "dialogue": (Policy(), {"dialogue_since": NOON - HOUR}, Delay("dialogue", NOON + HOUR)),
    "no_consent": (
        Policy(),
        {"consent": Consent(False, "one_click")},
        Drop("no_consent:sms/offers withdrawn, one_click"),
    ),
    "holdout": (Policy(holdout=1), {}, Drop("holdout:global")),
    "quiet_hours": (Policy(), {"now": NIGHT}, Delay("quiet_hours", datetime(2026, 11, 24, 8, tzinfo=BERLIN))),
    "cap": (sms_cap(1, DAY), {"sent": sent(HOUR)}, Delay("cap:sms 1 in 1 day", NOON + 23 * HOUR)),
}
HOLD_FOR_ALL = {
    "erased",
    "no_address",
    "suppressed",
    "expired",
    "segment",
    "goal",
    "sent_before",
    "seen",
    "blocked",
    "dialogue",
}


def test_every_rule_has_its_example() -> None:
    assert [rule.name for rule in RULES] == list(OBJECTIONS)


@pytest.mark.parametrize("rule", OBJECTIONS)
def test_a_rule_drops_or_delays_as_it_says(rule: str) -> None:
    policy, given, objection = OBJECTIONS[rule]
    assert decide(policy, facts(**given)) == objection
    says = next(each.says for each in RULES if each.name == rule)
    assert ("drops" if isinstance(objection, Drop) else "delays") in says
    assert objection.reason.split(":")[0] == rule


@pytest.mark.parametrize("rule", OBJECTIONS)
def test_transactional_messages_pass_caps_and_quiet_hours_never_suppressions(rule: str) -> None:
    policy, given, objection = OBJECTIONS[rule]
    decision = decide(policy, facts(**given, **TRANSACTIONAL))
    assert decision == (objection if rule in HOLD_FOR_ALL else Send())


@pytest.mark.parametrize(
    "rule", [name for name, (_, _, objection) in OBJECTIONS.items() if isinstance(objection, Delay)]
)
def test_what_would_wait_past_its_usefulness_is_dropped_with_that_reason(rule: str) -> None:
    policy, given, objection = OBJECTIONS[rule]
    assert isinstance(objection, Delay)
    dropped = decide(policy, facts(**given, expires_at=objection.until))
    assert dropped == Drop(f"{objection.reason}:expires before")
    assert decide(policy, facts(**given, expires_at=objection.until + HOUR)) == objection


def test_an_explanation_has_every_rule_and_agrees_with_the_decision() -> None:
    policy = sms_cap(1, DAY)
    given = facts(now=NIGHT, block=Block("refused", NIGHT + HOUR), sent=sent(HOUR))
    rulings = explain(policy, given)
    assert [ruling.rule.name for ruling in rulings if ruling.objection] == ["blocked", "quiet_hours", "cap"]
    assert decide(policy, given) == Drop("blocked:refused")


# Consent.


def test_a_channel_that_needs_consent_gets_none_without_it() -> None:
    policy = Policy(consent={Channel.SMS: "required"})
    assert decide(policy, facts()) == Drop("no_consent:sms/offers never given")
    assert decide(policy, facts(consent=Consent(True, "registration"))) == Send()
    assert decide(policy, facts(channel=Channel.EMAIL, recipient="ada@example.com")) == Send()


# Blocks and dialogues.


def test_a_block_lifts_by_itself() -> None:
    assert decide(Policy(), facts(block=Block("refused", NOON))) == Send()


def test_a_dialogue_nobody_closed_ends_by_itself() -> None:
    policy = Policy(dialogue_ends_after=2 * HOUR)
    assert decide(policy, facts(dialogue_since=NOON - 90 * HOUR / 60)) == Delay("dialogue", NOON + HOUR / 2)
    assert decide(policy, facts(dialogue_since=NOON - 2 * HOUR)) == Send()


# Holdouts.


def test_a_holdout_is_as_large_as_it_says_and_stays_the_same() -> None:
    policy = Policy(holdout=0.1)
    held = {customer for customer in range(20_000) if is_held_out(policy, "*", customer, 0.1)}
    assert 0.09 < len(held) / 20_000 < 0.11
    assert held == {customer for customer in range(20_000) if is_held_out(policy, "*", customer, 0.1)}
    other = Policy(holdout_salt="another")
    assert held != {customer for customer in range(20_000) if is_held_out(other, "*", customer, 0.1)}


def test_a_journeys_own_holdout_is_its_own() -> None:
    policy = Policy(holdouts={"WinBack": 1})
    assert decide(policy, facts(journey="WinBack")) == Drop("holdout:WinBack")
    assert decide(policy, facts()) == Send()
    drawn = Policy()
    one = [is_held_out(drawn, "WinBack", customer, 0.5) for customer in range(1000)]
    assert one != [is_held_out(drawn, "Welcome", customer, 0.5) for customer in range(1000)]


# Quiet hours and weekdays.


def test_an_email_may_go_at_night() -> None:
    assert decide(Policy(), facts(now=NIGHT, channel=Channel.EMAIL)) == Send()


def test_a_call_on_friday_night_waits_for_monday_where_the_weekend_is_free() -> None:
    weekdays = (Weekday.MON, Weekday.TUE, Weekday.WED, Weekday.THU, Weekday.FRI)
    policy = Policy(weekdays={Channel.CALL: weekdays})
    friday = NIGHT + 4 * DAY
    monday = datetime(2026, 11, 30, 8, tzinfo=BERLIN)
    assert decide(policy, facts(now=friday, channel=Channel.CALL)) == Delay("quiet_hours", monday)
    assert decide(policy, facts(now=friday, channel=Channel.SMS)) == Delay("quiet_hours", friday + 8.5 * HOUR)


def test_zones_that_share_no_hour_are_not_called_at_all() -> None:
    policy = Policy(quiet_hours={Channel.CALL: (9, 10)})
    decision = decide(policy, facts(channel=Channel.CALL, zones=[BERLIN, ZoneInfo("America/Los_Angeles")]))
    assert decision == Drop("quiet_hours:no hour suits every zone the customer may be in")


# Caps.


def test_a_cap_that_drops_drops() -> None:
    assert decide(sms_cap(1, DAY, exceeded="drop"), facts(sent=sent(HOUR))) == Drop("cap:sms 1 in 1 day")
    assert decide(sms_cap(1, DAY), facts(sent=sent(HOUR), gives_way=True)) == Drop("cap:sms 1 in 1 day")


def test_a_cap_counts_its_channel_or_all_but_the_inbox() -> None:
    everything = Policy(caps=(Cap(at_most=2, within=DAY),))
    two = [*sent(HOUR, channel=Channel.EMAIL), *sent(2 * HOUR, channel=Channel.PUSH)]
    assert decide(everything, facts(sent=two)) == Delay("cap:all 2 in 1 day", NOON + 22 * HOUR)
    assert decide(sms_cap(2, DAY), facts(sent=two)) == Send()
    shown = sent(HOUR, 2 * HOUR, channel=Channel.INBOX)
    assert decide(everything, facts(sent=shown)) == Send()
    assert decide(everything, facts(sent=two, channel=Channel.INBOX, recipient="7")) == Send()


def test_transactional_messages_take_up_slots_only_where_it_says_so() -> None:
    past = sent(HOUR, of=MessageClass.TRANSACTIONAL)
    assert decide(sms_cap(1, DAY), facts(sent=past)) == Send()
    assert isinstance(decide(sms_cap(1, DAY, counts_transactional=True), facts(sent=past)), Delay)


def test_a_cap_that_was_lowered_waits_until_few_enough_are_left() -> None:
    assert decide(sms_cap(1, DAY), facts(sent=sent(HOUR, 5 * HOUR))) == Delay("cap:sms 1 in 1 day", NOON + 23 * HOUR)


def test_the_cap_that_opens_last_decides() -> None:
    policy = Policy(
        caps=(Cap(channel=Channel.SMS, at_most=1, within=DAY), Cap(channel=Channel.SMS, at_most=2, within=WEEK))
    )
    assert decide(policy, facts(sent=sent(HOUR, 2 * DAY))) == Delay("cap:sms 2 in 7 days", NOON + 5 * DAY)


def test_the_last_slot_is_left_to_whom_it_is_more_important() -> None:
    policy = sms_cap(2, DAY)
    urgent = Wanted(Channel.SMS, MessageClass.MARKETING, priority=1)
    behind = "cap:sms 2 in 1 day:gives way to a higher priority"
    assert decide(policy, facts(sent=sent(HOUR), wanted=[urgent])) == Delay(behind, NOON + timedelta(minutes=5))
    assert decide(policy, facts(sent=sent(HOUR), wanted=[urgent], gives_way=True)) == Drop(behind)
    assert decide(policy, facts(sent=sent(HOUR), wanted=[urgent], priority=1)) == Send()
    assert decide(policy, facts(wanted=[urgent])) == Send()
    assert decide(policy, facts(sent=sent(HOUR), wanted=[replace(urgent, channel=Channel.EMAIL)])) == Send()


# Properties.

ALWAYS = dict.fromkeys(Channel, (0, 24))

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SPANS = st.timedeltas(timedelta(minutes=1), timedelta(days=10))
CHANNELS = st.sampled_from(list(Channel))
CAPS = st.builds(
    Cap,
    channel=st.none() | CHANNELS,
    at_most=st.integers(1, 4),
    within=SPANS,
    exceeded=st.sampled_from(["wait", "drop"]),
)
POLICIES = st.builds(
    Policy,
    caps=st.lists(CAPS, max_size=3).map(tuple),
    quiet_hours=st.dictionaries(CHANNELS, st.sampled_from([(8, 21), (0, 24), (9, 10), (22, 24)])),
    weekdays=st.dictionaries(CHANNELS, st.sets(st.sampled_from(list(Weekday)), min_size=1).map(tuple)),
    consent=st.dictionaries(CHANNELS, st.sampled_from(["assumed", "required"])),
    holdout=st.sampled_from([0, 0.3]),
)
FACTS = st.builds(
    facts,
    now=MOMENTS,
    channel=CHANNELS,
    message_class=st.sampled_from(list(MessageClass)),
    recipient=st.sampled_from([None, "somewhere", "somewhere", "somewhere"]),
    suppression=st.sampled_from([None, None, "dead"]),
    erased=st.sampled_from([False, False, False, True]),
    expires_at=st.none() | MOMENTS,
    priority=st.integers(1, 5),
    gives_way=st.booleans(),
    consent=st.none() | st.builds(Consent, st.booleans(), st.just("one_click")),
    zones=st.lists(st.sampled_from([BERLIN, ZoneInfo("Asia/Tokyo"), ZoneInfo("Australia/Lord_Howe")]), min_size=1),
)


@given(POLICIES, FACTS)
def test_a_delay_is_always_later_and_before_the_expiry(policy: Policy, facts: Facts) -> None:
    decision = decide(policy, facts)
    if isinstance(decision, Delay):
        assert decision.until > facts.now
        assert facts.expires_at is None or decision.until < facts.expires_at


@given(POLICIES, FACTS)
def test_nothing_goes_where_a_rule_objects_and_nothing_is_held_without_one(policy: Policy, facts: Facts) -> None:
    objections = [ruling.objection for ruling in explain(policy, facts) if ruling.objection]
    assert (decide(policy, facts) == Send()) == (not objections)


@given(POLICIES, FACTS)
def test_nothing_goes_to_the_erased_the_suppressed_or_too_late(policy: Policy, facts: Facts) -> None:
    if decide(policy, facts) == Send():
        assert not facts.erased
        assert facts.recipient is not None
        assert facts.suppression is None
        assert facts.expires_at is None or facts.now < facts.expires_at


@given(POLICIES, FACTS)
def test_who_waits_as_long_as_told_gets_through_quiet_hours(policy: Policy, facts: Facts) -> None:
    decision = decide(policy, facts)
    if isinstance(decision, Delay) and decision.reason == "quiet_hours":
        later = decide(policy, replace(facts, now=decision.until))
        assert not (isinstance(later, Delay) and later.reason == "quiet_hours")
        for zone in facts.zones:
            local = decision.until.astimezone(zone)
            low, high = policy.quiet_hours.get(facts.channel, (0, 24))
            assert low <= local.hour < high


@given(
    st.builds(Policy, caps=st.lists(CAPS, min_size=1, max_size=3).map(tuple), quiet_hours=st.just(ALWAYS)),
    st.lists(st.tuples(CHANNELS, st.timedeltas(timedelta(0), timedelta(days=3))), max_size=25),
)
def test_no_stretch_of_time_ever_holds_more_than_a_cap_allows(
    policy: Policy, wishes: list[tuple[Channel, timedelta]]
) -> None:
    now, left = NOON, list[Sent]()
    for channel, pause in wishes:
        now += pause
        moment = now
        for _ in range(100):  # Whoever is told to wait comes again then.
            decision = decide(policy, facts(now=moment, channel=channel, sent=left))
            if not isinstance(decision, Delay):
                break
            moment = decision.until
        if decision == Send():
            left.append(Sent(channel, MessageClass.MARKETING, moment))
    for cap in policy.caps:
        counted = sorted(
            each.at
            for each in left
            if each.channel is (cap.channel or each.channel) and (cap.channel in OWN or each.channel not in OWN)
        )
        for begin in counted:
            assert sum(begin <= at < begin + cap.within for at in counted) <= cap.at_most
