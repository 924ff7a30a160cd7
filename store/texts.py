"""Texts written without a release: drafts, what is published, what was."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from domain.messages import Channel
from store.database import Connection

TEXT_LOCKS = 2
"""First half of the advisory locks under which versions of one text are numbered and published."""


@dataclass(frozen=True)
class Name:
    """What a text is found by.

    Attributes:
        template: ``group/name``.
        edition: The month it is for, ``2026-12``; "" for always.
    """

    template: str
    channel: Channel
    locale: str
    edition: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.template, self.channel, self.locale, self.edition


@dataclass(frozen=True)
class Version:
    """A version of a text; times are wall time.

    Attributes:
        status: draft, published, or retired.
    """

    number: int
    source: str
    status: str
    note: str | None
    created_by: str
    created_at: datetime
    published_by: str | None
    published_at: datetime | None
    retired_by: str | None
    retired_at: datetime | None


_COLUMNS = "number, source, status, note, created_by, created_at, published_by, published_at, retired_by, retired_at"
_NAMED = "template = $1 and channel = $2 and locale = $3 and edition = $4"
_KEPT = "(status = 'draft' or published_at is not null)"
"""All but discarded drafts, of which only the number is left: no other version gets it."""


async def published(
    connection: Connection, template: str, channel: Channel, locales: Sequence[str], edition: str
) -> dict[str, str]:
    """Return the sources of the published texts in some languages, by language."""
    rows = await connection.fetch(
        """
        select locale, source from texts
        where template = $1 and channel = $2 and locale = any($3) and edition = $4 and status = 'published'
        """,
        template,
        channel,
        list(locales),
        edition,
    )
    return {row["locale"]: row["source"] for row in rows}


async def lock(connection: Connection, name: Name) -> None:
    """Let one transaction at a time change the versions of a text."""
    await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", TEXT_LOCKS, "|".join(name.key))


async def draft(connection: Connection, name: Name, source: str, note: str | None, by: str) -> Version:
    """Keep a new version that is not used yet; the text must be locked."""
    row = await connection.fetchrow(
        f"""
        insert into texts (template, channel, locale, edition, number, source, status, note, created_by)
        select $1, $2, $3, $4, coalesce(max(number), 0) + 1, $5, 'draft', $6, $7 from texts where {_NAMED}
        returning {_COLUMNS}
        """,
        *name.key,
        source,
        note,
        by,
    )
    assert row is not None
    return Version(*row.values())


async def versions(connection: Connection, name: Name) -> list[Version]:
    """Return every version of a text, the newest first."""
    rows = await connection.fetch(
        f"select {_COLUMNS} from texts where {_NAMED} and {_KEPT} order by number desc", *name.key
    )
    return [Version(*row.values()) for row in rows]


async def version(connection: Connection, name: Name, number: int) -> Version | None:
    """Return one version of a text."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from texts where {_NAMED} and number = $5 and {_KEPT}", *name.key, number
    )
    return Version(*row.values()) if row else None


async def publish(connection: Connection, name: Name, number: int, by: str) -> None:
    """Let a version be used from the next send on, instead of the one before; the text must be locked.

    What it replaced when it was first published is what there is to go back to.
    """
    replaced = await retire(connection, name, by)
    await connection.execute(
        f"""
        update texts set status = 'published', published_by = $6, published_at = clock_timestamp(), retired_at = null,
                         retired_by = null, replaced = case when published_at is null then $7 else replaced end
        where {_NAMED} and number = $5
        """,
        *name.key,
        number,
        by,
        replaced,
    )


async def retire(connection: Connection, name: Name, by: str) -> int | None:
    """Let the published version be used no more, and return its number; the text must be locked."""
    number: int | None = await connection.fetchval(
        f"""
        update texts set status = 'retired', retired_by = $5, retired_at = clock_timestamp()
        where {_NAMED} and status = 'published' returning number
        """,
        *name.key,
        by,
    )
    return number


async def published_before(connection: Connection, name: Name) -> int | None:
    """Return the version that was in use before the published one; None: the file of the release was."""
    number: int | None = await connection.fetchval(
        f"select replaced from texts where {_NAMED} and status = 'published'", *name.key
    )
    return number


async def discard(connection: Connection, name: Name, number: int) -> bool:
    """Forget a draft; False if there is no such draft."""
    done: str = await connection.execute(
        f"update texts set status = 'retired', source = '', note = null where {_NAMED} and number = $5 "
        "and status = 'draft'",
        *name.key,
        number,
    )
    return done != "UPDATE 0"


async def written(connection: Connection) -> list[asyncpg.Record]:
    """Return every text that has versions, with the published one and how many drafts wait."""
    rows: list[asyncpg.Record] = await connection.fetch(
        f"""
        select template, channel, locale, edition, max(number) as newest,
               max(number) filter (where status = 'published') as published,
               count(*) filter (where status = 'draft') as drafts
        from texts where {_KEPT} group by template, channel, locale, edition order by template, channel, locale, edition
        """
    )
    return rows


async def traits_seen(connection: Connection, names: Sequence[str]) -> set[str]:
    """Return which of some traits any of the customers seen last have."""
    rows = await connection.fetch(
        """
        select distinct name from unnest($1::text[]) as name
        where exists (select from (select traits from customers order by id desc limit 10000) c where c.traits ? name)
        """,
        list(names),
    )
    return {row["name"] for row in rows}
