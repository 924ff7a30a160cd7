"""Hours and days of the customer's own, by examples and by properties."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from policy.configuration import Weekday
from policy.hours import next_allowed, zones_of

ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Etc/UTC", "Asia/Tokyo"]
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_a_number_that_may_be_anywhere_is_called_only_when_it_is_day_everywhere() -> None:
    russian_mobile = zones_of(None, "+79161234567", None)
    assert len(russian_mobile) > 5
    allowed = next_allowed(datetime(2026, 11, 22, 0, tzinfo=UTC), russian_mobile, (8, 21))
    assert allowed is not None
    assert all(8 <= allowed.astimezone(zone).hour < 21 for zone in russian_mobile)


def test_where_no_hour_suits_every_zone_there_is_none() -> None:
    assert next_allowed(datetime(2026, 11, 22, tzinfo=UTC), zones_of(None, None, None), (8, 21)) is None


@given(MOMENTS, st.lists(ZONES, min_size=1, max_size=3), st.integers(0, 12), st.integers(13, 24))
def test_whatever_is_allowed_lies_within_the_hours_of_every_zone(
    now: datetime, names: list[str], opens: int, closes: int
) -> None:
    zones = [ZoneInfo(name) for name in names]
    allowed = next_allowed(now, zones, (opens, closes))
    if allowed is not None:
        assert allowed >= now
        assert all(opens <= allowed.astimezone(zone).hour < closes for zone in zones)


@given(MOMENTS, ZONES)
def test_one_known_zone_never_waits_longer_than_the_night(now: datetime, name: str) -> None:
    allowed = next_allowed(now, [ZoneInfo(name)], (8, 21))
    assert allowed is not None
    # A night of 11 hours, and an hour more when the clocks go back.
    assert allowed - now <= timedelta(hours=12)


@given(MOMENTS, ZONES, st.sets(st.sampled_from(list(Weekday)), min_size=1))
def test_it_is_always_one_of_the_days_and_never_a_week_away(now: datetime, name: str, days: set[Weekday]) -> None:
    allowed = next_allowed(now, [ZoneInfo(name)], (8, 21), days)
    assert allowed is not None
    assert list(Weekday)[allowed.astimezone(ZoneInfo(name)).weekday()] in days
    assert allowed - now < timedelta(days=7)
