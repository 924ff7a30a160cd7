"""The contact policy: one decision for every message, in one place, by pure rules over facts.

The rules are asked in the order of `RULES`; the first that objects decides. Each either drops, because
waiting would not help, or delays, because it would. A delay that would outlast the message's usefulness
drops it at once. Transactional messages pass the rules that are about marketing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

from domain.messages import OWN, Channel, MessageClass
from policy.configuration import Cap, Policy, Weekday
from policy.hours import next_allowed

DIALOGUE_ASKED_AGAIN = timedelta(hours=1)
"""Journey time after which a message held back by a dialogue is asked about again: nobody says when it ends."""

GIVES_WAY_FOR = timedelta(minutes=5)
"""Journey time a message waits for another of higher priority to take the slot both want."""


@dataclass(frozen=True)
class Consent:
    """The newest wish that covers a channel and a topic."""

    given: bool
    source: str


@dataclass(frozen=True)
class Block:
    """A silence: nothing is sent until it is over (journey time)."""

    name: str
    until: datetime


@dataclass(frozen=True)
class Sent:
    """A message that left, or may have, at a journey time."""

    channel: Channel
    message_class: MessageClass
    at: datetime


@dataclass(frozen=True)
class Wanted:
    """Another message of the same customer that waits, and whose time has come."""

    channel: Channel
    message_class: MessageClass
    priority: int


@dataclass(frozen=True)
class Facts:
    """What the policy decides on; all times are journey time.

    Attributes:
        recipient: Where it would go; None if the customer has no address for the channel.
        suppression: Why the recipient must not be written to, if so.
        zones: Every zone the customer may be in; one, if it is known.
        expires_at: When the message is not worth sending any more.
        topic: What the journey writes about.
        priority: 1 is the most important.
        gives_way: Whether it is dropped where it would have to wait for a slot.
        outside: The segment it is for, if the customer is not in it any more.
        sent_before: It goes to a customer once, and went in another stay.
        seen_by: The channel by which the customer has seen what it says, where that is not said twice.
        campaign_lately: It is a campaign's, and another campaign wrote within the time that one leaves alone.
        reached: The goal it is to lead to, if the customer has come to it.
        held_out: Share of customers whom the campaign it is of leaves out for comparison.
        left_to: A journey that has the customer to itself, if it is not this one.
        consent: None if the customer has expressed no wish.
        dialogue_since: Since when a person of ours has been talking with the customer.
        sent: What has left to the customer within the longest window of any cap.
        wanted: What else wants to leave now.
    """

    now: datetime
    customer: int
    journey: str
    topic: str
    channel: Channel
    message_class: MessageClass
    recipient: str | None
    zones: Sequence[ZoneInfo]
    erased: bool = False
    suppression: str | None = None
    expires_at: datetime | None = None
    priority: int = 3
    gives_way: bool = False
    outside: str | None = None
    sent_before: bool = False
    seen_by: Channel | None = None
    campaign_lately: bool = False
    reached: str | None = None
    held_out: float = 0
    left_to: str | None = None
    consent: Consent | None = None
    block: Block | None = None
    dialogue_since: datetime | None = None
    sent: Sequence[Sent] = ()
    wanted: Sequence[Wanted] = ()


@dataclass(frozen=True)
class Send:
    """It may go now."""


@dataclass(frozen=True)
class Drop:
    """It will not go; waiting would not help. The reason begins with the rule's name."""

    reason: str


@dataclass(frozen=True)
class Delay:
    """It may go later: ask again at `until`, journey time. The reason begins with the rule's name."""

    reason: str
    until: datetime


@dataclass(frozen=True)
class Rule:
    """One rule of the policy.

    Attributes:
        name: What reasons begin with.
        says: The rule in words, for people.
        transactional: Whether transactional messages are held to it too.
        judge: None if it does not object.
    """

    name: str
    says: str
    transactional: bool
    judge: Callable[[Policy, Facts], Drop | Delay | None]


@dataclass(frozen=True)
class Ruling:
    """What one rule said about one message; `exempt` if it was not asked."""

    rule: Rule
    objection: Drop | Delay | None
    exempt: bool


