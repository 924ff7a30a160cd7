"""Voice calls by Twilio, for those without a call centre: a machine speaks, and whoever presses 1 is connected.

What is said is a text's `spoken`; its `script` is for people. It goes with the request (``Twiml``), so Twilio asks us
for nothing but what to do about a pressed key.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from twilio.twiml.voice_response import Gather, VoiceResponse  # type: ignore[import-untyped]

from channels.protocol import Absent, CannotTell, Finding, Found, Receipt, Refused, Search
from channels.twilio import MOST_COMPARED, Twilio, deleted, listed_by, may_be
from domain.messages import CallContent, Letter, Status

STATUSES = {
    "queued": Status.ACCEPTED,
    "initiated": Status.ACCEPTED,
    "ringing": Status.SENT,
    "in-progress": Status.DELIVERED,
    "completed": Status.DELIVERED,
    "busy": Status.FAILED,
    "no-answer": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
}
"""Twilio's statuses of a call (twilio.com/docs/voice/api/call-resource). That somebody, or something, took it does not
say that a person heard it: that is what `HEARD_BY` says."""

HEARD_BY = frozenset({"human", "unknown"})
"""Answers of the machine detection (twilio.com/docs/voice/answering-machine-detection) that count as a person's: in
doubt it was one, who is not to be bothered again. Others are answering machines and faxes."""

TWIML_LIMIT = 4000
RINGS = timedelta(seconds=30)
"""Before an answering machine takes it, mostly."""
LONGEST_CALL = timedelta(minutes=10)
WAITS_FOR_KEY = timedelta(seconds=6)

CONNECT = "1"
"""The key to press."""

PRESS = {"en": "To talk with us now, press 1.", "ru": "Чтобы поговорить с нами сейчас, нажмите один."}
"""Said after the text, where somebody is there to talk with; in English to speakers of any other language."""

VOICES = {"en": "en-US", "ru": "ru-RU"}
"""A language of ours as Twilio's ``<Say>`` names it."""

Number = Annotated[str, Field(pattern=r"^\+[1-9]\d{6,14}$")]


class CallSettings(BaseSettings):
    """Environment variable ``CALL_PROVIDER``: who makes calls."""

    model_config = SettingsConfigDict(env_prefix="CALL_", env_ignore_empty=True, hide_input_in_errors=True)

    provider: Literal["call_centre", "twilio"] = "call_centre"


class ConnectSettings(BaseSettings):
    """Environment variable ``TWILIO_VOICE_CONNECT_TO``: a number in E.164, of those who take over a call; or nobody."""

    model_config = SettingsConfigDict(env_prefix="TWILIO_VOICE_", env_ignore_empty=True, hide_input_in_errors=True)

    connect_to: Number | None = None


class TwilioVoiceSettings(ConnectSettings):
    """Environment variables ``TWILIO_VOICE_…``; the account is the one of ``TWILIO_…``."""

    from_: Number = Field(validation_alias="TWILIO_VOICE_FROM")


class TwilioVoice:
    """Calls by a machine."""

    provider = "twilio_voice"
    replaces = False

    def __init__(self, settings: TwilioVoiceSettings, twilio: Twilio, public_url: str) -> None:
        self._settings = settings
        self._api = twilio.api
        self._callbacks = f"{public_url.rstrip('/')}/webhooks/twilio/voice"

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`. Doubt counts as called: ringing twice is worse than not at all."""
        assert isinstance(letter.content, CallContent)
        twiml = self._twiml(letter, letter.content)
        if len(twiml) > TWIML_LIMIT:
            raise Refused("twiml_too_long")
        call = await self._api.calls.create_async(
            to=letter.recipient,
            from_=self._settings.from_,
            twiml=twiml,
            timeout=int(RINGS.total_seconds()),
            time_limit=int(LONGEST_CALL.total_seconds()),
            status_callback=self._callback("status", letter),
            status_callback_event=["initiated", "ringing", "answered", "completed"],
            machine_detection="Enable",
            # The text is spoken at once; that a machine took it is told while it is.
            async_amd="true",
            async_amd_status_callback=self._callback("answered-by", letter),
        )
        return Receipt(provider_id=call.sid)

    async def find(self, search: Search) -> Finding:
        """Look for a call in Twilio's list, which knows nothing of our id nor of what was said; see `ChannelPort.find`.

        Any other call of ours to that number since would do as well: then nobody can tell whose it is.
        """
        listed = await listed_by(self._api.calls, to=search.letter.recipient, from_=self._settings.from_)
        if isinstance(listed, CannotTell):
            return listed
        found = [call for call in listed if may_be(call, search)]
        if not found:
            return CannotTell("too_many") if len(listed) == MOST_COMPARED else Absent()
        if len(found) <= search.twins:
            return CannotTell("ambiguous")
        return _found(found[-1])

    async def erase(self, subject: str) -> str:
        """See `Eraser.erase`: a call by its SID."""
        return await deleted(self._api.calls(subject))

    def _twiml(self, letter: Letter, content: CallContent) -> str:
        """Return what Twilio does when somebody takes the call."""
        if not content.spoken:
            raise Refused("nothing_to_say")
        language = letter.locale.split("-")[0]
        voice = VOICES.get(language, letter.locale or "en-US")
        response = VoiceResponse()
        if self._settings.connect_to is None:
            response.say(content.spoken, language=voice)
            return str(response)
        pressed = Gather(
            num_digits=1,
            timeout=int(WAITS_FOR_KEY.total_seconds()),
            action=self._callback("key", letter),
            method="POST",
        )
        pressed.say(content.spoken, language=voice)
        pressed.say(PRESS.get(language, PRESS["en"]), language=voice if language in PRESS else VOICES["en"])
        response.append(pressed)
        return str(response)

    def _callback(self, what: str, letter: Letter) -> str:
        # Twilio signs the whole address, so our id cannot be forged.
        return f"{self._callbacks}/{what}?mid={letter.message_id}"


def connecting(number: str | None) -> str:
    """Return what Twilio does about a pressed key: connects with a number, or hangs up."""
    response = VoiceResponse()
    if number:
        response.dial(number)
    else:
        response.hangup()
    return str(response)


def _found(call: Any) -> Finding:
    """Read a call of Twilio's list, the newest of which come first."""
    status = STATUSES.get(str(call.status))
    if status is None or not call.sid:
        return CannotTell("unreadable_answer")
    return Found(call.sid, status, Refused(str(call.status)) if status is Status.FAILED else None)
