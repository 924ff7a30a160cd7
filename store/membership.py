"""Who is in which segment: looked at, kept, and looked at again when it may have changed.

Members are changed under their customers' locks and by the definitions that hold then, so that what is kept is what
was so at that moment. Only then do the rest of the rows follow: whoever is broken off before is looked at once more,
and nothing is entered or left twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from domain.clock import Clock
from segments.condition import CUSTOMERS, BasisMissing, Node, coded_in, condition
from segments.definition import filled_in
from segments.form import Condition
from segments.moment import Moment
from store import installation, segments
from store.database import Connection
from store.segments import Definition, Definitions

ALIVE = "c.merged_into is null and c.erased_at is null"

PAGE_WITHIN = 10.0
"""Wall seconds a statement about one page may take."""

BROKEN = (asyncpg.DataError, asyncpg.SyntaxOrAccessError)
"""What SQL in the code itself brings about: it would happen again."""

BASIS_WITHIN = 600.0
"""Wall seconds the one statement over all customers' purchases may take that fifths are worked out by."""


@dataclass(frozen=True)
class Judged:
    """What a segment says of a customer.

    Attributes:
        differs: They are in and no member yet, or a member and no longer in.
        look_at: First wall time at which time alone may change it; None for never.
    """

    customer: int
    differs: bool
    look_at: datetime | None


@dataclass(frozen=True)
class Changed:
    """Who has entered and who has left."""

    entered: Sequence[int] = ()
    departed: Sequence[int] = ()


# Asking.


async def judge(
    connection: Connection, definitions: Definitions, segment: Definition, customers: Sequence[int], now: datetime
) -> list[Judged]:
    """Look at customers by one segment; those of whom there is nothing to say are left out.

    Raises:
        BasisMissing: What it rests on has not been worked out yet.
    """
    found: list[Judged] = []
    bases = await known_bases(connection, segment.form, definitions.forms)
    for moment, ids in await moments(connection, customers, now):
        query = condition(segment.form, moment, definitions.forms, bases)
        sql, values = query.written(
            f"""
            select id, differs, look_at from (
                select c.id, ({query.holds}) <> (m.customer_id is not null) as differs, {query.look_at} as look_at
                from customers c left join segment_members m on m.customer_id = c.id and m.segment_id = {segment.id}
                where c.id = any({CUSTOMERS}) and {ALIVE}
            ) j where differs or look_at is not null
            """
        )
        rows = await connection.fetch(sql, ids, *values, timeout=PAGE_WITHIN)
        found += [Judged(*row.values()) for row in rows]
    return found


async def inside(
    connection: Connection,
    form: Condition,
    definitions: Definitions,
    customers: Sequence[int],
    now: datetime,
    *,
    within: float | None = None,
) -> list[int]:
    """Return which customers are in by a form now.

    Args:
        now: Wall time.
        within: Wall seconds it may take; `PAGE_WITHIN` if nothing is said.

    Raises:
        TimeoutError: It takes longer.
        BasisMissing: What it rests on has not been worked out yet.
    """
    found: list[int] = []
    bases = await known_bases(connection, form, definitions.forms)
    for moment, ids in await moments(connection, customers, now):
        query = condition(form, moment, definitions.forms, bases)
        sql, values = query.written(
            f"select c.id from customers c where c.id = any({CUSTOMERS}) and {ALIVE} and {query.holds} order by c.id"
        )
        rows = await connection.fetch(sql, ids, *values, timeout=within or PAGE_WITHIN)
        found += [row["id"] for row in rows]
    return found


async def is_in(connection: Connection, segment: str, customer: int, now: datetime) -> bool:
    """Whether a customer is in a segment now; in one that is no more, or cannot be judged by yet, nobody is.

    Args:
        now: Wall time.
    """
    definitions = await segments.load(connection)
    definition = definitions.by_name.get(segment)
    if definition is None:
        return False
    try:
        return bool(await inside(connection, definition.form, definitions, [customer], now))
    except BasisMissing:
        return False


@dataclass(frozen=True)
class Explained:
    """A condition as it is for one customer.

    Attributes:
        path: Its place in the form.
        says: The condition in words.
        actual: What it looks at; None for those made of others.
    """

    path: str
    says: str
    holds: bool
    actual: Any
    parts: Sequence["Explained"]


