"""Enters what operators do over HTTP in the audit log: before it is done, and what was answered.

An entry names the key, the operation and the path's parameters, the customer by our number. Nothing of a body is in
it but what an operation itself adds as a fact.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from starlette.types import Scope

from store import audit, customers
from store.customers import Identity
from store.database import AWAY, Connection, Pool
from store.keys import Key
from store.rejected import UNSTORABLE

log = structlog.get_logger()

HARMLESS = {"GET", "HEAD"}
"""Methods that change nothing (RFC 9110, 9.2.1)."""

_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,99}")
_NUMBER = re.compile(r"\d{1,19}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass
class Entry:
    """An entry that has no answer yet.

    Attributes:
        number: None if the request is none that is entered.
        facts: What the operation adds: numbers and settings, never what somebody wrote.
    """

    number: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def entry(request: Request) -> Entry:
    """The entry of a request, to which its operation may add facts."""
    if not hasattr(request.state, "audit"):
        request.state.audit = Entry()
    found: Entry = request.state.audit
    return found


Audited = Annotated[Entry, Depends(entry)]


async def enter(request: Request, key: Key) -> None:
    """Enter what a key is about to do.

    Raises:
        OSError, asyncpg.PostgresError: It cannot be entered, so it must not be done.
    """
    async with _pool(request.scope).acquire() as connection:
        subject = {
            name: value for each in request.path_params.items() for name, value in [await _named(connection, *each)]
        }
        action = request.scope["route"].name
        entry(request).number = await audit.begin(connection, key.name, action, subject)


async def answered(scope: Scope, status: int) -> None:
    """Enter what is answered to a request, if it was entered."""
    found: Entry | None = scope.get("state", {}).get("audit")
    if found is None or found.number is None:
        return
    number, found.number = found.number, None
    try:
        async with _pool(scope).acquire() as connection:
            await audit.answer(connection, number, str(status), found.facts)
    except AWAY as error:
        # It is done. That its answer is missing can be seen in the log.
        log.error("an answer is missing in the audit log", entry=number, status=status, error=type(error).__name__)


def _pool(scope: Scope) -> Pool:
    """Connections for nothing but entries: they never wait for requests that wait for them."""
    pool: Pool = scope["app"].state.context.audit_pool
    return pool


async def _named(connection: Connection, name: str, value: str) -> tuple[str, Any]:
    """Return a parameter of the path as it may be kept for ever."""
    if name == "user_id":
        return "customer", await _customer(connection, value) or "unknown"
    if _NUMBER.fullmatch(value):
        return name, int(value)
    return name, value if _NAME.fullmatch(value) or _UUID.fullmatch(value) else "unknown"


async def _customer(connection: Connection, user_id: str) -> int | None:
    identities: list[Identity] = [("user", user_id), ("anonymous", user_id)]
    try:
        found = await customers.find(connection, identities)
    except UNSTORABLE:
        # No id that PostgreSQL cannot hold means anybody; the operation refuses it.
        return None
    return next((found[each] for each in identities if each in found), None)
