"""The operators' tool: where people of ours read and answer conversations. Told by our webhook, signed.

What a tool has to speak, at the one address it gives us: ``POST`` of JSON with ``type``, ``timestamp`` and
``data``, signed as Standard Webhooks says (``webhook-id``, ``webhook-timestamp``, ``webhook-signature``). The id is
the same whenever the same thing is told again. 2xx: taken. After anything else it is told again, for a day. Answers
come back over HTTP, see `api.conversations`.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import httpx
from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from standardwebhooks import Webhook

from channels.call_centre import signing_secret
from channels.http import BaseUrl, exchange, open_client
from channels.protocol import NotProcessed, Refused
from channels.registry import ChannelsNotConfigured, check
from domain.conversations import Notice


class OperatorsSettings(BaseSettings):
    """Environment variables ``OPERATORS_…``; without both there is no tool, and conversations are read over HTTP."""

    model_config = SettingsConfigDict(env_prefix="OPERATORS_", env_ignore_empty=True, hide_input_in_errors=True)

    url: BaseUrl | None = None
    secret: Annotated[SecretStr, AfterValidator(signing_secret)] | None = None


class Operators:
    """The tool, told one thing at a time."""

    provider = "operators"

    def __init__(self, url: str, secret: SecretStr, client: httpx.AsyncClient) -> None:
        self._url = url
        self._signature = Webhook(secret.get_secret_value())
        self._client = client

    async def tell(self, our_id: str, kind: Notice, at: datetime, data: dict[str, Any]) -> None:
        """Tell one thing; told again under the same id, the tool knows it.

        Args:
            at: When it happened, wall time.

        Raises:
            Refused, NotProcessed, Uncertain: It has not said that it took it.
        """
        body = json.dumps({"type": kind, "timestamp": at.isoformat(), "data": data}, ensure_ascii=False)
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": our_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signature.sign(our_id, now, body),
        }
        request = self._client.build_request("POST", self._url, content=body.encode(), headers=headers)
        await exchange(self._client, request, lambda response: Refused(f"http_{response.status_code}"))

    async def erase(self, subject: str) -> str:
        """See `Eraser.erase`: a conversation by its number."""
        our_id = str(uuid5(NAMESPACE_URL, f"conversation:{subject}:erased"))
        try:
            await self.tell(our_id, Notice.ERASED, datetime.now(UTC), {"conversation": {"id": int(subject)}})
        except Refused as refused:
            raise NotProcessed(refused.code) from None
        return "told to erase it"


@asynccontextmanager
async def open_operators() -> AsyncIterator[Operators | None]:
    """Open the way to the operators' tool; None where there is none.

    Raises:
        ChannelsNotConfigured: Only one of the two variables is set, or one is wrong.
    """
    check(OperatorsSettings)
    settings = OperatorsSettings()
    if settings.url is None or settings.secret is None:
        if settings.url or settings.secret:
            missing = "OPERATORS_URL" if settings.url is None else "OPERATORS_SECRET"
            raise ChannelsNotConfigured([f"{missing} is missing; set both, or neither"])
        yield None
        return
    async with open_client() as client:
        yield Operators(settings.url, settings.secret, client)