async def explain(
    connection: Connection, form: Condition, definitions: Definitions, customer: int, now: datetime
) -> Explained:
    """Return what every condition of a form says of a customer now.

    Raises:
        BasisMissing: What it rests on has not been worked out yet.
    """
    ((moment, _),) = await moments(connection, [customer], now)
    bases = await known_bases(connection, form, definitions.forms)
    query = condition(form, moment, definitions.forms, bases)
    nodes = list(_nodes(query.root))
    columns = (f"{node.holds}, {node.actual or 'null::jsonb'}" for node in nodes)
    sql, parameters = query.written(f"select {', '.join(columns)} from customers c where c.id = any({CUSTOMERS})")
    row = await connection.fetchrow(sql, [customer], *parameters)
    assert row is not None
    values = list(row.values())
    told = {node.path: (values[2 * place], values[2 * place + 1]) for place, node in enumerate(nodes)}
    return _explained(query.root, told)


def _nodes(node: Node) -> Iterable[Node]:
    yield node
    for part in node.parts:
        yield from _nodes(part)


def _explained(node: Node, told: Mapping[str, tuple[bool, Any]]) -> Explained:
    holds, actual = told[node.path]
    return Explained(node.path, node.says, holds, actual, [_explained(part, told) for part in node.parts])


async def moments(
    connection: Connection, customers: Sequence[int], now: datetime
) -> list[tuple[Moment, Sequence[int]]]:
    """Return the moment it is for customers, apart for test customers with a journey time of their own.

    Args:
        now: Wall time.
    """
    rows = await connection.fetch(
        "select id, clock_origin as origin, speed from customers where id = any($1) and speed is not null",
        customers,
    )
    own = {row["id"]: Clock(origin=row["origin"], speed=row["speed"]) for row in rows}
    rest = [customer for customer in customers if customer not in own] if own else customers
    clock = await installation.clock(connection)
    return [
        *([(Moment(now, clock), rest)] if rest else []),
        *((Moment(now, clock), [customer]) for customer, clock in own.items()),
    ]


# Keeping.


async def change(
    connection: Connection, definitions: Definitions, segment: Definition, customers: Sequence[int], now: datetime
) -> Changed:
    """Make customers members, or no members any more, as they are in now; their rows must be locked.

    Raises:
        BasisMissing: What it rests on has not been worked out yet.
    """
    within = set(await inside(connection, segment.form, definitions, customers, now))
    entered = await connection.fetch(
        """
        insert into segment_members (segment_id, customer_id, entered_at)
        select $1, id, $3 from unnest($2::bigint[]) id order by id
        on conflict (segment_id, customer_id) do nothing returning customer_id
        """,
        segment.id,
        sorted(within),
        now,
    )
    departed = await connection.fetch(
        "delete from segment_members where segment_id = $1 and customer_id = any($2) returning customer_id",
        segment.id,
        [customer for customer in customers if customer not in within],
    )
    return Changed([row["customer_id"] for row in entered], [row["customer_id"] for row in departed])


async def members(connection: Connection, segment: int, limit: int) -> tuple[list[int], int]:
    """Return members of a segment as last looked at, drawn by lot if there are more than so many, and how many are.

    Args:
        segment: Its number.
    """
    rows = await connection.fetch(
        """
        select customer_id, count(*) over () as of from segment_members
        where segment_id = $1 order by random() limit $2
        """,
        segment,
        limit,
    )
    return [row["customer_id"] for row in rows], rows[0]["of"] if rows else 0


async def page(connection: Connection, after: int, limit: int) -> list[int]:
    """Return customers by their numbers, in order.

    Args:
        after: Only those with greater numbers.
    """
    rows = await connection.fetch(
        f"select c.id from customers c where c.id > $1 and {ALIVE} order by c.id limit $2", after, limit
    )
    return [row["id"] for row in rows]


@dataclass(frozen=True)
class ToLookAt:
    """Customers whose segments may have changed.

    Attributes:
        touches: The rows that tell so because something happened to them.
        due: Those for whom time alone may have changed something, with the wall time at which it may have.
    """

    customers: Sequence[int]
    touches: Sequence[int]
    due: Mapping[int, datetime]


async def to_look_at(connection: Connection, now: datetime, limit: int) -> ToLookAt:
    """Return whom to look at: to whom something happened, and for whom time alone may have changed something."""
    touched = await connection.fetch("select id, customer_id from segment_touches order by id limit $1", limit)
    due = await connection.fetch(
        "select customer_id, look_at from segment_looks where look_at <= $1 order by look_at limit $2", now, limit
    )
    customers = {row["customer_id"] for row in (*touched, *due)}
    return ToLookAt(
        sorted(customers), [row["id"] for row in touched], {row["customer_id"]: row["look_at"] for row in due}
    )


