"""Bad luck on demand: what goes wrong on the wire between the product and a provider."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sandbox.ledger import ASKED_AT, Provider
from sandbox.server import hang_up

FaultKind = Literal[
    "timeout",  # no effect, and no answer for `seconds`, then a reset
    "timeout_after_accept",  # the effect happens, the answer comes after `seconds`
    "reset_after_accept",  # the effect happens, then the connection is reset
    "connection_reset",  # the connection is reset, no effect
    "status_429",  # refused, no effect; `retry_after` is told
    "status_500",
    "status_503",
    "status_500_after_accept",  # the effect happens, the answer says it did not
    "status_503_after_accept",
    "slow",  # the provider takes `seconds` before it acts and answers
]


Operation = Literal["send", "lookup"]
# What a call is for: a message, or to hear what became of one.


class Fault(BaseModel):
    """A fault for the next `times` calls to a provider about an address ('*': any)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider
    address: str = "*"
    kind: FaultKind
    operation: Operation = "send"
    times: int = Field(1, ge=1)
    retry_after: int = Field(1, ge=0, description="seconds a refused client is told to wait")
    seconds: float = Field(60, ge=0, description="how long an answer is held, real seconds")


class ProviderError(Exception):
    """A provider's refusal, with the answer in the provider's own shape."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class ConnectionReset(Exception):
    """The connection is gone; there is nobody to answer."""


# Given the status and the seconds to wait, the refusal as this provider words it.
Refuse = Callable[[int, int], ProviderError]


class Faults:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, fault: Fault) -> None:
        with self._connection:
            self._connection.execute(
                "insert into faults (provider, address, left, record) values (?, ?, ?, ?)",
                (fault.provider, fault.address, fault.times, fault.model_dump_json()),
            )

    def left(self) -> list[Fault]:
        rows = self._connection.execute("select record, left from faults where left > 0 order by id")
        return [Fault.model_validate_json(record).model_copy(update={"times": left}) for record, left in rows]

    def clear(self) -> None:
        with self._connection:
            self._connection.execute("delete from faults")

    def struck(self) -> dict[FaultKind, int]:
        """How many calls each kind has struck, cleared faults included."""
        return dict(self._connection.execute("select kind, calls from struck order by kind").fetchall())

    @asynccontextmanager
    async def around(
        self,
        provider: Provider,
        addresses: Sequence[str],
        request: Request,
        refuse: Refuse,
        operation: Operation = "send",
    ) -> AsyncIterator[None]:
        """Put the effect inside: faults that prevent it strike before, the others after.

        Raises:
            ProviderError: the fault is a refusal, before the effect or after it.
            ConnectionReset: the fault hung up, before the effect or after it.
        """
        ASKED_AT.set(time.time())
        fault = self._take(provider, operation, addresses)
        match fault:
            case Fault(kind="status_429" | "status_500" | "status_503"):
                raise refuse(_status(fault), fault.retry_after)
            case Fault(kind="timeout"):
                await _hold(request, fault.seconds)
                hang_up(request)
                raise ConnectionReset
            case Fault(kind="connection_reset"):
                hang_up(request)
                raise ConnectionReset
            case Fault(kind="slow"):
                await asyncio.sleep(fault.seconds)
        yield
        match fault:
            case Fault(kind="timeout_after_accept"):
                await _hold(request, fault.seconds)
            case Fault(kind="reset_after_accept"):
                hang_up(request)
                raise ConnectionReset
            case Fault(kind="status_500_after_accept" | "status_503_after_accept"):
                raise refuse(_status(fault), fault.retry_after)

    def _take(self, provider: Provider, operation: Operation, addresses: Sequence[str]) -> Fault | None:
        marks = ", ".join("?" for _ in addresses)
        with self._connection:
            row = self._connection.execute(
                f"""update faults set left = left - 1 where id =
                (select id from faults where provider = ? and left > 0
                 and coalesce(json_extract(record, '$.operation'), 'send') = ?
                 and address in ('*', {marks}) order by id limit 1) returning record""",
                (provider, operation, *addresses),
            ).fetchone()
            if row is None:
                return None
            fault = Fault.model_validate_json(row[0])
            self._connection.execute(
                "insert into struck values (?, 1) on conflict do update set calls = calls + 1", (fault.kind,)
            )
        return fault


def _status(fault: Fault) -> int:
    return int(fault.kind.split("_")[1])


async def _hold(request: Request, seconds: float) -> None:
    """Keep a client that has sent everything waiting, until it hangs up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await request.receive()
