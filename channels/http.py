"""One HTTP call to a provider, and the one classification of what can become of it."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator

from channels.protocol import CALL_TIMEOUT, LEAVES_BY, NotProcessed, Refused, TooLate, Uncertain

TOKEN_TIMEOUT = timedelta(seconds=3)
"""Wall time a channel may spend on getting an access token before its call."""

REQUEST_TIMEOUT = CALL_TIMEOUT - TOKEN_TIMEOUT
"""Wall time of the call itself, from connecting to the last byte of the answer."""

# A free connection, TCP and TLS each have a limit, together below REQUEST_TIMEOUT: whatever still
# reaches that one has written its request.
POOL_TIMEOUT = timedelta(seconds=1)
CONNECT_TIMEOUT = timedelta(seconds=2)

LONGEST_RETRY_AFTER = timedelta(hours=1)
"""Wall time beyond which a provider's wish to wait is not believed."""

TALKATIVE_LOGGERS = ("httpx", "httpcore", "python_http_client", "sendgrid", "twilio", "google")
"""At INFO and DEBUG these write addresses, texts and keys."""

NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
UNSENDABLE = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http(s) address without query or fragment")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""An http(s) address to which paths are added; kept without a slash at its end."""


def open_client(request_timeout: timedelta = REQUEST_TIMEOUT) -> httpx.AsyncClient:
    """Return the client all channels share, and silence what the libraries would log.

    Args:
        request_timeout: Wall time of one whole request, see `exchange`.
    """
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx.AsyncClient(
        timeout=httpx.Timeout(
            request_timeout.total_seconds(),
            connect=CONNECT_TIMEOUT.total_seconds(),
            pool=POOL_TIMEOUT.total_seconds(),
        )
    )


async def exchange(
    client: httpx.AsyncClient,
    request: httpx.Request,
    refusal: Callable[[httpx.Response], Refused],
    auth: httpx.Auth | None = None,
) -> httpx.Response:
    """Make one provider call, once, and return its answer if that is a success (2xx).

    Args:
        client: Its read time-out limits the whole request (httpx itself limits only each read).
        refusal: Reads the provider's code out of an error body, whatever is in that body.

    Raises:
        TooLate: The request was not begun in time.
        NotProcessed: No connection was made, or the provider's rate limit was met (429).
        Uncertain: The answer failed to come, or is a 5xx.
        Refused: Any other answer.
    """
    request.extensions = {**request.extensions, "trace": _begin_in_time}
    try:
        async with asyncio.timeout(client.timeout.read):
            response = await client.send(request, auth=auth)
    # The causes are dropped: they hold the request with its headers.
    except NEVER_SENT as error:
        raise NotProcessed(type(error).__name__) from None
    except UNSENDABLE as error:
        raise Refused(type(error).__name__) from None
    except (httpx.RequestError, TimeoutError) as error:
        raise Uncertain(type(error).__name__) from None
    if response.is_success:
        return response
    if response.is_server_error:
        raise Uncertain(f"http_{response.status_code}")
    refused = refusal(response)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise NotProcessed(refused.code, retry_after=retry_after(response))
    raise refused


async def _begin_in_time(event: str, _: Mapping[str, Any]) -> None:
    """Let no request be written whose time is over; httpcore tells of each step before it takes it."""
    by = LEAVES_BY.get()
    if by is not None and event.endswith("send_request_headers.started") and time.monotonic() > by:
        raise TooLate("too_late")


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a body; empty for anything else, such as a proxy's HTML."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def retry_after(response: httpx.Response) -> timedelta | None:
    """Return how long a provider asks us to wait, in wall time; None if it does not say.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3); SendGrid's X-RateLimit-Reset holds
    seconds since 1970.
    """
    now = datetime.now(UTC)
    asked = response.headers.get("Retry-After", "")
    reset = response.headers.get("X-RateLimit-Reset", "")
    try:
        if asked.isdecimal():
            wait = timedelta(seconds=int(asked))
        elif asked:
            wait = parsedate_to_datetime(asked) - now
        elif reset.isdecimal():
            wait = datetime.fromtimestamp(int(reset), UTC) - now
        else:
            return None
    except (ValueError, OverflowError, OSError, TypeError):
        return None
    return max(timedelta(0), min(wait, LONGEST_RETRY_AFTER))