async def looked_at(
    connection: Connection, definitions: Definitions, done: ToLookAt, looks: Mapping[int, datetime]
) -> bool:
    """Record that customers were looked at; nothing, and False, if segments were changed since they were read.

    What was put there meanwhile stays: another touch, or another time to look. But a scan by another definition may
    have left its own time to the earlier one that was there, and would lose it with that.

    Args:
        definitions: By which they were looked at.
        looks: Whom to look at again, and when, though nothing happens to them.
    """
    async with connection.transaction():
        await segments.lock_definitions(connection)
        if (await segments.load(connection)).versions != definitions.versions:
            return False
        await segments.lock_looks(connection)
        await connection.execute("delete from segment_touches where id = any($1)", done.touches)
        await connection.execute(
            """
            delete from segment_looks l using unnest($1::bigint[], $2::timestamptz[]) d(customer_id, look_at)
            where l.customer_id = d.customer_id and l.look_at = d.look_at
            """,
            list(done.due),
            list(done.due.values()),
        )
        await look_again(connection, looks)
    return True


async def look_again(connection: Connection, looks: Mapping[int, datetime]) -> None:
    """Have customers looked at at a wall time; whoever is to be looked at sooner still is. Looks must be locked."""
    await connection.execute(
        """
        insert into segment_looks (customer_id, look_at)
        select * from unnest($1::bigint[], $2::timestamptz[]) l(customer_id, look_at) order by 1
        on conflict (customer_id) do update set look_at = excluded.look_at
        where segment_looks.look_at > excluded.look_at
        """,
        list(looks),
        list(looks.values()),
    )


async def move(connection: Connection, loser: int, winner: int) -> None:
    """Make the memberships of a customer those of whom they were merged into; both rows must be locked."""
    await connection.execute(
        """
        with moved as (delete from segment_members where customer_id = $1 returning segment_id, entered_at)
        insert into segment_members (segment_id, customer_id, entered_at)
        select segment_id, $2, entered_at from moved on conflict (segment_id, customer_id) do nothing
        """,
        loser,
        winner,
    )
    await connection.execute("insert into segment_touches (customer_id) values ($1)", winner)


# What SQL in the code rests on.


async def known_bases(
    connection: Connection, form: Condition, segments: Mapping[str, Condition], since: datetime | None = None
) -> dict[str, Any]:
    """Return the bases of a form that have been worked out.

    Args:
        since: Only those worked out since, wall time.
    """
    keys = [each.code.basis_key(each.parameters()) for each in coded_in(form, segments) if each.code.basis]
    if not keys:
        return {}
    rows = await connection.fetch(
        """
        select key, value from segment_bases
        where key = any($1) and ($2::timestamptz is null or worked_out_at >= $2)
        """,
        keys,
        since,
    )
    return {row["key"]: row["value"] for row in rows}


async def work_out_bases(
    connection: Connection,
    form: Condition,
    segments: Mapping[str, Condition],
    now: datetime,
    *,
    fresh: timedelta,
    within: float = BASIS_WITHIN,
) -> None:
    """Work out what a form rests on.

    Args:
        fresh: What is not older, wall time, is not worked out again.
        within: Wall seconds each may take.
    """
    known = await known_bases(connection, form, segments, now - fresh)
    moment = Moment(now, await installation.clock(connection))
    for each in coded_in(form, segments):
        code, parameters = each.code, each.parameters()
        if code.basis is None or code.basis_key(parameters) in known:
            continue
        values: list[Any] = []

        def bind(value: Any, type: str, values: list[Any] = values) -> str:
            values.append(value)
            return f"${len(values)}::{type}"

        given = {**parameters.model_dump(), "now": now}
        sql = filled_in(code.basis, bind, given, moment.ago, keep={})
        value = await connection.fetchval(sql, *values, timeout=within)
        await connection.execute(
            """
            insert into segment_bases (key, value) values ($1, $2)
            on conflict (key) do update set value = excluded.value, worked_out_at = now()
            """,
            code.basis_key(parameters),
            value,
        )


# Evaluations.


