"""When a recipient's turn comes in a campaign."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from domain.campaigns import CampaignForm
from policy.configuration import Weekday
from policy.hours import next_allowed

MIDNIGHT = 24
HOUR = timedelta(hours=1)


def first_due(form: CampaignForm, customer: int, zones: Sequence[ZoneInfo], present: datetime) -> datetime:
    """Return when a recipient's first message is due, journey time: within the hour of the campaign.

    Args:
        zones: Every zone the recipient may be in. The one in the middle counts for the hour; the contact policy
            sees to it that it is no quiet hour in any.
        present: The campaign's beginning, or now, journey time.
    """
    hour = form.hour_of(customer)
    return _turn(form, (0, MIDNIGHT) if hour is None else (hour, hour + 1), zones, present)


def next_turn(form: CampaignForm, customer: int, zones: Sequence[ZoneInfo], present: datetime) -> datetime:
    """Return when a message that is due may go: now, if it is one of the campaign's days, and not before its hour.

    What is late, because of its pace, a pause or the contact policy, may go until the day is over; then it waits for
    the hour of the next of the campaign's days.

    Args:
        zones: As for `first_due`.
        present: Journey time.
    """
    return _turn(form, (form.hour_of(customer) or 0, MIDNIGHT), zones, present)


def open_between(form: CampaignForm, zone: ZoneInfo, begins: datetime, ends: datetime) -> timedelta:
    """Return for how much of a time messages of a campaign may go, journey time, told hour by hour in one zone."""
    hour = min((form.hour or 0) if variant.hour is None else variant.hour for variant in form.variants)
    days = [Weekday(day) for day in form.weekdays]
    moments = [begins + n * HOUR for n in range(ceil((ends - begins) / HOUR))]
    may_go = [each for each in moments if next_allowed(each, [zone], (hour, MIDNIGHT), days) == each]
    return sum((min(HOUR, ends - each) for each in may_go), timedelta())


def _turn(form: CampaignForm, hours: tuple[int, int], zones: Sequence[ZoneInfo], present: datetime) -> datetime:
    found = next_allowed(present, [zones[len(zones) // 2]], hours, [Weekday(day) for day in form.weekdays])
    assert found is not None, "every hour comes on every day of some week"
    return found
