"""Email by SendGrid's v3 mail send. Its library builds the message; our own client sends it."""

import re

import httpx
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sendgrid.helpers.mail import (
    ClickTracking,
    CustomArg,
    Email,
    Header,
    Mail,
    OpenTracking,
    Personalization,
    SubscriptionTracking,
    To,
    TrackingSettings,
)

from channels.http import BaseUrl, exchange, json_object
from channels.protocol import CannotTell, Finding, NotProcessed, Receipt, Refused, Search
from domain.messages import EmailContent, Letter

NOT_ACCEPTED = "http_401"
"""The key is wrong, which may be mended: nobody has looked at the letter."""
NOT_ALLOWED = (NOT_ACCEPTED, "http_403")
"""The key may not erase: accounts made before July 2023 must have it enabled by SendGrid."""

RECIPIENT_FIELD = re.compile(r"personalizations(\.0|\[0\])?\.to\b")


class SendGridSettings(BaseSettings):
    """Environment variables ``SENDGRID_…``."""

    model_config = SettingsConfigDict(env_prefix="SENDGRID_", env_ignore_empty=True, hide_input_in_errors=True)

    api_key: SecretStr
    from_email: str
    from_name: str
    base_url: BaseUrl = "https://api.sendgrid.com"


class SendGrid:
    """Email. SendGrid's callbacks return our id as the custom argument ``message_id``."""

    provider = "sendgrid"
    replaces = False

    def __init__(self, settings: SendGridSettings, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = client

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`."""
        assert isinstance(letter.content, EmailContent)
        request = self._client.build_request(
            "POST",
            f"{self._settings.base_url}/v3/mail/send",
            headers={"Authorization": f"Bearer {self._settings.api_key.get_secret_value()}"},
            json=self._mail(letter, letter.content).get(),
        )
        try:
            response = await exchange(self._client, request, _refusal)
        except Refused as refused:
            if refused.code.startswith(NOT_ACCEPTED):
                raise NotProcessed(refused.code) from None
            raise
        return Receipt(provider_id=response.headers.get("X-Message-Id"))

    async def find(self, search: Search) -> Finding:
        """See `ChannelPort.find`. SendGrid tells of single messages only to those who bought its Email Activity."""
        return CannotTell("no_lookup", later=False)

    async def erase(self, subject: str) -> str:
        """See `Eraser.erase`: an address, and all that was sent there (Recipients' Data Erasure API)."""
        request = self._client.build_request(
            "POST",
            f"{self._settings.base_url}/v3/recipients/erasejob",
            headers={"Authorization": f"Bearer {self._settings.api_key.get_secret_value()}"},
            json={"email_addresses": [subject]},
        )
        try:
            job = json_object(await exchange(self._client, request, _refusal)).get("job_id")
        except Refused as refused:
            if refused.code.startswith(NOT_ALLOWED):
                raise NotProcessed(refused.code) from None
            raise
        return f"job {job}" if isinstance(job, str) and re.fullmatch(r"[\w-]{1,100}", job) else "accepted"

    def _mail(self, letter: Letter, content: EmailContent) -> Mail:
        recipient = Personalization()
        # Not by its constructor, which reads "name <address>" out of it and mends what is no address.
        to = To()
        to.email = letter.recipient
        recipient.add_to(to)
        # Here and not at the top level, where SendGrid's own schema takes a string only.
        recipient.add_custom_arg(CustomArg("message_id", str(letter.message_id)))
        if letter.unsubscribe_url is not None:
            # RFC 8058: one click in the mail program, a POST to us.
            recipient.add_header(Header("List-Unsubscribe", f"<{letter.unsubscribe_url}>"))
            recipient.add_header(Header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        mail = Mail(
            from_email=Email(self._settings.from_email, self._settings.from_name),
            subject=content.subject,
            plain_text_content=content.text,
            html_content=content.html,
        )
        mail.add_personalization(recipient)
        # Links are tracked and unsubscribes taken by ourselves; an account's defaults would do it again.
        mail.tracking_settings = TrackingSettings(
            click_tracking=ClickTracking(enable=False, enable_text=False),
            open_tracking=OpenTracking(enable=True),
            subscription_tracking=SubscriptionTracking(enable=False),
        )
        return mail


def _refusal(response: httpx.Response) -> Refused:
    """Name a refusal by HTTP status and the field SendGrid objects to; it has no codes of its own."""
    errors = json_object(response).get("errors")
    fields = [str(error.get("field") or "") for error in errors or [] if isinstance(error, dict)]
    field = next((field for field in fields if re.fullmatch(r"[\w.\[\]-]{1,80}", field)), None)
    return Refused(
        f"http_{response.status_code}" + (f":{field}" if field else ""),
        recipient_is_dead=response.status_code == httpx.codes.BAD_REQUEST
        and any(RECIPIENT_FIELD.match(field) for field in fields),
    )