async def begin_scan(connection: Connection, segment: Definition, meaning: str, asked_by: str | None) -> int:
    """Record that all customers are going to be looked at by a segment.

    Whatever was broken off by an older meaning is over: it must not be gone on with if that meaning comes back.

    Returns:
        The evaluation's number; that of one by the same meaning, if it has not ended.
    """
    await connection.execute(
        """
        update segment_evaluations set finished_at = now(), failed = 'redefined'
        where segment_id = $1 and meaning <> $2 and finished_at is null
        """,
        segment.id,
        meaning,
    )
    number: int = await connection.fetchval(
        """
        with under_way as (
            select id from segment_evaluations
            where segment_id = $1 and meaning = $2 and finished_at is null order by id desc limit 1
        ), begun as (
            insert into segment_evaluations (segment_id, meaning, asked_by)
            select $1, $2, $3 where not exists (select from under_way) returning id
        )
        select id from under_way union all select id from begun
        """,
        segment.id,
        meaning,
        asked_by,
    )
    return number


@dataclass(frozen=True)
class Standing:
    """How far a scan has come.

    Attributes:
        segment: Name.
        cursor: The last customer it has done with.
        meaning: Of the segment, when it began.
    """

    segment: str
    cursor: int
    meaning: str
    examined: int
    entered: int
    departed: int
    over: bool


async def standing(connection: Connection, evaluation: int) -> Standing | None:
    """Return how far a scan has come; None if its segment is no more."""
    row = await connection.fetchrow(
        """
        select s.name, e.cursor, e.meaning, e.examined, e.entered, e.departed, e.finished_at is not null
        from segment_evaluations e join segments s on s.id = e.segment_id where e.id = $1
        """,
        evaluation,
    )
    return Standing(*row.values()) if row else None


async def advance(connection: Connection, evaluation: int, cursor: int, examined: int) -> None:
    """Record how far a scan has come."""
    await connection.execute(
        "update segment_evaluations set cursor = $2, examined = examined + $3 where id = $1 and cursor < $2",
        evaluation,
        cursor,
        examined,
    )


async def count(connection: Connection, evaluation: int, changed: Changed) -> None:
    """Add to an evaluation who has entered and left; in the transaction in which they do."""
    await connection.execute(
        "update segment_evaluations set entered = entered + $2, departed = departed + $3 where id = $1",
        evaluation,
        len(changed.entered),
        len(changed.departed),
    )


async def finish_scan(connection: Connection, evaluation: int, failed: str | None = None) -> None:
    """Record that a scan is over, and what kept it from coming to its end.

    The segment counts as scanned from when the scan began: what has happened since was looked at by itself.
    """
    async with connection.transaction():
        await connection.execute(
            "update segment_evaluations set finished_at = now(), failed = $2 where id = $1 and finished_at is null",
            evaluation,
            failed,
        )
        await connection.execute(
            """
            update segments s set scanned = e.meaning, scanned_at = e.started_at from segment_evaluations e
            where e.id = $1 and s.id = e.segment_id
            """,
            evaluation,
        )


async def given_up(connection: Connection, definitions: Definitions) -> set[str]:
    """Return the segments whose last scan, by what they mean now, found that they cannot be judged by."""
    rows = await connection.fetch(
        """
        select s.name, e.meaning from segments s join lateral (
            select meaning, failed from segment_evaluations where segment_id = s.id order by id desc limit 1
        ) e on e.failed in ('too_slow', 'broken')
        """
    )
    return {
        row["name"]
        for row in rows
        if row["name"] in definitions.by_name and definitions.meaning(row["name"]) == row["meaning"]
    }


async def doubt(connection: Connection, segment: Definition) -> None:
    """Have everybody looked at by a segment again: some could not be."""
    await connection.execute("update segments set scanned = '' where id = $1", segment.id)


async def record_look(connection: Connection, started_at: datetime) -> int:
    """Record that some customers are going to be looked at by all segments, and return the evaluation's number."""
    number: int = await connection.fetchval(
        "insert into segment_evaluations (started_at) values ($1) returning id", started_at
    )
    return number


async def finish_look(connection: Connection, evaluation: int, examined: int) -> None:
    """Record that a look is over."""
    await connection.execute(
        "update segment_evaluations set finished_at = now(), examined = $2 where id = $1", evaluation, examined
    )


async def dispatch_is_behind(connection: Connection, by: int) -> bool:
    """Whether more than so many events wait for dispatch."""
    behind: bool = await connection.fetchval(
        """
        select count(*) > $1 from (
            select from events where dispatched_at is null and parked_at is null limit $1 + 1
        ) waiting
        """,
        by,
    )
    return behind
