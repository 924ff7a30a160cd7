"""What is wrong with a deployment's file is said when a process starts."""

from pathlib import Path

import pytest

import settings
from domain.messages import Channel
from settings import ConfigurationError, Deployment

NEEDED = """
site = "https://cars.example"
company = "Example Cars"
postal_address = "1 Example Street"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The deployment's file, named by the environment."""
    path = tmp_path / "journeys.toml"
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/journeys")
    monkeypatch.setenv("JOURNEYS_PUBLIC_URL", "https://journeys.example")
    monkeypatch.setenv("JOURNEYS_SECRET", "s" * 32)
    monkeypatch.setenv("JOURNEYS_CONFIG", str(path))
    return path


def deployment(file: Path, says: str = "") -> Deployment:
    file.write_text(f"{NEEDED}{says}\n", encoding="utf-8")
    return settings.load().deployment()


@pytest.mark.parametrize(
    ("says", "field", "rule"),
    [
        ("[policy]\nquiet_hours = {sms = [22, 6]}", "policy.quiet_hours.sms", "must be [from, to] within one day"),
        ("[policy]\nquiet_hours = {sms = [8, 8]}", "policy.quiet_hours.sms", "must be [from, to] within one day"),
        ("[policy]\nquiet_hours = {call = [8, 25]}", "policy.quiet_hours.call.1", "less than or equal to 24"),
        ("[policy]\nquiet_hours = {call = [-1, 21]}", "policy.quiet_hours.call.0", "greater than or equal to 0"),
        ("[policy]\nquiet_hours = {call = [8]}", "policy.quiet_hours.call.1", "required"),
        (
            "[policy]\nquiet_hours = {fax = [8, 21]}",
            "policy.quiet_hours.fax",
            "'email', 'sms', 'whatsapp', 'push', 'web_push', 'call', 'inbox', 'popup' or 'banner'",
        ),
        ('default_time_zone = "Mars/Base"', "default_time_zone", "must be an IANA time zone, such as Europe/Berlin"),
        ('default_time_zone = "../etc/passwd"', "default_time_zone", "must be an IANA time zone"),
        ('default_locale = "English!"', "default_locale", "must be a language tag, such as en or ru-RU"),
        ('default_locale = ""', "default_locale", "must be a language tag"),
        ("quiet_ours = {sms = [8, 21]}", "quiet_ours", "not permitted"),
        ("[policy]\nquiet_ours = {sms = [8, 21]}", "policy.quiet_ours", "not permitted"),
        ("[policy.weekdays]\ncall = []", "policy.weekdays", "must have at least one day"),
        ('[policy.weekdays]\ncall = ["someday"]', "policy.weekdays.call.0", "'mon', 'tue'"),
        ('[[policy.caps]]\nat_most = 0\nwithin = "P1D"', "policy.caps.0.at_most", "greater than or equal to 1"),
        ('[[policy.caps]]\nat_most = 1\nwithin = "P0D"', "policy.caps.0.within", "must be longer than nothing"),
        ('[[policy.caps]]\nat_most = 1\nwithin = "a week"', "policy.caps.0.within", "valid timedelta"),
        ("[policy]\nholdout = 1.5", "policy.holdout", "less than or equal to 1"),
        ('[policy.consent]\nsms = "perhaps"', "policy.consent.sms", "'assumed' or 'required'"),
        ('[policy.blocks.refused]\non = "loan_refused"', "policy.blocks.refused.lasts", "required"),
        ('[policy.topics.Offers.title]\nen = "Offers"', "policy.topics.Offers", "match pattern"),
        ("[tariffs]\nsms = {segment = -3}", "tariffs.sms.segment", "greater than or equal to 0"),
        ("[tariffs]\nsms = 3", "tariffs.sms", "valid dictionary"),
        ("[tariffs]\nsms = {segment = 3, ucs2 = [67, 70]}", "tariffs.sms", "holds no more than one that stands alone"),
        ("[tariffs]\nwhatsapp = {promotional = 12}", "tariffs.whatsapp.promotional", "'marketing', 'utility'"),
        ("[tariffs]\nwhatsapp = nan", "tariffs.whatsapp.marketing", "finite number"),
        ('[tariffs]\ncurrency = "roubles"', "tariffs.currency", "match pattern"),
        ('[tariffs.numbers."7"]\nsms = {segment = 3}', "tariffs.numbers.7", "match pattern"),
        ("[tariffs]\nfax = 3", "tariffs.fax", "not permitted"),
    ],
)
def test_a_wrong_deployment_is_refused_with_file_field_and_rule(file: Path, says: str, field: str, rule: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        deployment(file, says)
    assert str(refused.value).startswith(f"{file}: {field}: ")
    assert rule in str(refused.value)


def test_a_file_in_another_encoding_is_refused_by_name(file: Path) -> None:
    file.write_bytes('company = "Müller"'.encode("latin-1"))
    with pytest.raises(ConfigurationError, match="utf-8") as refused:
        settings.load().deployment()
    assert str(refused.value).startswith(f"{file}: ")


@pytest.mark.parametrize("says", ["", "[policy.quiet_hours]"])
def test_sms_and_calls_keep_the_legal_hours_unless_others_are_given(file: Path, says: str) -> None:
    assert deployment(file, says).policy.quiet_hours == {Channel.SMS: (8, 21), Channel.CALL: (8, 21)}


def test_to_name_one_channel_leaves_the_legal_hours_of_the_others(file: Path) -> None:
    given = deployment(file, "[policy]\nquiet_hours = {sms = [9, 20], push = [0, 24]}").policy.quiet_hours
    assert given == {Channel.SMS: (9, 20), Channel.CALL: (8, 21), Channel.PUSH: (0, 24)}


def test_the_same_rules_have_the_same_version_however_they_are_written(file: Path) -> None:
    one = deployment(file, '[policy.weekdays]\ncall = ["mon", "tue"]\n[policy.quiet_hours]\nsms = [8, 21]').policy
    same = deployment(file, '[policy.weekdays]\ncall = ["tue", "mon", "tue"]').policy
    other = deployment(file, '[policy.weekdays]\ncall = ["tue"]').policy
    assert one.version == same.version
    assert one.version != other.version


def test_a_zone_and_a_language_are_taken(file: Path) -> None:
    given = deployment(file, 'default_time_zone = "Europe/Berlin"\ndefault_locale = "zh-Hant-TW"')
    assert (given.default_time_zone, given.default_locale) == ("Europe/Berlin", "zh-Hant-TW")


@pytest.mark.parametrize("url", ["http://journeys.example.com", "http://10.0.0.7:8000", "http://127.0.0.1.example.com"])
def test_links_that_act_for_a_customer_go_over_https(file: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("JOURNEYS_PUBLIC_URL", url)
    with pytest.raises(ConfigurationError, match=r"JOURNEYS_PUBLIC_URL: must be https.*RFC 8058"):
        settings.load()


@pytest.mark.parametrize("url", ["https://j.example.com", "http://127.0.0.1:8000", "http://localhost:8000"])
def test_a_safe_address_is_taken(file: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("JOURNEYS_PUBLIC_URL", url)
    assert settings.load().base == url
