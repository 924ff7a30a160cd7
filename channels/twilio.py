"""SMS and WhatsApp by Twilio. Its library makes the calls, over our own client.

The library's transports are not used: the asynchronous one ignores its time-out, sends again after
a 5xx, and its errors have lost the headers (Retry-After).
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from twilio.base.exceptions import TwilioException  # type: ignore[import-untyped]
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from channels.http import BaseUrl, exchange, json_object
from channels.protocol import (
    Absent,
    CannotTell,
    Finding,
    Found,
    NotProcessed,
    Price,
    Receipt,
    Refused,
    Review,
    Search,
    SenderBlocked,
    Uncertain,
    cannot_tell,
)
from domain.messages import Letter, SmsContent, Status, WhatsAppContent

OPTED_OUT = frozenset({"21610"})
"""The customer said STOP to this sender, and Twilio keeps it."""

DEAD_RECIPIENT = frozenset(
    {
        "21211",  # not a phone number
        "21614",  # not a mobile number
        "30005",  # unknown handset, or no longer in service
        "30006",  # landline, or a carrier that cannot be reached
        "63003",  # not on WhatsApp
        "63014",  # has blocked us there
    }
)
"""Error codes (twilio.com/docs/api/errors) after which the number is not tried again, until it writes to us."""

BLOCKED_SENDERS = {
    "63018": timedelta(minutes=1),  # its rate limit is met, or WhatsApp's limit for a day
    "63007": timedelta(hours=1),  # Twilio knows no such sender
    "63020": timedelta(hours=6),  # its business account is not in order
    "63051": timedelta(hours=24),  # its business account is restricted
    "63112": timedelta(hours=24),  # Meta has disabled its account
}
"""Error codes that say the sender does not get through, and for how long (wall) nothing is tried from it.

Nobody tells when a block ends: the first message after the while finds out, and if it is still blocked goes out
from another sender; then the while is twice as long (`store.whatsapp.block_sender`). What is said of the message,
such as 63013 (against a policy, an unsupported picture), is no block: the next sender would say the same.
"""

TEMPLATE_STATUSES = {"63040": "rejected", "63041": "paused", "63042": "disabled"}
"""Error codes that say what has become of the template a message was sent by."""

STATUSES = {
    "accepted": Status.ACCEPTED,
    "scheduled": Status.ACCEPTED,
    "queued": Status.ACCEPTED,
    "sending": Status.ACCEPTED,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "undelivered": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
}
"""Twilio's statuses of an outbound message (twilio.com/docs/messaging/api/message-resource)."""

MOST_COMPARED = 1000
"""Messages to one recipient beyond which Twilio's list is not searched."""
PAGE_SIZE = 100

CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much Twilio's clock may be behind ours; its times are whole seconds besides."""

NOT_ABOUT_IT = frozenset(
    {
        "20003",  # the credentials are wrong
        "20005",  # the account is not active
        "20403",  # the account may not
    }
)
"""Error codes that say something of our account, and nothing of what was asked for: a token just replaced fails
no message, and rejects no template."""
NOT_COMPLETE = "20009"
"""Not deleted yet: it is minutes, in rare cases days, after it was sent."""
GONE = "20404"
"""There is no such message, call or template any more."""

SHORTEST_VALIDITY = timedelta(seconds=1)
LONGEST_VALIDITY = timedelta(seconds=36_000)
"""Bounds of Twilio's ValidityPeriod."""


def _numbers(value: str) -> str:
    numbers = [number.strip().removeprefix("whatsapp:") for number in value.split(",")]
    if not all(re.fullmatch(r"\+[1-9]\d{6,14}", number) for number in numbers):
        raise ValueError("must be phone numbers like +14155550123, several with commas between them")
    if len(set(numbers)) < len(numbers):
        raise ValueError("must not name a number twice")
    return ",".join(numbers)


