"""All channels with a provider, opened from the environment. The inbox has none: it is our own table."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from channels.call_centre import CallCentre, CallCentreSettings
from channels.fcm import Fcm, FcmSettings
from channels.http import open_client
from channels.protocol import ChannelPort
from channels.sendgrid import SendGrid, SendGridSettings
from channels.twilio import Twilio, TwilioSettings, TwilioSms, TwilioWhatsApp
from channels.twilio_voice import CallSettings, TwilioVoice, TwilioVoiceSettings
from channels.web_push import WebPush, WebPushSettings
from domain.messages import Channel


class ChannelsNotConfigured(ValueError):
    """Names every environment variable that is missing or wrong, never a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("channels cannot be opened: " + "; ".join(problems))
        self.problems = problems


@asynccontextmanager
async def open_channels(public_url: str) -> AsyncIterator[dict[Channel, ChannelPort]]:
    """Open every channel that has a provider, over one shared HTTP client.

    Args:
        public_url: Public base address of our API, where Twilio sends its callbacks.

    Raises:
        ChannelsNotConfigured: A variable is missing or wrong; all of them are named at once.
    """
    check(SendGridSettings, TwilioSettings, FcmSettings, WebPushSettings, CallSettings, _settings_of_calls())
    async with open_client() as client:
        twilio = Twilio(TwilioSettings(), client, public_url)
        yield {
            Channel.EMAIL: SendGrid(SendGridSettings(), client),
            Channel.SMS: TwilioSms(twilio),
            Channel.WHATSAPP: TwilioWhatsApp(twilio),
            Channel.PUSH: Fcm(FcmSettings(), client),
            Channel.WEB_PUSH: WebPush(WebPushSettings(), client),
            Channel.CALL: (
                TwilioVoice(TwilioVoiceSettings(), twilio, public_url)
                if CallSettings().provider == "twilio"
                else CallCentre(CallCentreSettings(), client)
            ),
        }


def _settings_of_calls() -> type[BaseSettings]:
    return TwilioVoiceSettings if os.environ.get("CALL_PROVIDER") == "twilio" else CallCentreSettings


def check(*models: type[BaseSettings]) -> None:
    """Read settings from the environment, and tell all that is wrong at once.

    Raises:
        ChannelsNotConfigured: A variable is missing or wrong.
    """
    problems: list[str] = []
    for model in models:
        try:
            model()
        except ValidationError as error:
            prefix = model.model_config.get("env_prefix", "")
            problems += [
                _variable(prefix, str(detail["loc"][0]))
                + (" is missing" if detail["type"] == "missing" else f": {detail['msg']}")
                for detail in error.errors(include_input=False, include_context=False, include_url=False)
            ]
    if problems:
        raise ChannelsNotConfigured(problems)


def _variable(prefix: str, field: str) -> str:
    """Return the environment variable of a setting; one that has a name of its own is told by it."""
    return (field if field.startswith(prefix) else f"{prefix}{field}").upper()