def decide(policy: Policy, facts: Facts) -> Send | Drop | Delay:
    """Decide about one message: the first rule that objects does."""
    return next((ruling.objection for ruling in _rulings(policy, facts) if ruling.objection), Send())


def silences(policy: Policy, facts: Facts) -> bool:
    """Whether what waits for a customer on the client's site or app is not to be shown now.

    It has been sent; but somebody who has forbidden it since, who is to hear nothing for a while, or with whom a person
    of ours is talking, is shown none of it.
    """
    return any(ruling.objection for ruling in _rulings(policy, facts) if ruling.rule.name in SILENCING)


def explain(policy: Policy, facts: Facts) -> list[Ruling]:
    """Return what every rule says, in the order in which they are asked."""
    return list(_rulings(policy, facts))


def _rulings(policy: Policy, facts: Facts) -> Iterator[Ruling]:
    for rule in RULES:
        exempt = facts.message_class is MessageClass.TRANSACTIONAL and not rule.transactional
        objection = None if exempt else rule.judge(policy, facts)
        if isinstance(objection, Delay) and facts.expires_at and objection.until >= facts.expires_at:
            objection = Drop(f"{objection.reason}:expires before")
        yield Ruling(rule, objection, exempt)


def _erased(_: Policy, facts: Facts) -> Drop | None:
    return Drop("erased") if facts.erased else None


def _no_address(_: Policy, facts: Facts) -> Drop | None:
    return Drop("no_address") if facts.recipient is None else None


def _suppressed(_: Policy, facts: Facts) -> Drop | None:
    return Drop(f"suppressed:{facts.suppression}") if facts.suppression else None


def _expired(_: Policy, facts: Facts) -> Drop | None:
    return Drop("expired") if facts.expires_at and facts.now >= facts.expires_at else None


def _outside(_: Policy, facts: Facts) -> Drop | None:
    return Drop(f"segment:{facts.outside}") if facts.outside else None


def _reached(_: Policy, facts: Facts) -> Drop | None:
    return Drop(f"goal:{facts.reached}") if facts.reached else None


def _sent_before(_: Policy, facts: Facts) -> Drop | None:
    return Drop("sent_before") if facts.sent_before else None


def _seen(_: Policy, facts: Facts) -> Drop | None:
    return Drop(f"seen:{facts.seen_by}") if facts.seen_by else None


def _campaign_lately(_: Policy, facts: Facts) -> Drop | None:
    return Drop("campaign:another one wrote lately") if facts.campaign_lately else None


def _blocked(_: Policy, facts: Facts) -> Drop | None:
    return Drop(f"blocked:{facts.block.name}") if facts.block and facts.now < facts.block.until else None


def _exclusive(_: Policy, facts: Facts) -> Drop | None:
    return Drop(f"exclusive:{facts.left_to}") if facts.left_to else None


def _dialogue(policy: Policy, facts: Facts) -> Delay | None:
    if facts.dialogue_since is None:
        return None
    ends = facts.dialogue_since + policy.dialogue_ends_after
    return Delay("dialogue", min(ends, facts.now + DIALOGUE_ASKED_AGAIN)) if facts.now < ends else None


def _no_consent(policy: Policy, facts: Facts) -> Drop | None:
    about = f"{facts.channel}/{facts.topic}"
    if facts.consent is not None:
        return None if facts.consent.given else Drop(f"no_consent:{about} withdrawn, {facts.consent.source}")
    required = policy.consent.get(facts.channel) == "required"
    return Drop(f"no_consent:{about} never given") if required else None


def _held_out(policy: Policy, facts: Facts) -> Drop | None:
    by = held_out_by(policy, facts.journey, facts.customer, facts.held_out)
    return Drop(f"holdout:{by}") if by else None


def held_out_by(policy: Policy, journey: str, customer: int, share: float) -> str | None:
    """Return which group that gets nothing a customer is in: "global", or a journey's; None if in neither.

    Args:
        share: Which the journey or campaign itself leaves out, unless the policy says another.
    """
    if is_held_out(policy, "*", customer, policy.holdout):
        return "global"
    return journey if is_held_out(policy, journey, customer, policy.holdouts.get(journey, share)) else None


