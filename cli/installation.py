"""The running installation as the commands see it: its HTTP interface, and nothing behind it."""

import asyncio
import contextlib
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel

from domain.calls import Rejection
from domain.clock import Clock

UP = Path("var/up")
"""Data directory of `journeys up`, unless it is told otherwise."""

_PATIENCE = 60.0
"""Wall seconds for which sending goes on against an installation that cannot take events now."""

_TIMEOUT = httpx.Timeout(20)


class NoInstallation(Exception):
    """Nobody said which installation is meant; the message says how to."""


class Refused(Exception):
    """The installation does not do what was asked, or does not answer; the message is one line."""


@dataclass(frozen=True)
class Access:
    """Where an installation is and with which keys.

    Attributes:
        url: Base address of the API.
        operator_key: Bearer key; empty if the command only sends events.
        write_key: Key with which a backend sends events; empty if the command sends none.
    """

    url: str
    operator_key: str = field(repr=False)
    write_key: str = field(default="", repr=False)


class BatchAnswer(BaseModel, frozen=True):
    """What became of a batch.

    Attributes:
        repeated: It had to be sent more than once, so a duplicate may be our own.
    """

    accepted: int
    duplicate: int
    rejected: list[Rejection]
    repeated: bool = False


def find_access(url: str | None = None) -> Access:
    """Return the installation the environment names, or the one `journeys up` runs here.

    Args:
        url: In place of `JOURNEYS_URL`.

    Raises:
        NoInstallation: There is neither.
    """
    if url := url or os.environ.get("JOURNEYS_URL"):
        key = os.environ.get("JOURNEYS_OPERATOR_KEY", "")
        if not key:
            raise NoInstallation(f"JOURNEYS_OPERATOR_KEY must be set: the key with which {url} is spoken to")
        return Access(url.rstrip("/"), key, os.environ.get("JOURNEYS_WRITE_KEY", ""))
    return _running_here(UP)


def _running_here(data: Path) -> Access:
    nothing = NoInstallation(
        "No installation to speak to: set JOURNEYS_URL and JOURNEYS_OPERATOR_KEY, or start one here with `journeys up`"
    )
    try:
        # Production images have this command without the embedded wheels.
        from cli.stack import StackError, secrets
        from cli.stack.running import api_url
    except ModuleNotFoundError:
        raise nothing from None
    try:
        url, known = api_url(data), secrets.load(data / "secrets.json")
    except StackError as error:
        raise NoInstallation(str(error)) from None
    if url is None or known is None:
        raise nothing
    return Access(url, known.operator_key, known.write_key)


class Installation:
    """The HTTP interface of an installation; use it with `open_installation`."""

    def __init__(self, access: Access, client: httpx.AsyncClient) -> None:
        self._access = access
        self._client = client

    @property
    def url(self) -> str:
        """Base address of the API."""
        return self._access.url

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON found at a path; parameters that are None are left out.

        Raises:
            Refused: With the API's own words.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        return await self._ask("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Post JSON and return the JSON of the answer.

        Raises:
            Refused: With the API's own words.
        """
        return await self._ask("POST", path, json=body)

    async def file(self, path: str, **parameters: Any) -> tuple[bytes, Mapping[str, str]]:
        """Post a question and return the file that answers it, with the headers of the answer.

        Raises:
            Refused: With the API's own words, or because it did not arrive whole.
        """
        answer = await self._request("POST", path, params=parameters)
        digest = b64encode(sha256(answer.content).digest()).decode()
        if answer.headers.get("Content-Digest") != f"sha-256=:{digest}:":
            raise Refused("the file did not arrive whole; ask again")
        return answer.content, answer.headers

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Put JSON and return the JSON of the answer.

        Raises:
            Refused: With the API's own words.
        """
        return await self._ask("PUT", path, json=body)

    async def delete(self, path: str) -> None:
        """Delete what is found at a path.

        Raises:
            Refused: With the API's own words.
        """
        await self._ask("DELETE", path)

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """Yield what is found at a path, piece by piece.

        Raises:
            Refused: With the API's own words, or because it broke off.
        """
        headers = {"Authorization": f"Bearer {self._access.operator_key}"}
        try:
            async with self._client.stream("GET", path, headers=headers) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise Refused(_said(answer))
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.TransportError as error:
            raise Refused(f"{self.url} does not answer ({type(error).__name__})") from None

    async def clock(self) -> Clock:
        """Return the customers' time there."""
        time = await self.get("/v1/time")
        return Clock(origin=time["origin"], speed=time["speed"])

    async def send(self, kind: str, call: Mapping[str, Any]) -> None:
        """Send one call as a backend would: ``identify``, ``track`` and so on.

        Raises:
            Refused: It was not accepted.
        """
        await self._send(f"/v1/{kind}", call)

    async def send_batch(self, calls: Sequence[Mapping[str, Any]]) -> BatchAnswer:
        """Send several calls at once, in order.

        Raises:
            Refused: The batch as a whole was not accepted.
        """
        answer, attempts = await self._send("/v1/batch", {"batch": calls})
        return BatchAnswer(**answer, repeated=attempts > 1)

    async def _send(self, path: str, body: Mapping[str, Any]) -> tuple[Any, int]:
        """Send until it is answered; nothing is lost while the installation is away for a moment."""
        if not self._access.write_key:
            raise Refused("JOURNEYS_WRITE_KEY must be set: the key with which events are sent")
        loop = asyncio.get_running_loop()
        deadline, attempts = loop.time() + _PATIENCE, 0
        while True:
            attempts += 1
            pause, wrong = 1.0, ""
            try:
                answer = await self._client.post(path, json=body, auth=(self._access.write_key, ""))
            except httpx.TransportError as error:
                wrong = f"{self.url} does not answer ({type(error).__name__})"
            else:
                if answer.is_success:
                    return answer.json(), attempts
                wrong = _said(answer)
                if answer.status_code not in (429, 503):
                    raise Refused(wrong)
                with contextlib.suppress(ValueError):
                    pause = float(answer.headers.get("Retry-After", pause))
            if loop.time() + pause > deadline:
                raise Refused(wrong)
            await asyncio.sleep(pause)

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        answer = await self._request(method, path, **request)
        return answer.json() if answer.content else None

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._access.operator_key}"}
        try:
            answer = await self._client.request(method, path, headers=headers, **request)
        except httpx.TransportError as error:
            raise Refused(f"{self.url} does not answer ({type(error).__name__})") from None
        if not answer.is_success:
            raise Refused(_said(answer))
        return answer


@contextlib.asynccontextmanager
async def open_installation(access: Access) -> AsyncIterator[Installation]:
    """Open the connections to an installation.

    Raises:
        NoInstallation: Its address is none.
    """
    if not access.url.startswith(("http://", "https://")):
        raise NoInstallation("the address of the installation must begin with http:// or https://")
    # What runs on this machine is not reached through a proxy.
    proxies = not access.url.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient(base_url=access.url, timeout=_TIMEOUT, trust_env=proxies) as client:
        yield Installation(access, client)


def _said(answer: httpx.Response) -> str:
    """Return the API's own words for why not."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"the API answered {answer.status_code} to {answer.request.url.path}"
