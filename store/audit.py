"""The audit log: who did what as an operator or an administrator, and what came of it.

An entry is committed before its action is begun, or together with it, so nothing is done without one; what was
answered is a row of its own, because rows are never changed. PostgreSQL refuses to change or remove either.

Nothing in it may have to be erased with a customer: subjects are numbers and names of ours, details are facts and
settings, never what somebody wrote.
"""

import os
import pwd
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from store.database import Connection

DONE = "done"
"""Answer to what was carried out in one transaction with its entry."""


def operating_system_user() -> str:
    """Return the actor of what is done by command on the database itself, as the operating system knows them."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # Containers may run as a user that has no name.
        name = str(os.getuid())
    return f"cli:{name}"


async def begin(
    connection: Connection,
    actor: str,
    action: str,
    subject: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Enter what somebody is about to do, and return the entry's number.

    Args:
        actor: Name of the key, or `operating_system_user`.
        action: Operation of the API, or command.
        subject: What it is done to: ``{"customer": 17}``.
        detail: How: ``{"overlap": "1 day"}``.
    """
    number: int = await connection.fetchval(
        "insert into audit (actor, action, subject, detail) values ($1, $2, $3, $4) returning id",
        actor,
        action,
        dict(subject or {}),
        dict(detail or {}),
    )
    return number


async def answer(connection: Connection, entry: int, answer: str, detail: Mapping[str, Any] | None = None) -> None:
    """Enter what came of an entry's action: the status of the HTTP answer, or `DONE`."""
    await connection.execute(
        "insert into audit_answers (audit_id, answer, detail) values ($1, $2, $3)", entry, answer, dict(detail or {})
    )


async def record(
    connection: Connection,
    actor: str,
    action: str,
    subject: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Enter what is done in the same transaction."""
    await answer(connection, await begin(connection, actor, action, subject, detail), DONE)


async def record_once(
    connection: Connection,
    actor: str,
    action: str,
    subject: Mapping[str, Any],
    update: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Enter what was done under an id of Temporal's, unless that has been entered."""
    known = await connection.fetchval(
        "select 1 from audit where subject @> $1 and detail @> jsonb_build_object('update', $2::text)",
        dict(subject),
        update,
    )
    if not known:
        await record(connection, actor, action, subject, {**(detail or {}), "update": update})


async def page(
    connection: Connection,
    *,
    actor: str | None = None,
    action: str | None = None,
    customer: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[asyncpg.Record]:
    """Return entries with their answers, the newest first.

    Args:
        customer: Only what was done to a customer, by our number.
        since: Only from then on, wall time.
        until: Only before then, wall time.
        before: Only what is older than this entry.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select a.id, a.at, a.actor, a.action, a.subject, a.detail || coalesce(r.detail, '{}') as detail,
               r.answer, r.at as answered_at
        from audit a left join audit_answers r on r.audit_id = a.id
        where ($1::text is null or a.actor = $1)
          and ($2::text is null or a.action = $2)
          and ($3::bigint is null or a.subject @> jsonb_build_object('customer', $3)
               or a.id in (select audit_id from audit_answers where detail @> jsonb_build_object('customer', $3)))
          and ($4::timestamptz is null or a.at >= $4)
          and ($5::timestamptz is null or a.at < $5)
          and ($6::bigint is null or a.id < $6)
        order by a.id desc limit $7
        """,
        actor,
        action,
        customer,
        since,
        until,
        before,
        limit,
    )
    return rows
