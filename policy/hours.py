"""Hours of the customer's own day and days of their week, in every zone they may be in."""

from collections.abc import Collection, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
import phonenumbers.timezone

from policy.configuration import Weekday

HORIZON = timedelta(days=14)
"""How far ahead a moment is looked for; whoever has none within it has none at all."""


def next_allowed(
    now: datetime,
    zones: Sequence[ZoneInfo],
    hours: tuple[int, int] = (0, 24),
    weekdays: Collection[Weekday] = tuple(Weekday),
) -> datetime | None:
    """Return the first moment from now on that lies within the hours, on one of the days, in every zone.

    Args:
        hours: From and to, full hours of the local day.
        weekdays: Days of the local week.

    Returns:
        A time in the zone of `now`; None if no moment suits all zones.
    """
    moment = now
    while moment < now + HORIZON:
        later = max(_opening(moment, zone, hours, weekdays) for zone in zones)
        if later == moment:
            return moment
        moment = later
    return None


def _opening(moment: datetime, zone: ZoneInfo, hours: tuple[int, int], weekdays: Collection[Weekday]) -> datetime:
    """Return the moment itself if it is allowed in a zone, else when the next allowed hours begin there."""
    local = moment.astimezone(zone)
    if _weekday(local) in weekdays and hours[0] <= local.hour < hours[1]:
        return moment
    day = local.date() if local.hour < hours[0] else local.date() + timedelta(days=1)
    while _weekday(opening := datetime.combine(day, time(hours[0]), zone)) not in weekdays:
        day += timedelta(days=1)
    return opening.astimezone(moment.tzinfo)


def _weekday(local: datetime) -> Weekday:
    return tuple(Weekday)[local.weekday()]


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
