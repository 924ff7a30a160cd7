"""The call centre: our request, signed as Standard Webhooks says, asks it to ring the customer.

What a call centre has to speak, at the one address it gives us:

- ``POST {url}`` with the order (`_order`). 2xx: taken. 409: an order of this ``id`` was taken before;
  it must not ring anybody a second time. 429, with Retry-After: not taken, to be ordered again later.
- ``GET {url}/{id}``, whether an order was taken: 200 and ``{"id": …, "status": "accepted"}``, or how the
  call ended (`RESULTS`) in the place of ``accepted``; 404 and ``{"id": …, "status": "unknown"}`` for one
  that was not. Any other answer, such as the 404 of a server that does not know the path, says nothing.

Both carry ``webhook-id`` (our id), ``webhook-timestamp`` and ``webhook-signature`` (of the empty body, for
GET). How a call ended comes back to ``/webhooks/call-centre``, signed with the same secret.
"""

import base64
import json
from datetime import UTC, datetime
from typing import Annotated

import httpx
from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from standardwebhooks import Webhook

from channels.http import BaseUrl, exchange, json_object
from channels.protocol import (
    Absent,
    CannotTell,
    Finding,
    Found,
    NotProcessed,
    Receipt,
    Refused,
    Search,
    Uncertain,
    cannot_tell,
)
from domain.messages import CallContent, Letter, Status

ALREADY_TAKEN = "http_409"
NEVER_TAKEN = "never_taken"

RESULTS = {
    "answered": Status.READ,
    "declined": Status.DELIVERED,
    "no_answer": Status.FAILED,
    "busy": Status.FAILED,
    "wrong_number": Status.FAILED,
}
"""How a call ended. Who answered has heard it; who declined has seen us ring."""

WRONG_NUMBER = "wrong_number"
"""The result after which the number is not called again."""


def signing_secret(value: SecretStr) -> SecretStr:
    """Check that a secret is one of Standard Webhooks."""
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
    secret: Annotated[SecretStr, AfterValidator(signing_secret)]


class CallCentre:
    """Calls by people. A second request with the same id rings nobody again."""

    provider = "call_centre"
    replaces = False

    def __init__(self, settings: CallCentreSettings, client: httpx.AsyncClient) -> None:
        self._url = settings.url
        self._signature = Webhook(settings.secret.get_secret_value())
        self._client = client

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`. Doubt counts as called: ringing twice is worse than not at all."""
        assert isinstance(letter.content, CallContent)
        our_id = str(letter.message_id)
        body = json.dumps(_order(letter, letter.content), ensure_ascii=False)
        request = self._client.build_request(
            "POST",
            self._url,
            content=body.encode(),
            headers={"Content-Type": "application/json", **self._signed(our_id, body)},
        )
        try:
            await exchange(self._client, request, _refusal)
        except Refused as refused:
            if refused.code != ALREADY_TAKEN:
                raise
        return Receipt(provider_id=our_id)

    async def find(self, search: Search) -> Finding:
        """See `ChannelPort.find`."""
        our_id = str(search.letter.message_id)
        request = self._client.build_request("GET", f"{self._url}/{our_id}", headers=self._signed(our_id, ""))
        try:
            answer = json_object(await exchange(self._client, request, _refusal_to_tell))
        except (Refused, NotProcessed, Uncertain) as error:
            return Absent() if error.code == NEVER_TAKEN else cannot_tell(error)
        said = str(answer.get("status"))
        if answer.get("id") != our_id or said not in ("accepted", *RESULTS):
            return CannotTell("unreadable_answer")
        status = RESULTS.get(said, Status.ACCEPTED)
        refusal = Refused(said, recipient_is_dead=said == WRONG_NUMBER) if status is Status.FAILED else None
        return Found(our_id, status, refusal)

    def _signed(self, our_id: str, body: str) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "webhook-id": our_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signature.sign(our_id, now, body),
        }


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


def _refusal_to_tell(response: httpx.Response) -> Refused:
    """Only who names the order and calls it unknown says that it was never taken."""
    answer = json_object(response)
    asked_for = response.request.url.path.rpartition("/")[2]
    never_taken = answer.get("id") == asked_for and answer.get("status") == "unknown"
    return Refused(NEVER_TAKEN) if never_taken and response.status_code == 404 else _refusal(response)
