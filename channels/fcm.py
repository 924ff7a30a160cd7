"""Push by Firebase Cloud Messaging, HTTP v1; access tokens by google-auth."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
from google.auth import transport
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.oauth2.service_account import Credentials
from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from channels.http import TOKEN_TIMEOUT, BaseUrl, exchange, json_object
from channels.protocol import CannotTell, Finding, NotProcessed, Receipt, Refused, Search
from domain.messages import Letter, PushContent

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
LONGEST_TTL = timedelta(weeks=4)
"""FCM keeps a push for a device that is off no longer than this."""


def _service_account(value: str) -> Credentials:
    """Read a service account from its JSON, or from the file that holds it."""
    text = value.strip()
    try:
        account = json.loads(text if text.startswith("{") else Path(text).read_text())
        credentials: Credentials = Credentials.from_service_account_info(account, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError, AttributeError, GoogleAuthError):
        # Without the cause, which may quote the key.
        raise ValueError("must be a service account's JSON or the path of its file") from None
    if not credentials.project_id:
        raise ValueError("must name its project_id")
    return credentials


class FcmSettings(BaseSettings):
    """Environment variables ``FCM_…``; where tokens come from is in the account's ``token_uri``."""

    model_config = SettingsConfigDict(
        env_prefix="FCM_", env_ignore_empty=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    service_account: Annotated[Credentials, NoDecode, BeforeValidator(_service_account)]
    base_url: BaseUrl = "https://fcm.googleapis.com"


class Fcm:
    """Mobile push. There are no callbacks: the app tells us what it received and opened."""

    provider = "fcm"
    replaces = True

    def __init__(self, settings: FcmSettings, client: httpx.AsyncClient) -> None:
        self._client = client
        self._tokens = _Tokens(settings.service_account)
        project = settings.service_account.project_id
        self._url = f"{settings.base_url}/v1/projects/{project}/messages:send"

    async def send(self, letter: Letter) -> Receipt:
        """See `ChannelPort.send`."""
        assert isinstance(letter.content, PushContent)
        request = self._client.build_request(
            "POST",
            self._url,
            headers={"Authorization": f"Bearer {await self._tokens.current()}"},
            json={"message": _message(letter, letter.content)},
        )
        try:
            response = await exchange(self._client, request, _refusal)
        except Refused as refused:
            if refused.code == "UNAUTHENTICATED":
                # Google takes back a token before its time: the next attempt gets a new one.
                self._tokens.forget()
                raise NotProcessed(refused.code) from None
            raise
        name = json_object(response).get("name")
        return Receipt(provider_id=name if isinstance(name, str) else None)

    async def find(self, search: Search) -> Finding:
        """See `ChannelPort.find`. FCM tells of no message; handed over again, it replaces the first."""
        return CannotTell("no_lookup", later=False)


class _Tokens:
    """The account's access token, fetched when needed by one thread for all who wait."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._fetching: asyncio.Task[None] | None = None

    async def current(self) -> str:
        """Return a token that is still good.

        Raises:
            NotProcessed: Google did not answer within `TOKEN_TIMEOUT`.
            Refused: Google does not accept the account.
        """
        if not self._credentials.valid:
            await self._fetch()
        return str(self._credentials.token)

    def forget(self) -> None:
        self._credentials.token = None

    async def _fetch(self) -> None:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(asyncio.to_thread(self._credentials.refresh, _GoogleCall()))
            # Whoever waited may have left; the failure is told to who comes next.
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT.total_seconds()):
                await asyncio.shield(self._fetching)
        except RefreshError as error:
            if not error.retryable:
                raise Refused("token_refused") from None
            raise NotProcessed("token_unavailable") from None
        except Exception:
            # A time-out, no connection, or an answer google-auth stumbles over: no push has left.
            raise NotProcessed("token_unavailable") from None


@dataclass(frozen=True)
class _GoogleAnswer:
    """What google-auth reads of an answer (`google.auth.transport.Response`)."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class _GoogleCall(transport.Request):
    """google-auth's calls, by httpx and with a time-out."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: object,
    ) -> _GoogleAnswer:
        try:
            answer = httpx.request(method, url, content=body, headers=headers, timeout=TOKEN_TIMEOUT.total_seconds())
        except httpx.RequestError as error:
            raise TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]
        return _GoogleAnswer(answer.status_code, answer.headers, answer.content)


def _message(letter: Letter, content: PushContent) -> dict[str, Any]:
    """Build FCM's message. A second delivery of the same id replaces the first on the device."""
    our_id = str(letter.message_id)
    data = {"message_id": our_id} | ({"link": content.link} if content.link else {})
    android: dict[str, Any] = {"collapse_key": our_id, "notification": {"tag": our_id}}
    apns = {"apns-collapse-id": our_id}
    if letter.valid_for is not None:
        keep = max(timedelta(0), min(letter.valid_for, LONGEST_TTL))
        android["ttl"] = f"{int(keep.total_seconds())}s"
        apns["apns-expiration"] = str(int((datetime.now(UTC) + keep).timestamp()))
    return {
        "token": letter.recipient,
        "notification": {"title": content.title, "body": content.body},
        "data": data,
        "android": android,
        "apns": {"headers": apns},
    }


def _refusal(response: httpx.Response) -> Refused:
    """Name a refusal by FCM's own code where there is one, else by Google's status."""
    error = json_object(response).get("error")
    error = error if isinstance(error, dict) else {}
    details = [detail for detail in error.get("details") or [] if isinstance(detail, dict)]
    named = [*(detail.get("errorCode") for detail in details), error.get("status")]
    code = next((str(name) for name in named if _is_code(name)), f"http_{response.status_code}")
    bad_token = any(
        isinstance(violation, dict) and violation.get("field") == "message.token"
        for detail in details
        for violation in detail.get("fieldViolations") or []
    )
    return Refused(
        code,
        recipient_is_dead=code == "UNREGISTERED" or (code == "INVALID_ARGUMENT" and bad_token),
    )


def _is_code(value: object) -> bool:
    return isinstance(value, str) and value.replace("_", "").isalpha() and value.isupper()
