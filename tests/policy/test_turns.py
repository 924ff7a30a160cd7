"""When a turn comes in a campaign: its days and hour where the recipient is, also when clocks change."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.campaigns import CampaignForm
from policy.configuration import Weekday
from policy.turns import first_due, next_turn, open_between
from tests.policy.test_hours import MOMENTS, ZONES

DAYS = [str(day) for day in Weekday]


def a_form(**given: Any) -> CampaignForm:
    steps = [{"channel": "email", "template": "campaigns/tyres"}]
    return CampaignForm.model_validate({"name": "c", "segment": "s", "cascade": steps, **given})


def local(moment: str, zone: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "now", "given", "due"),
    [
        ("Europe/Berlin", "2026-03-10T10:20", {"hour": 11}, "2026-03-10T11:00"),
        ("Europe/Berlin", "2026-03-10T11:20", {"hour": 11}, "2026-03-10T11:20"),
        ("Europe/Berlin", "2026-03-10T12:00", {"hour": 11}, "2026-03-11T11:00"),
        ("Asia/Kolkata", "2026-03-10T12:00", {"hour": 11}, "2026-03-11T11:00"),
        ("Pacific/Kiritimati", "2026-03-10T23:00", {"hour": 0}, "2026-03-11T00:00"),
        ("Europe/Berlin", "2026-03-12T12:00", {"hour": 11, "weekdays": ["tue", "thu"]}, "2026-03-17T11:00"),
        ("Europe/Berlin", "2026-03-14T12:00", {"weekdays": ["mon"]}, "2026-03-16T00:00"),
        # The clocks go forward on the 29th of March and back on the 25th of October; eleven is eleven.
        ("Europe/Berlin", "2026-03-28T12:00", {"hour": 11}, "2026-03-29T11:00"),
        ("Europe/Berlin", "2026-10-24T12:00", {"hour": 11}, "2026-10-25T11:00"),
        # There is no two o'clock on that night, and two of them on the other.
        ("Europe/Berlin", "2026-03-28T12:00", {"hour": 2}, "2026-03-30T02:00"),
        ("Europe/Berlin", "2026-10-24T12:00", {"hour": 2}, "2026-10-25T02:00"),
    ],
)
def test_the_first_message_is_due_at_its_hour_where_the_recipient_is(
    zone: str, now: str, given: dict[str, Any], due: str
) -> None:
    found = first_due(a_form(**given), 1, [ZoneInfo(zone)], local(now, zone).astimezone(UTC))
    assert found == local(due, zone).astimezone(UTC)


def test_a_variant_has_its_own_hour() -> None:
    variants = [{"name": "noon", "share": 0.5, "hour": 12}, {"name": "plain", "share": 0.5}]
    form, zone = a_form(hour=18, variants=variants), "Asia/Tokyo"
    hours = {
        form.drawn(customer).name: first_due(form, customer, [ZoneInfo(zone)], local("2026-03-10T09:00", zone)).hour
        for customer in range(20)
    }
    assert hours == {"noon": 12, "plain": 18}


@pytest.mark.parametrize(
    ("now", "given", "turn"),
    [
        # What is late goes on its day; after midnight it waits for the hour, of one of the campaign's days.
        ("2026-03-10T23:59", {"hour": 11}, "2026-03-10T23:59"),
        ("2026-03-11T00:01", {"hour": 11}, "2026-03-11T11:00"),
        ("2026-03-13T14:00", {"hour": 11, "weekdays": ["tue", "wed", "thu"]}, "2026-03-17T11:00"),
        ("2026-03-13T14:00", {"weekdays": ["tue", "wed", "thu"]}, "2026-03-17T00:00"),
        ("2026-03-13T03:00", {}, "2026-03-13T03:00"),
    ],
)
def test_what_is_late_keeps_to_the_days_and_the_hour(now: str, given: dict[str, Any], turn: str) -> None:
    zone = "Europe/Berlin"
    assert next_turn(a_form(**given), 1, [ZoneInfo(zone)], local(now, zone)) == local(turn, zone)


@given(MOMENTS, ZONES, st.integers(0, 23), st.sets(st.sampled_from(DAYS), min_size=1))
def test_no_turn_comes_before_its_hour_or_on_another_day(now: datetime, zone: str, hour: int, days: set[str]) -> None:
    form = a_form(hour=hour, weekdays=sorted(days))
    for found in (first_due(form, 1, [ZoneInfo(zone)], now), next_turn(form, 1, [ZoneInfo(zone)], now)):
        there = found.astimezone(ZoneInfo(zone))
        assert found >= now
        assert there.hour >= hour
        assert DAYS[there.weekday()] in days
    assert next_turn(form, 1, [ZoneInfo(zone)], now) <= first_due(form, 1, [ZoneInfo(zone)], now)


@pytest.mark.parametrize(
    ("given", "lasts", "hours"),
    [
        ({}, timedelta(days=3), 72),
        ({}, timedelta(minutes=90), 1.5),
        ({"hour": 11}, timedelta(days=2), 26),
        # The 10th is a Tuesday: what has not gone by midnight goes in a week.
        ({"hour": 11, "weekdays": ["tue"]}, timedelta(days=3), 13),
        ({"hour": 11, "weekdays": ["tue"]}, timedelta(days=8), 26),
    ],
)
def test_how_long_a_campaign_may_send_is_told_by_its_days_and_hour(
    given: dict[str, Any], lasts: timedelta, hours: float
) -> None:
    begins = local("2026-03-10T11:00", "Europe/Berlin")
    assert open_between(a_form(**given), ZoneInfo("Europe/Berlin"), begins, begins + lasts) == timedelta(hours=hours)