def is_held_out(policy: Policy, scope: str, customer: int, share: float) -> bool:
    """Whether a customer is in the group that gets nothing; the same today and tomorrow."""
    drawn = sha256(f"{policy.holdout_salt}/{scope}/{customer}".encode()).digest()
    return int.from_bytes(drawn[:8]) < share * 2**64


def _quiet_hours(policy: Policy, facts: Facts) -> Drop | Delay | None:
    hours = policy.quiet_hours.get(facts.channel, (0, 24))
    weekdays = policy.weekdays.get(facts.channel, tuple(Weekday))
    if hours == (0, 24) and len(weekdays) == len(Weekday):
        return None
    allowed = next_allowed(facts.now, facts.zones, hours, weekdays)
    if allowed is None:
        return Drop("quiet_hours:no hour suits every zone the customer may be in")
    return None if allowed == facts.now else Delay("quiet_hours", allowed)


def _capped(policy: Policy, facts: Facts) -> Drop | Delay | None:
    """The cap that opens last decides how long; one that drops decides at once."""
    objections = [objection for cap in policy.caps if (objection := _over(cap, facts))]
    drops = [objection for objection in objections if isinstance(objection, Drop)]
    delays = [objection for objection in objections if isinstance(objection, Delay)]
    return drops[0] if drops else max(delays, key=lambda delay: delay.until, default=None)


def _over(cap: Cap, facts: Facts) -> Drop | Delay | None:
    if not _counts(cap, facts.channel, facts.message_class):
        return None
    taken = sorted(
        each.at
        for each in facts.sent
        if _counts(cap, each.channel, each.message_class) and each.at > facts.now - cap.within
    )
    drops = cap.exceeded == "drop" or facts.gives_way
    if len(taken) >= cap.at_most:
        return Drop(f"cap:{cap.name}") if drops else Delay(f"cap:{cap.name}", taken[-cap.at_most] + cap.within)
    before = [
        each
        for each in facts.wanted
        if each.priority < facts.priority and _counts(cap, each.channel, each.message_class)
    ]
    if len(taken) + len(before) >= cap.at_most:
        reason = f"cap:{cap.name}:gives way to a higher priority"
        return Drop(reason) if drops else Delay(reason, facts.now + GIVES_WAY_FOR)
    return None


def _counts(cap: Cap, channel: Channel, message_class: MessageClass) -> bool:
    """Whether a cap counts a message; the inbox, which waits to be looked at, is only counted by its own."""
    in_channel = channel is cap.channel if cap.channel else channel not in OWN
    return in_channel and (message_class is MessageClass.MARKETING or cap.counts_transactional)


RULES = (
    Rule("erased", "an erased customer is not written to: drops", True, _erased),
    Rule("no_address", "the customer has no address for the channel: drops", True, _no_address),
    Rule("suppressed", "the address bounced, complained or said STOP: drops", True, _suppressed),
    Rule("expired", "it is not worth sending any more: drops", True, _expired),
    Rule("segment", "the customer is not in the segment any more that it is for: drops", True, _outside),
    Rule("goal", "the customer has done what the campaign is for: drops", True, _reached),
    Rule("sent_before", "it goes to a customer once, and went in another stay: drops", True, _sent_before),
    Rule("seen", "the customer has seen it by another channel, and it is not said twice: drops", True, _seen),
    Rule("campaign", "another campaign wrote within the time this one leaves alone: drops", False, _campaign_lately),
    Rule("blocked", "the customer hears nothing for a while: drops", True, _blocked),
    Rule("exclusive", "another journey has the customer to itself: drops", False, _exclusive),
    Rule("dialogue", "a person of ours is talking with the customer: delays", True, _dialogue),
    Rule("no_consent", "the customer did not agree, or forbade it: drops", False, _no_consent),
    Rule("holdout", "the customer is in a group that gets nothing, for comparison: drops", False, _held_out),
    Rule("quiet_hours", "not at this hour or on this day of the customer's: delays", False, _quiet_hours),
    Rule("cap", "the customer had enough messages: delays, or drops where so declared", False, _capped),
)
"""All rules, in the order in which they are asked."""

SILENCING = ("blocked", "dialogue", "no_consent")
"""Those that also hide what was sent before and waits to be shown, see `silences`."""
