"""When a recipient's turn comes in a campaign."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from domain.campaigns import CampaignForm
from policy.configuration import Weekday
from policy.hours import next_allowed


def first_due(form: CampaignForm, customer: int, zones: Sequence[ZoneInfo], present: datetime) -> datetime:
    """Return when a recipient's first message is due, journey time.

    Args:
        zones: Every zone the recipient may be in. The one in the middle counts for the hour; the contact policy
            sees to it that it is no quiet hour in any.
        present: The campaign's beginning, or now, journey time.
    """
    own = form.drawn(customer).hour
    hour = form.hour if own is None else own
    hours = (0, 24) if hour is None else (hour, hour + 1)
    found = next_allowed(present, [zones[len(zones) // 2]], hours, [Weekday(day) for day in form.weekdays])
    assert found is not None, "every hour comes on every day of some week"
    return found
