"""The contact policy: one decision for every message, in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
import phonenumbers.timezone

from domain.messages import Channel, MessageClass


@dataclass(frozen=True)
class Facts:
    """What the policy decides on.

    Attributes:
        now: Journey time.
        recipient: Where it would go; None if the customer has no address for the channel.
        suppression: Why the recipient must not be written to, if so.
        zones: Every zone the customer may be in; one, if it is known.
        expires_at: Journey time after which the message is not worth sending.
    """

    now: datetime
    channel: Channel
    message_class: MessageClass
    recipient: str | None
    suppression: str | None
    erased: bool
    zones: Sequence[ZoneInfo]
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Send:
    """It may go now."""


@dataclass(frozen=True)
class Drop:
    """It will not go; waiting would not help."""

    reason: str


@dataclass(frozen=True)
class Delay:
    """It may go later: ask again at `until`, journey time."""

    reason: str
    until: datetime


@dataclass(frozen=True)
class ContactPolicy:
    """The rules of a deployment.

    Attributes:
        quiet_hours: The hours of the customer's day in which a channel may be used, ``[from, to)``.
            The default for calls and SMS is 8 to 21 (47 CFR 64.1200(c)(1)).
    """

    quiet_hours: Mapping[Channel, tuple[int, int]]

    def decide(self, facts: Facts) -> Send | Drop | Delay:
        """Decide about one message.

        Drops: erased customer, no address, suppression, expiry. Delays: quiet hours, from which
        transactional messages are exempt; if they end after the expiry it is dropped at once.
        """
        if facts.erased:
            return Drop("erased")
        if facts.recipient is None:
            return Drop("no_address")
        if facts.suppression:
            return Drop(f"suppressed:{facts.suppression}")
        if facts.expires_at and facts.now >= facts.expires_at:
            return Drop("expired")
        return self._within_hours(facts)

    def _within_hours(self, facts: Facts) -> Send | Drop | Delay:
        hours = self.quiet_hours.get(facts.channel)
        if hours is None or facts.message_class is MessageClass.TRANSACTIONAL:
            return Send()
        allowed = next_allowed(facts.now, facts.zones, hours)
        if allowed is None:
            return Drop("quiet_hours:no hour suits every zone the customer may be in")
        if allowed == facts.now:
            return Send()
        if facts.expires_at and allowed >= facts.expires_at:
            return Drop("quiet_hours:expires before they end")
        return Delay("quiet_hours", allowed)


def next_allowed(now: datetime, zones: Sequence[ZoneInfo], hours: tuple[int, int]) -> datetime | None:
    """Return the first moment from now on that lies within the hours in every zone.

    Args:
        hours: From and to, full hours of the local day.

    Returns:
        A time in the zone of `now`; None if no moment of the next days suits all zones.
    """
    moment = now
    while moment < now + timedelta(days=3):
        later = max(_opening(moment, zone, hours) for zone in zones)
        if later == moment:
            return moment
        moment = later
    return None


def _opening(moment: datetime, zone: ZoneInfo, hours: tuple[int, int]) -> datetime:
    """Return the moment itself if it lies within the hours in a zone, else their next beginning."""
    local = moment.astimezone(zone)
    if hours[0] <= local.hour < hours[1]:
        return moment
    day = local.date() if local.hour < hours[0] else local.date() + timedelta(days=1)
    return datetime.combine(day, time(hours[0]), zone).astimezone(moment.tzinfo)


def zones_of(time_zone: str | None, phone: str | None, default: str | None) -> list[ZoneInfo]:
    """Return every zone a customer may be in.

    Their own, if it is known; else all the zones their number may belong to; else the
    deployment's; else, knowing nothing, every zone there is.
    """
    if time_zone:
        return [ZoneInfo(time_zone)]
    if phone:
        number = phonenumbers.parse(phone)
        names = phonenumbers.timezone.time_zones_for_number(number)
        known = [name for name in names if name != phonenumbers.timezone.UNKNOWN_TIMEZONE]
        if known:
            return [ZoneInfo(name) for name in known]
    if default:
        return [ZoneInfo(default)]
    return [ZoneInfo(f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT") for offset in range(-11, 15)]
