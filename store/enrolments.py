"""Enrolments: who is in which journey, and what has been decided about their stay."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.enrolments import Outcome
from store import customers
from store.database import Connection


@dataclass(frozen=True)
class Stay:
    """A stay of a customer in a journey.

    Attributes:
        trigger: Properties of the event that began it.
        outcome: Decided, though the run may not have ended yet.
    """

    id: int
    customer: int
    journey: str
    key: str
    workflow_id: str
    trigger_event: int
    trigger: dict[str, Any]
    outcome: str | None
    outcome_event: int | None


_STAY = """
    select e.id, e.customer_id, e.journey, e.key, e.workflow_id, e.trigger_event_id, t.properties,
           e.outcome, e.outcome_event_id
    from enrolments e join events t on t.id = e.trigger_event_id
"""


async def lock_customer(connection: Connection, enrolment: int) -> int | None:
    """Lock the customer an enrolment belongs to, whoever that is once the lock is ours.

    What is to be read under the lock is read in a statement of its own: one that waits for a lock
    sees every other table as it was before it waited.
    """
    while True:
        customer: int | None = await connection.fetchval("select customer_id from enrolments where id = $1", enrolment)
        if customer is None:
            return None
        gone = await customers.lock(connection, [customer])
        if gone.get(customer) is None:
            return customer


async def undecided(connection: Connection, customers: Iterable[int], journeys: Iterable[str]) -> list[Stay]:
    """Return the stays of customers, in some journeys, whose outcome is open."""
    rows = await connection.fetch(
        f"{_STAY} where e.customer_id = any($1) and e.journey = any($2) and e.outcome is null order by e.id",
        list(customers),
        list(journeys),
    )
    return [Stay(*row.values()) for row in rows]


async def running(connection: Connection, customer: int) -> list[Stay]:
    """Return the stays of a customer whose runs have not ended."""
    rows = await connection.fetch(f"{_STAY} where e.customer_id = $1 and e.ended_at is null order by e.id", customer)
    return [Stay(*row.values()) for row in rows]


async def newest(connection: Connection, customer: int, journeys: Iterable[str]) -> Stay | None:
    """Return the newest stay of a customer in any of some journeys, whether it is over or not."""
    row = await connection.fetchrow(
        f"{_STAY} where e.customer_id = $1 and e.journey = any($2) order by e.id desc limit 1", customer, list(journeys)
    )
    return Stay(*row.values()) if row else None


async def facts(
    connection: Connection, declared: Mapping[str, str], enrolment: int
) -> dict[str, dict[str, Any] | None]:
    """Return the row that each fact a journey declares gives of a stay, by name; None where there is none."""
    found = {name: await connection.fetchrow(sql, enrolment) for name, sql in declared.items()}
    return {name: dict(row) if row else None for name, row in found.items()}


async def decide_outcome(connection: Connection, enrolments: Sequence[int], outcome: Outcome, event: int) -> None:
    """Decide that stays are over, from this transaction on; no message is claimed for them after."""
    await connection.execute(
        "update enrolments set outcome = $2, outcome_event_id = $3 where id = any($1) and outcome is null",
        list(enrolments),
        outcome,
        event,
    )


async def attribute_merge(connection: Connection, enrolments: Sequence[int], event: int) -> None:
    """Record which event merged the customers and so ended these stays."""
    await connection.execute("update enrolments set outcome_event_id = $2 where id = any($1)", list(enrolments), event)


async def note_restart(connection: Connection, enrolments: Sequence[int], event: int) -> None:
    """Record a restart: messages decided before it are not claimed any more."""
    await connection.execute("update enrolments set restart_event_id = $2 where id = any($1)", list(enrolments), event)


async def enrol(
    connection: Connection, customer: int, journey: str, key: str, trigger_event: int, enrolled_at: datetime
) -> tuple[int, str]:
    """Enrol a customer; the row comes before the run.

    Args:
        enrolled_at: Journey time.

    Returns:
        The enrolment's number and the id of its run, never used again.
    """
    row = await connection.fetchrow(
        """
        with n as (select nextval(pg_get_serial_sequence('enrolments', 'id')) as id)
        insert into enrolments (id, customer_id, journey, key, workflow_id, trigger_event_id, enrolled_at)
        overriding system value
        select n.id, $1, $2, $3, $2 || '-c' || $1::bigint || '-e' || n.id, $4, $5 from n
        returning id, workflow_id
        """,
        customer,
        journey,
        key,
        trigger_event,
        enrolled_at,
    )
    assert row is not None
    return row["id"], row["workflow_id"]


async def started_by(connection: Connection, event: int) -> dict[str, tuple[int, str]]:
    """Return the enrolments an event has made already: number and run by journey."""
    rows = await connection.fetch("select journey, id, workflow_id from enrolments where trigger_event_id = $1", event)
    return {row["journey"]: (row["id"], row["workflow_id"]) for row in rows}


@dataclass(frozen=True)
class Entered:
    """When a customer last entered a journey, journey time."""

    journey: str
    at: datetime


async def last_enrolled(
    connection: Connection, customer: int, journeys: Sequence[str], key: str | None
) -> Entered | None:
    """Return which of some journeys a customer last entered, and when.

    Args:
        key: Only with this key; None: with any.
    """
    row = await connection.fetchrow(
        """
        select journey, enrolled_at from enrolments
        where customer_id = $1 and journey = any($2) and ($3::text is null or key = $3)
        order by enrolled_at desc limit 1
        """,
        customer,
        list(journeys),
        key,
    )
    return Entered(*row.values()) if row else None


async def facts_since(
    connection: Connection, customer: int, names: Sequence[str], trigger: int, timestamp: datetime
) -> list[tuple[str, dict[str, Any]]]:
    """Return events that happened, or were accepted, after a trigger: name and properties."""
    rows = await connection.fetch(
        """
        select name, properties from events
        where customer_id = $1 and name = any($2) and id <> $3 and (id > $3 or "timestamp" > $4)
        """,
        customer,
        list(names),
        trigger,
        timestamp,
    )
    return [(row["name"], row["properties"]) for row in rows]


async def record_end(connection: Connection, enrolment: int, outcome: Outcome) -> None:
    """Record that a run has ended; an outcome decided before stays."""
    await connection.execute(
        "update enrolments set outcome = coalesce(outcome, $2), ended_at = coalesce(ended_at, now()) where id = $1",
        enrolment,
        outcome,
    )


async def record_closed_run(connection: Connection, workflow_id: str, outcome: Outcome) -> bool:
    """Record that a run was closed from outside; False if its end was known."""
    done: str = await connection.execute(
        """
        update enrolments set outcome = coalesce(outcome, $2), ended_at = now()
        where workflow_id = $1 and ended_at is null
        """,
        workflow_id,
        outcome,
    )
    return done != "UPDATE 0"


async def facts_after(
    connection: Connection, customer: int, names: Sequence[str], trigger: int
) -> list[tuple[str, dict[str, Any]]]:
    """Return events that were accepted after a trigger: name and properties."""
    rows = await connection.fetch(
        "select name, properties from events where customer_id = $1 and name = any($2) and id > $3",
        customer,
        list(names),
        trigger,
    )
    return [(row["name"], row["properties"]) for row in rows]
