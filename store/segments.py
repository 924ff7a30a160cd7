"""Segments as they are defined: their versions, and what all of them mean together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Literal

import asyncpg
import orjson

from segments import form as forms
from segments.condition import check, coded_in
from segments.form import BadForm, Condition
from store.database import Connection

LOCKS = 4
"""First half of the advisory locks of segments."""

DEFINITION_LOCK, LOOK_LOCK = 0, 1
"""Under which one transaction at a time changes what segments mean; and when customers are to be looked at."""

Origin = Literal["code", "api"]


@dataclass(frozen=True)
class Definition:
    """A segment as it is defined now.

    Attributes:
        scanned: The meaning by which all customers were last looked at; None if they never were, "" if some could
            not be since.
        scanned_at: When that scan began, wall time.
    """

    id: int
    name: str
    version: int
    story: str
    origin: Origin
    form: Condition
    scanned: str | None
    scanned_at: datetime | None


@dataclass(frozen=True)
class Definitions:
    """All segments at one moment.

    Attributes:
        unreadable: Those whose form, or one it names, a release cannot read any more, and why. Nobody is in them.
    """

    by_name: Mapping[str, Definition]
    unreadable: Mapping[str, str]

    @property
    def versions(self) -> set[tuple[int, int]]:
        """Which version each segment is of, both by number."""
        return {(each.id, each.version) for each in self.by_name.values()}

    @property
    def forms(self) -> dict[str, Condition]:
        """The form of each, by name."""
        return {name: each.form for name, each in self.by_name.items()}

    def among(self, form: Condition) -> list[Definition]:
        """Return the segments a form rests on, those that they name included."""
        found: dict[str, Definition] = {}
        waiting = [name for name, _ in forms.named_segments(form)]
        while waiting:
            name = waiting.pop()
            if name not in found and name in self.by_name:
                found[name] = self.by_name[name]
                waiting += [other for other, _ in forms.named_segments(found[name].form)]
        return sorted(found.values(), key=lambda each: each.name)

    def meaning(self, name: str) -> str:
        """Return what a segment means, as a code: it changes with its form, those it names, and SQL in the code."""
        own = self.by_name[name]
        rest = [(each.name, forms.written(each.form)) for each in self.among(own.form)]
        code = sorted({each.code.fingerprint for each in coded_in(own.form, self.forms)})
        body = orjson.dumps([forms.written(own.form), rest, *code], option=orjson.OPT_SORT_KEYS)
        return sha256(body).hexdigest()[:16]

    def naming(self, name: str) -> list[str]:
        """Return the segments that name one."""
        return sorted(
            each.name
            for each in self.by_name.values()
            if name in {other for other, _ in forms.named_segments(each.form)}
        )


@lru_cache(maxsize=1000)
def _read(written: bytes) -> Condition:
    return forms.read(orjson.loads(written))


async def load(connection: Connection) -> Definitions:
    """Return all segments as they are defined now."""
    rows = await connection.fetch(
        """
        select s.id, s.name, s.version, v.story, v.origin, v.form, s.scanned, s.scanned_at
        from segments s join segment_versions v on v.segment_id = s.id and v.version = s.version order by s.name
        """
    )
    known: dict[str, Definition] = {}
    unreadable: dict[str, str] = {}
    for row in rows:
        try:
            form = _read(orjson.dumps(row["form"]))
        except BadForm as error:
            unreadable[row["name"]] = str(error)
            continue
        known[row["name"]] = Definition(**{**row, "form": form})
    while broken := {
        each.name: f"it names {name}, which cannot be read"
        for each in known.values()
        for name, _ in forms.named_segments(each.form)
        if name not in known
    }:
        unreadable |= broken
        known = {name: each for name, each in known.items() if name not in broken}
    return Definitions(known, unreadable)


async def lock_definitions(connection: Connection) -> None:
    """Let this transaction alone change what segments mean."""
    await connection.execute("select pg_advisory_xact_lock($1::int, $2::int)", LOCKS, DEFINITION_LOCK)


async def lock_looks(connection: Connection) -> None:
    """Let this transaction alone change when customers are to be looked at: a look and a scan meet at many rows."""
    await connection.execute("select pg_advisory_xact_lock($1::int, $2::int)", LOCKS, LOOK_LOCK)


@dataclass(frozen=True)
class NewVersion:
    """A version about to be kept.

    Attributes:
        author: Name of the key, or of the code's pack.
        note: Why, in the author's words.
    """

    name: str
    story: str
    form: Condition
    origin: Origin
    author: str
    note: str | None = None


async def put(connection: Connection, new: NewVersion) -> tuple[int, bool]:
    """Make a version the current one; `lock_definitions` must be held.

    Returns:
        The version that is current now, and whether it is new: the same story and form are none.

    Raises:
        BadForm: It names segments there are not, or is too large together with them.
    """
    definitions = await load(connection)
    check(new.form, {name: form for name, form in definitions.forms.items() if name != new.name}, new.name)
    current = definitions.by_name.get(new.name)
    if current and (current.story, forms.written(current.form)) == (new.story, forms.written(new.form)):
        return current.version, False
    for name in definitions.naming(new.name):
        # Those that name it must not grow too large by it either.
        check(definitions.by_name[name].form, {**definitions.forms, new.name: new.form}, name)
    return await _add(connection, new, becomes_current=True), True


async def declare(connection: Connection, new: NewVersion) -> None:
    """Keep what a release declares; `lock_definitions` must be held.

    It becomes current unless somebody has put another version since: then it is only there to go back to.

    Raises:
        BadForm: It names segments there are not, or is too large together with them.
    """
    row = await connection.fetchrow(
        """
        select s.version, v.version as declared, v.story, v.form,
               (select origin from segment_versions c where c.segment_id = s.id and c.version = s.version) as origin
        from segments s left join lateral (
            select version, story, form from segment_versions
            where segment_id = s.id and origin = 'code' order by version desc limit 1
        ) v on true
        where s.name = $1
        """,
        new.name,
    )
    if row is not None and (row["story"], row["form"]) == (new.story, forms.written(new.form)):
        return
    definitions = await load(connection)
    check(new.form, {name: form for name, form in definitions.forms.items() if name != new.name}, new.name)
    await _add(connection, new, becomes_current=row is None or row["origin"] == "code")


async def _add(connection: Connection, new: NewVersion, *, becomes_current: bool) -> int:
    segment = await connection.fetchval(
        """
        insert into segments (name, version) values ($1, 1)
        on conflict (name) do update set name = excluded.name returning id
        """,
        new.name,
    )
    version: int = await connection.fetchval(
        """
        insert into segment_versions (segment_id, version, story, form, origin, author, note)
        select $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6 from segment_versions where segment_id = $1
        returning version
        """,
        segment,
        new.story,
        forms.written(new.form),
        new.origin,
        new.author,
        new.note,
    )
    if becomes_current:
        await connection.execute("update segments set version = $2 where id = $1", segment, version)
    return version


async def versions(connection: Connection, name: str) -> list[asyncpg.Record]:
    """Return every version of a segment, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select v.version, v.story, v.form, v.origin, v.author, v.note, v.created_at, v.version = s.version as current
        from segments s join segment_versions v on v.segment_id = s.id where s.name = $1 order by v.version desc
        """,
        name,
    )
    return rows


async def delete(connection: Connection, name: str) -> None:
    """Forget a segment with its versions, members and evaluations."""
    await connection.execute("delete from segments where name = $1", name)


async def overview(connection: Connection, name: str | None = None) -> list[asyncpg.Record]:
    """Return every segment, or one of them, with how many its members are and its last scan."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select s.name, s.version, v.story, v.form, v.origin, v.author, v.created_at, s.scanned_at,
               (select count(*) from segment_members m where m.segment_id = s.id) as members
        from segments s join segment_versions v on v.segment_id = s.id and v.version = s.version
        where $1::text is null or s.name = $1 order by s.name
        """,
        name,
    )
    return rows


async def members(connection: Connection, name: str, after: int, limit: int) -> list[asyncpg.Record]:
    """Return members of a segment by their numbers, in order.

    Args:
        after: Only those with greater numbers.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select m.customer_id, m.entered_at from segment_members m join segments s on s.id = m.segment_id
        where s.name = $1 and m.customer_id > $2 order by m.customer_id limit $3
        """,
        name,
        after,
        limit,
    )
    return rows


async def entered_at(connection: Connection, name: str, customer: int) -> datetime | None:
    """Return since when (wall time) a customer has been a member of a segment, as last looked at."""
    at: datetime | None = await connection.fetchval(
        """
        select m.entered_at from segment_members m join segments s on s.id = m.segment_id
        where s.name = $1 and m.customer_id = $2
        """,
        name,
        customer,
    )
    return at


async def evaluations(connection: Connection, name: str, limit: int) -> list[asyncpg.Record]:
    """Return the last scans of a segment, the newest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select e.id, e.asked_by, e.started_at, e.finished_at, e.examined, e.entered, e.departed, e.failed,
               extract(epoch from coalesce(e.finished_at, now()) - e.started_at)::float as seconds
        from segment_evaluations e join segments s on s.id = e.segment_id
        where s.name = $1 order by e.id desc limit $2
        """,
        name,
        limit,
    )
    return rows


async def hold_still(connection: Connection, definitions: Sequence[Definition]) -> bool:
    """Keep segments from being changed until this transaction ends; False if one was already."""
    rows = await connection.fetch(
        "select id, version from segments where id = any($1) order by id for share", [each.id for each in definitions]
    )
    return {row["id"]: row["version"] for row in rows} == {each.id: each.version for each in definitions}
