"""All channels with a provider, opened from the environment. The inbox has none: it is our own table."""

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
    check(SendGridSettings, TwilioSettings, FcmSettings, CallCentreSettings)
    async with open_client() as client:
        twilio = Twilio(TwilioSettings(), client, public_url)
        yield {
            Channel.EMAIL: SendGrid(SendGridSettings(), client),
            Channel.SMS: TwilioSms(twilio),
            Channel.WHATSAPP: TwilioWhatsApp(twilio),
            Channel.PUSH: Fcm(FcmSettings(), client),
            Channel.CALL: CallCentre(CallCentreSettings(), client),
        }


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
                f"{prefix}{detail['loc'][0]}".upper()
                + (" is missing" if detail["type"] == "missing" else f": {detail['msg']}")
                for detail in error.errors(include_input=False, include_context=False, include_url=False)
            ]
    if problems:
        raise ChannelsNotConfigured(problems)
