"""The contact policy, by examples and by properties."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from domain.messages import Channel, MessageClass
from policy.contact import ContactPolicy, Delay, Drop, Facts, Send, next_allowed, zones_of

POLICY = ContactPolicy({Channel.SMS: (8, 21), Channel.CALL: (8, 21)})
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = datetime(2026, 11, 22, 23, 30, tzinfo=BERLIN)

ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Etc/UTC", "Asia/Tokyo"]
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def facts(**changes: object) -> Facts:
    given: dict[str, object] = {
        "now": NIGHT,
        "channel": Channel.SMS,
        "message_class": MessageClass.MARKETING,
        "recipient": "+4915112345678",
        "suppression": None,
        "erased": False,
        "zones": [BERLIN],
    }
    return Facts(**{**given, **changes})  # type: ignore[arg-type]


def test_an_sms_at_night_waits_for_the_morning() -> None:
    assert POLICY.decide(facts()) == Delay("quiet_hours", datetime(2026, 11, 23, 8, tzinfo=BERLIN))


def test_an_email_may_go_at_night() -> None:
    assert POLICY.decide(facts(channel=Channel.EMAIL)) == Send()


def test_a_transactional_message_passes_quiet_hours_but_no_suppression() -> None:
    transactional = {"message_class": MessageClass.TRANSACTIONAL}
    assert POLICY.decide(facts(**transactional)) == Send()
    assert POLICY.decide(facts(**transactional, suppression="opted_out")) == Drop("suppressed:opted_out")


def test_what_would_expire_in_the_night_is_dropped_at_once() -> None:
    decision = POLICY.decide(facts(expires_at=NIGHT + timedelta(hours=2)))
    assert decision == Drop("quiet_hours:expires before they end")


def test_blocks_drop_before_anything_delays() -> None:
    assert POLICY.decide(facts(erased=True)) == Drop("erased")
    assert POLICY.decide(facts(recipient=None)) == Drop("no_address")
    assert POLICY.decide(facts(suppression="dead")) == Drop("suppressed:dead")
    assert POLICY.decide(facts(expires_at=NIGHT)) == Drop("expired")


def test_a_number_that_may_be_anywhere_is_called_only_when_it_is_day_everywhere() -> None:
    russian_mobile = zones_of(None, "+79161234567", None)
    assert len(russian_mobile) > 5
    allowed = next_allowed(datetime(2026, 11, 22, 0, tzinfo=UTC), russian_mobile, (8, 21))
    assert allowed is not None
    assert all(8 <= allowed.astimezone(zone).hour < 21 for zone in russian_mobile)


def test_where_no_hour_suits_every_zone_it_is_dropped_and_not_sent_at_night() -> None:
    decision = POLICY.decide(facts(zones=zones_of(None, None, None)))
    assert isinstance(decision, Drop)


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
