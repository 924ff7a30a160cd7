"""The channels are opened from the environment, all or none."""

import json
from pathlib import Path

import pytest

from channels.registry import ChannelsNotConfigured, open_channels
from domain.messages import OWN, Channel
from tests.channels import letters
from tests.channels.conftest import PUBLIC_URL, taken_by_twilio
from tests.channels.provider import Provider

REQUIRED = (
    "SENDGRID_API_KEY",
    "SENDGRID_FROM_EMAIL",
    "SENDGRID_FROM_NAME",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_SMS_FROM",
    "TWILIO_WHATSAPP_FROM",
    "FCM_SERVICE_ACCOUNT",
    "WEB_PUSH_PRIVATE_KEY",
    "WEB_PUSH_CONTACT",
    "CALL_CENTRE_URL",
    "CALL_CENTRE_SECRET",
)


async def test_every_channel_but_our_own_is_opened(environment: dict[str, str], provider: Provider) -> None:
    provider.respond = taken_by_twilio
    async with open_channels(PUBLIC_URL + "/") as channels:
        assert set(channels) == set(Channel) - OWN
        await channels[Channel.SMS].send(letters.sms())
    assert provider.asked[0].form["StatusCallback"].startswith(f"{PUBLIC_URL}/webhooks/")


async def test_one_error_names_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWILIO_SMS_FROM", "")
    with pytest.raises(ChannelsNotConfigured) as caught:
        async with open_channels(PUBLIC_URL):
            pass
    assert caught.value.problems == [f"{name} is missing" for name in REQUIRED]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENDGRID_BASE_URL", "ftp://that-must-not-show"),
        ("TWILIO_BASE_URL", "https://user:that-must-not-show@api.example"),
        ("CALL_CENTRE_SECRET", "whsec_that-must-not-show"),
        ("CALL_CENTRE_SECRET", "whsec_"),
        ("WEB_PUSH_PRIVATE_KEY", "that-must-not-show"),
        ("WEB_PUSH_PRIVATE_KEY", "A" * 43),
        ("WEB_PUSH_CONTACT", "that-must-not-show"),
        ("WEB_PUSH_SERVICES", "http://that-must-not-show.example"),
        ("WEB_PUSH_SERVICES", "*"),
        ("FCM_SERVICE_ACCOUNT", "that-must-not-show.json"),
        ("FCM_SERVICE_ACCOUNT", '{"private_key": "that-must-not-show"}'),
    ],
)
async def test_a_wrong_value_is_named_but_not_shown(
    name: str, value: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ChannelsNotConfigured, match=f"{name}: .*must") as caught:
        async with open_channels(PUBLIC_URL):
            pass
    assert "that-must-not-show" not in str(caught.value)


async def test_the_service_account_may_be_a_file(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "account.json"
    file.write_text(environment["FCM_SERVICE_ACCOUNT"])
    monkeypatch.setenv("FCM_SERVICE_ACCOUNT", str(file))
    async with open_channels(PUBLIC_URL) as channels:
        assert Channel.PUSH in channels


async def test_a_service_account_without_a_project(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = json.loads(environment["FCM_SERVICE_ACCOUNT"])
    del account["project_id"]
    monkeypatch.setenv("FCM_SERVICE_ACCOUNT", json.dumps(account))
    with pytest.raises(ChannelsNotConfigured, match="project_id"):
        async with open_channels(PUBLIC_URL):
            pass
