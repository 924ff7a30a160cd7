"""The call centre: our request, signed as Standard Webhooks says, asks it to ring the customer."""

import base64
import json
from datetime import UTC, datetime
from typing import Annotated

import httpx
from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from standardwebhooks import Webhook

from channels.http import BaseUrl, exchange
from channels.protocol import Receipt, Refused
from domain.messages import CallContent, Letter

ALREADY_TAKEN = "http_409"


def _signing_secret(value: SecretStr) -> SecretStr:
    prefix, _, encoded = value.get_secret_value().partition("_")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError:
        secret = b""
    if prefix != "whsec" or not secret:
        raise ValueError("must be whsec_ and the secret in base64")
    return value


class CallCentreSettings(BaseSettings):
    """Environment variables ``CALL_CENTRE_…``; the secret signs both ways."""

    model_config = SettingsConfigDict(env_prefix="CALL_CENTRE_", env_ignore_empty=True, hide_input_in_errors=True)

    url: BaseUrl
    secret: Annotated[SecretStr, AfterValidator(_signing_secret)]


class CallCentre:
    """Calls by people. A second request with the same id rings nobody again."""

    provider = "call_centre"

    def __init__(self, settings: CallCentreSettings, client: httpx.AsyncClient) -> None:
        self._url = settings.url
        self._signature = Webhook(settings.secret.get_secret_value())
        self._client = client

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`. Doubt counts as called: ringing twice is worse than not at all."""
        assert isinstance(letter.content, CallContent)
        our_id = str(letter.message_id)
        body = json.dumps(_order(letter, letter.content), ensure_ascii=False)
        now = datetime.now(UTC)
        request = self._client.build_request(
            "POST",
            self._url,
            content=body.encode(),
            headers={
                "Content-Type": "application/json",
                "webhook-id": our_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._signature.sign(our_id, now, body),
            },
        )
        try:
            await exchange(self._client, request, _refusal)
        except Refused as refused:
            if refused.code != ALREADY_TAKEN:
                raise
        return Receipt(provider_id=our_id)


def _order(letter: Letter, content: CallContent) -> dict[str, str | None]:
    return {
        "id": str(letter.message_id),
        "phone": letter.recipient,
        "locale": letter.locale,
        "topic": content.topic,
        "script": content.script,
        "name": content.name,
    }


def _refusal(response: httpx.Response) -> Refused:
    return Refused(f"http_{response.status_code}")