class TwilioSettings(BaseSettings):
    """Environment variables ``TWILIO_…``.

    Attributes:
        sms_from: A phone number in E.164.
        whatsapp_from: One or several of them, with commas between.
    """

    model_config = SettingsConfigDict(env_prefix="TWILIO_", env_ignore_empty=True, hide_input_in_errors=True)

    account_sid: str
    auth_token: SecretStr
    sms_from: str
    whatsapp_from: Annotated[str, AfterValidator(_numbers)]
    base_url: BaseUrl = "https://api.twilio.com"
    content_url: BaseUrl = "https://content.twilio.com"

    @property
    def whatsapp_senders(self) -> tuple[str, ...]:
        """The numbers WhatsApp messages go out from."""
        return tuple(self.whatsapp_from.split(","))


class Twilio:
    """The account both channels send through."""

    def __init__(self, settings: TwilioSettings, client: httpx.AsyncClient, public_url: str) -> None:
        self.settings = settings
        self._client = client
        self._public_url = public_url.rstrip("/")
        self._api = Client(
            settings.account_sid,
            settings.auth_token.get_secret_value(),
            http_client=_Transport(client, settings.base_url),
        )

    @property
    def api(self) -> Client:
        """Twilio's resources, reached through our client."""
        return self._api

    async def create(self, letter: Letter, *, to: str, from_: str, **says: Any) -> Receipt:
        """Send a message; see `ChannelPort.send` for the errors.

        Args:
            says: A `body`, with a `media_url` or without, or a `content_sid` with its `content_variables`.
        """
        message = await self._api.messages.create_async(
            to=to,
            from_=from_,
            status_callback=self._status_callback(letter.message_id),
            **says,
            **_validity(letter.valid_for),
        )
        return Receipt(provider_id=message.sid)

    async def content(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the Content API; see `Templates` for the errors.

        The library is not used for it: it sends a form where JSON is wanted.
        """
        request = self._client.build_request(method, f"{self.settings.content_url}/v1/Content{path}", json=body)
        basic = httpx.BasicAuth(self.settings.account_sid, self.settings.auth_token.get_secret_value())
        return json_object(await _exchange(self._client, request, basic))

    async def find(self, search: Search, *, to: str, from_: str, text: str) -> Finding:
        """Look for a text in Twilio's list, which knows nothing of our id; see `ChannelPort.find`.

        The list is filtered by recipient and sender, not by DateSent, which a message that is still
        queued does not have. Text and time are compared here. Where another message of ours looks the
        same and Twilio has fewer than were handed over, nobody can tell whose it is.
        """
        listed = await listed_by(self._api.messages, to=to, from_=from_)
        if isinstance(listed, CannotTell):
            return listed
        candidates = [
            message for message in listed if str(message.direction).startswith("outbound") and may_be(message, search)
        ]
        same = [message for message in candidates if _is_text(message.body, text)]
        if not same and any(not message.body for message in candidates):
            return CannotTell("text_erased")
        if not same:
            return CannotTell("too_many") if len(listed) == MOST_COMPARED else Absent()
        if len(same) <= search.twins:
            return CannotTell("ambiguous")
        # Twilio lists the newest first.
        return _found(same[-1])

    async def delete(self, sid: str) -> str:
        """Delete a message with its text and its number; see `Eraser.erase`."""
        return await deleted(self._api.messages(sid))

    def _status_callback(self, message_id: UUID) -> str:
        # Twilio signs the whole address, so our id cannot be forged.
        return f"{self._public_url}/webhooks/twilio/status?mid={message_id}"


class TwilioSms:
    """SMS."""

    provider = "twilio"
    replaces = False

    def __init__(self, twilio: Twilio) -> None:
        self._twilio = twilio

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`."""
        assert isinstance(letter.content, SmsContent)
        sender = self._twilio.settings.sms_from
        return await self._twilio.create(letter, to=letter.recipient, from_=sender, body=letter.content.text)

    async def erase(self, subject: str) -> str:
        """See `Eraser.erase`: a message by its SID, whichever channel it went or came by."""
        return await self._twilio.delete(subject)

    async def find(self, search: Search) -> Finding:
        """See `ChannelPort.find`."""
        assert isinstance(search.letter.content, SmsContent)
        sender = self._twilio.settings.sms_from
        return await self._twilio.find(
            search, to=search.letter.recipient, from_=sender, text=search.letter.content.text
        )


class TwilioWhatsApp:
    """WhatsApp: free text within 24 hours of the customer's last message, else a template that was approved."""

    provider = "twilio"
    replaces = False

    def __init__(self, twilio: Twilio) -> None:
        self._twilio = twilio

    @property
    def senders(self) -> tuple[str, ...]:
        """The numbers there are to send from."""
        return self._twilio.settings.whatsapp_senders

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`.

        Raises:
            SenderBlocked: The number it was to go out from does not get through now.
        """
        assert isinstance(letter.content, WhatsAppContent)
        sender = self._sender(letter.content)
        try:
            return await self._twilio.create(
                letter, to=_whatsapp(letter.recipient), from_=_whatsapp(sender), **_says(letter.content)
            )
        except Refused as refused:
            if refused.code in BLOCKED_SENDERS:
                raise SenderBlocked(refused.code, sender=sender, lasts=BLOCKED_SENDERS[refused.code]) from None
            raise

    async def find(self, search: Search) -> Finding:
        """See `ChannelPort.find`."""
        content = search.letter.content
        assert isinstance(content, WhatsAppContent)
        return await self._twilio.find(
            search,
            to=_whatsapp(search.letter.recipient),
            from_=_whatsapp(self._sender(content)),
            text=content.text if content.template else _with_buttons(content),
        )

    async def make(self, name: str, resource: Mapping[str, Any]) -> str:
        """See `Templates.make`."""
        made = await self._twilio.content("POST", "", {"friendly_name": name, **resource})
        if not isinstance(sid := made.get("sid"), str):
            raise Uncertain("unreadable_answer")
        return sid

    async def submit(self, sid: str, name: str, category: str) -> Review:
        """See `Templates.submit`."""
        asked = await self._twilio.content(
            "POST", f"/{sid}/ApprovalRequests/whatsapp", {"name": name, "category": category.upper()}
        )
        return _review(asked) or Review("submitted")

    async def review(self, sid: str) -> Review | None:
        """See `Templates.review`."""
        known = await self._twilio.content("GET", f"/{sid}/ApprovalRequests")
        whatsapp = known.get("whatsapp")
        return _review(whatsapp) if isinstance(whatsapp, dict) else None

    def _sender(self, content: WhatsAppContent) -> str:
        return content.sender or self.senders[0]


def _says(content: WhatsAppContent) -> dict[str, Any]:
    """Return what a message says, in Twilio's parameters."""
    if content.template:
        variables = {"content_variables": json.dumps(content.template.variables, ensure_ascii=False)}
        return {"content_sid": content.template.sid, **(variables if content.template.variables else {})}
    return {"body": _with_buttons(content), **({"media_url": [content.media]} if content.media else {})}


def _with_buttons(content: WhatsAppContent) -> str:
    buttons = [f"{number} — {button.title}" for number, button in enumerate(content.buttons, 1)]
    return "\n".join([content.text, *buttons])


def _review(answer: Mapping[str, Any]) -> Review | None:
    """Read what the Content API says of a review (twilio.com/docs/content/content-api-resources)."""
    status = str(answer.get("status") or "").lower()
    if status in ("", "unsubmitted"):
        return None
    known = {"received": "submitted", "approved": "approved", "rejected": "rejected", "paused": "paused"}
    return Review(
        known.get(status, "disabled" if status == "disabled" else "pending"),
        str(answer["rejection_reason"])[:500] if answer.get("rejection_reason") else None,
    )


def price_of(amount: object, unit: object) -> Price | None:
    """Return what Twilio says it took for a message, without its minus; None while it does not say."""
    try:
        charged = abs(Decimal(str(amount)))
    except InvalidOperation:
        return None
    currency = str(unit or "").upper()
    return Price(charged, currency) if charged.is_finite() and re.fullmatch("[A-Z]{3}", currency) else None


def failure(error_code: str | int | None) -> Refused:
    """Return what a Twilio error code means, from an answer or from a status callback."""
    code = str(error_code or "")
    return Refused(
        code if code.isdecimal() else "unknown",
        recipient_is_dead=code in DEAD_RECIPIENT,
        opted_out=code in OPTED_OUT,
    )


async def listed_by(resource: Any, *, to: str, from_: str) -> list[Any] | CannotTell:
    """Return Twilio's messages or calls between two numbers, the newest first."""
    try:
        listed: list[Any] = await resource.list_async(to=to, from_=from_, limit=MOST_COMPARED, page_size=PAGE_SIZE)
    except (Refused, NotProcessed, Uncertain) as error:
        return cannot_tell(error)
    except (TwilioException, LookupError, TypeError, ValueError):
        return CannotTell("unreadable_answer")
    return listed


def may_be(listed: Any, search: Search) -> bool:
    """Whether a listed message or call may be the one that is looked for, by its id and its time."""
    created: datetime | None = listed.date_created
    return listed.sid not in search.not_these and (created is None or created >= search.since - CLOCKS_DIFFER)


async def deleted(resource: Any) -> str:
    """Delete a message or call at Twilio; see `Eraser.erase`."""
    try:
        await resource.delete_async()
    except Refused as refused:
        if refused.code == NOT_COMPLETE:
            raise NotProcessed(refused.code) from None
        if refused.code == GONE:
            return "gone before"
        raise
    return "deleted"


def _found(message: Any) -> Finding:
    """Read a message of Twilio's list."""
    status = STATUSES.get(str(message.status))
    if status is None or not message.sid:
        return CannotTell("unreadable_answer")
    refusal = failure(message.error_code) if status is Status.FAILED else None
    return Found(message.sid, status, refusal, price_of(message.price, message.price_unit))


def _is_text(listed: str | None, text: str) -> bool:
    """Whether a listed text is ours: Twilio may trim white space, and puts a line before it in a trial account."""
    return " ".join((listed or "").split()).endswith(" ".join(text.split()))


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, auth: httpx.Auth | None) -> httpx.Response:
    """Make one call, see `exchange`; what is wrong with our account may be mended, and nothing was processed."""
    try:
        return await exchange(client, request, _refusal, auth=auth)
    except Refused as refused:
        if refused.code in NOT_ABOUT_IT:
            raise NotProcessed(refused.code) from None
        raise


def _refusal(response: httpx.Response) -> Refused:
    return failure(json_object(response).get("code") or f"{response.status_code}")


def _validity(valid_for: timedelta | None) -> dict[str, int]:
    if valid_for is None:
        return {}
    period = max(SHORTEST_VALIDITY, min(valid_for, LONGEST_VALIDITY))
    return {"validity_period": int(period.total_seconds())}


def _whatsapp(number: str) -> str:
    return f"whatsapp:{number.removeprefix('whatsapp:')}"


class _Transport(AsyncHttpClient):  # type: ignore[misc]
    """Lets Twilio's resource classes speak through our client, to the configured address."""

    def __init__(self, client: httpx.AsyncClient, base_url: str) -> None:
        super().__init__(logging.getLogger("twilio"), True, None)
        self._client = client
        self._base_url = base_url

    async def request(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        parts = urlsplit(url)
        # The next page of a list is a path with a query.
        wanted = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        request = self._client.build_request(method, wanted, params=params or None, data=data, headers=headers)
        basic = httpx.BasicAuth(*auth) if auth else None
        response = await _exchange(self._client, request, basic)
        if method != "DELETE" and not json_object(response):
            raise Uncertain("unreadable_answer")
        return Response(response.status_code, response.text, response.headers)
