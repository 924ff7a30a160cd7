"""The faults: each breaks something for a while, puts it right again, and says what it did."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import psutil
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.service import RPCError

from cli.torture.backend import OwnBackend
from cli.torture.stage import Stage
from store.database import AWAY

PROVIDERS = ("twilio", "sendgrid", "fcm", "call_centre")

BATCH = 40
"""Events of the customer over whom a dispatcher is killed."""

_NOT_THERE = (*AWAY, RPCError, httpx.HTTPError, psutil.Error)
"""How it shows that what a fault needs is away, because of another one."""


class Missed(Exception):
    """The fault found nothing to strike; it is tried again later."""


@dataclass
class Field:
    """What faults may touch.

    Attributes:
        callbacks: How the sandbox calls back now: what all faults under way want together.
        resets: Runs that were reset, by workflow id.
        terminated: Runs that were terminated.
        counted: Further things worth a figure.
    """

    stage: Stage
    dice: random.Random
    backend: OwnBackend
    callbacks: Counter[str] = field(default_factory=Counter)
    resets: list[str] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)


Strike = Callable[[Field], Awaitable[str]]
"""Strikes once and puts it right; returns what it did.

Raises:
    Missed: There was nothing to strike.
"""


# Processes.


async def _kill(field: Field, part: str) -> str:
    async with field.stage.alone_with(part):
        if part not in field.stage.stack.pids:
            raise Missed(f"{part} is not running")
        await field.stage.stack.kill(part)
        await asyncio.sleep(field.dice.uniform(0, 1.5))
        await field.stage.restart(part)
    return part


async def kill_worker(field: Field) -> str:
    """kill -9 of a worker."""
    return await _kill(field, field.dice.choice(field.stage.workers))


async def kill_api(field: Field) -> str:
    """kill -9 of the API."""
    return await _kill(field, "api")


async def kill_temporal(field: Field) -> str:
    """kill -9 of Temporal."""
    return await _kill(field, "temporal")


async def kill_postgres(field: Field) -> str:
    """kill -9 of PostgreSQL's postmaster."""
    return await _kill(field, "postgres")


async def kill_postgres_backend(field: Field) -> str:
    """kill -9 of the process that serves one of our connections: PostgreSQL starts all of itself anew."""
    postmaster = field.stage.stack.pids.get("postgres")
    serving = [
        child
        for child in (psutil.Process(postmaster).children() if postmaster else [])
        if "journeys journeys" in " ".join(child.cmdline())
    ]
    if not serving:
        raise Missed("nobody is connected")
    victim = field.dice.choice(serving)
    victim.kill()
    return f"process {victim.pid}"


async def kill_dispatcher(field: Field) -> str:
    """kill -9 of the worker that dispatches a customer's batch, in the middle of it."""
    customer = await _batch(field)
    part = await _dispatching(field, customer)
    async with field.stage.alone_with(part):
        await field.stage.stack.kill(part)
        try:
            told = await _signals(field, customer)
        finally:
            await field.stage.restart(part)
    if not 0 < told < BATCH - 2:
        raise Missed("it was not in the middle of the batch")
    return f"{part}, after {told} of {BATCH - 2} signals to customer {customer}'s run"


async def _signals(field: Field, customer: int) -> int:
    """Count what the run of a customer has heard."""
    workflow_id = await field.stage.database.fetchval(
        "select workflow_id from enrolments where customer_id = $1", customer
    )
    if workflow_id is None:
        return 0
    history = field.stage.temporal.get_workflow_handle(workflow_id).fetch_history_events()
    return sum([event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED async for event in history])


async def _batch(field: Field) -> int:
    """Tell of many things one customer does, and return their number."""
    user = f"batch-{uuid4().hex[:8]}"
    form = {"application_id": user, "filled": 1, "total": 100}

    def call(event: str, filled: int) -> dict[str, Any]:
        return {
            "type": "track",
            "messageId": f"{user}:{event}:{filled}",
            "userId": user,
            "event": event,
            "timestamp": datetime.now(UTC).isoformat(),
            "properties": {**form, "filled": filled},
        }

    begun = [call("credit_application_started", 1)]
    await field.backend.tell_together(
        begun + [call("credit_application_progressed", filled) for filled in range(2, BATCH)]
    )
    number: int | None = await field.stage.database.fetchval(
        "select customer_id from identities where kind = 'user' and value = $1", user
    )
    if number is None:
        raise Missed("the batch was not accepted")
    return number


async def _dispatching(field: Field, customer: int) -> str:
    """Return which worker dispatches a customer's events, once the run has heard the first of them."""
    deadline = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < deadline:
        port = await field.stage.database.fetchval(
            """
            select client_port from pg_locks join pg_stat_activity using (pid)
            where locktype = 'advisory' and granted and (classid::bigint << 32) + objid::bigint = $1
            """,
            customer,
        )
        if port is not None and await _signals(field, customer):
            for part in field.stage.workers:
                if (pid := field.stage.stack.pids.get(part)) and port in _ports_of(pid):
                    return part
        await asyncio.sleep(0.01)
    raise Missed("no worker was seen dispatching")


def _ports_of(pid: int) -> set[int]:
    return {connection.laddr.port for connection in psutil.Process(pid).net_connections("inet")}


async def _freeze(field: Field, part: str, seconds: float) -> str:
    async with field.stage.alone_with(part):
        pid = field.stage.stack.pids.get(part)
        if pid is None:
            raise Missed(f"{part} is not running")
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
    return f"{part} for {seconds:.0f} s"


async def pause_briefly(field: Field) -> str:
    """A pause of a worker, longer than the 2 s in which a claimed message must leave."""
    return await _freeze(field, field.dice.choice(field.stage.workers), field.dice.uniform(2.5, 6))


async def pause_long(field: Field) -> str:
    """A pause of a worker, longer than the 30 s an attempt of `deliver` may take."""
    return await _freeze(field, field.dice.choice(field.stage.workers), field.dice.uniform(31.5, 34))


# The providers.


def provider(
    kind: str,
    seconds: tuple[float, float] = (0, 0),
    retry_after: tuple[int, int] = (1, 1),
    operation: str = "send",
) -> Strike:
    """Return a fault that strikes the next calls of every provider in the sandbox's way `kind`.

    Args:
        operation: ``send``, or ``lookup``: the questions of whoever settles uncertain sends.
        seconds: For how long answers are held, from and to.
        retry_after: Seconds a refused client is told to wait, from and to.
    """

    async def strike(field: Field) -> str:
        calls = field.dice.randint(2, 6)
        fault = {
            "kind": kind,
            "operation": operation,
            "times": calls,
            "seconds": field.dice.uniform(*seconds),
            "retry_after": field.dice.randint(*retry_after),
        }
        async with field.stage.alone_with("sandbox"):
            for name in PROVIDERS:
                await field.stage.tell_sandbox("PUT", "faults", {"provider": name, **fault})
        return f"the next {calls} {'calls' if operation == 'send' else 'questions'} of each provider"

    return strike


async def cut_providers(field: Field) -> str:
    """The providers cannot be reached at all, for some seconds."""
    async with field.stage.alone_with("sandbox"):
        await field.stage.stack.kill("sandbox")
        await asyncio.sleep(seconds := field.dice.uniform(1, 4))
        await field.stage.restart("sandbox")
        await _call_back(field)
    return f"for {seconds:.1f} s"


# What comes back.


def callbacks(option: str) -> Strike:
    """Return a fault that makes the sandbox call back in another way for some seconds."""

    async def strike(field: Field) -> str:
        seconds = field.dice.uniform(6, 15)
        async with _calling_back(field, option):
            await asyncio.sleep(seconds)
        return f"for {seconds:.0f} s"

    return strike


@asynccontextmanager
async def _calling_back(field: Field, option: str) -> AsyncIterator[None]:
    field.callbacks[option] += 1
    try:
        await _call_back(field)
        yield
    finally:
        field.callbacks[option] -= 1
        await _call_back(field)


async def _call_back(field: Field) -> None:
    """Tell the sandbox how to call back now."""
    wanted = {option: field.callbacks[option] > 0 for option in ("duplicate", "shuffle", "before_answer")}
    delay = 4.0 if field.callbacks["delay_seconds"] > 0 else 0.0
    await field.stage.tell_sandbox("PUT", "callbacks", {**wanted, "delay_seconds": delay})


# The machine.


async def fill_disk(field: Field) -> str:
    """PostgreSQL's disk has no free byte, for some seconds."""
    disk = field.stage.disk
    if disk is None:
        raise Missed("there is no such disk")
    async with field.stage.alone_with("disk"):
        used = disk.fill()
        try:
            await asyncio.sleep(seconds := field.dice.uniform(3, 7))
            refused = await _is_full(field)
        finally:
            disk.free()
    if not refused:
        raise Missed("PostgreSQL had room left")
    return f"full at {used // 2**20} MB for {seconds:.0f} s"


async def _is_full(field: Field) -> bool:
    """Tell whether PostgreSQL cannot write any more; that it has fallen over it shows it too."""
    try:
        await field.stage.database.execute(
            "create temp table more on commit drop as select repeat('x', 1000) from generate_series(1, 50000)"
        )
    except AWAY:
        return True
    return False


async def skew_clock(field: Field) -> str:
    """A process's wall clock is wrong by minutes, for some seconds; it jumps there and back."""
    clocks = field.stage.clocks
    if clocks is None:
        raise Missed("there are no such clocks")
    part = field.dice.choice((*field.stage.workers, "api", "postgres"))
    wrong_by = field.dice.choice((-1, 1)) * field.dice.uniform(45, 240)
    async with field.stage.alone_with(f"clock of {part}"):
        clocks.set(part, wrong_by)
        try:
            await asyncio.sleep(seconds := field.dice.uniform(5, 12))
        finally:
            clocks.set(part, 0)
    field.counted[f"clock of {part.partition('-')[0]} wrong"] += 1
    return f"{part} by {wrong_by:+.0f} s for {seconds:.0f} s"


# Operators.


async def reset_run(field: Field) -> str:
    """A run is reset through Temporal's API, as the UI does: running or over, to any of its decisions."""
    number, workflow_id = await _some_run(field, over=field.dice.random() < 0.5)
    handle = field.stage.temporal.get_workflow_handle(workflow_id)
    described = await handle.describe()
    points = [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    if not points:
        raise Missed("the run has decided nothing yet")
    point = field.dice.choice(points)
    await field.stage.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=field.stage.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=described.run_id),
            reason="torture",
            workflow_task_finish_event_id=point,
            request_id=uuid4().hex,
        )
    )
    field.resets.append(workflow_id)
    return f"enrolment {number} to event {point}"


async def terminate_run(field: Field) -> str:
    """A run is terminated from outside."""
    number, workflow_id = await _some_run(field, over=False)
    await field.stage.temporal.get_workflow_handle(workflow_id).terminate("torture")
    field.terminated.append(workflow_id)
    return f"enrolment {number}"


async def _some_run(field: Field, *, over: bool) -> tuple[int, str]:
    row = await field.stage.database.fetchrow(
        """
        select id, workflow_id from enrolments
        where (ended_at is not null) = $1 and not workflow_id = any($2) order by md5(id::text || $3) limit 1
        """,
        over,
        field.terminated,
        str(field.dice.random()),
    )
    if row is None:
        raise Missed("there is no such run")
    return row["id"], row["workflow_id"]


FAULTS: Mapping[str, Strike] = {
    "long pause of a worker": pause_long,
    "short pause of a worker": pause_briefly,
    "worker killed": kill_worker,
    "dispatcher killed in a batch": kill_dispatcher,
    "API killed": kill_api,
    "Temporal killed": kill_temporal,
    "PostgreSQL killed": kill_postgres,
    "PostgreSQL backend killed": kill_postgres_backend,
    "disk full": fill_disk,
    "clock wrong": skew_clock,
    "providers cut": cut_providers,
    "provider slow": provider("slow", seconds=(1, 8)),
    "provider too slow": provider("slow", seconds=(11, 14)),
    "time-out after acceptance": provider("timeout_after_accept", seconds=(15, 20)),
    "reset before acceptance": provider("connection_reset"),
    "reset after acceptance": provider("reset_after_accept"),
    "429 storm": provider("status_429", retry_after=(1, 5)),
    "500 without effect": provider("status_500"),
    "503 without effect": provider("status_503"),
    "500 with effect": provider("status_500_after_accept"),
    "503 with effect": provider("status_503_after_accept"),
    "questions unanswered": provider("status_503", operation="lookup"),
    "callbacks doubled": callbacks("duplicate"),
    "callbacks delayed": callbacks("delay_seconds"),
    "callbacks shuffled": callbacks("shuffle"),
    "callbacks before the answer": callbacks("before_answer"),
    "run reset": reset_run,
    "run terminated": terminate_run,
}

NEEDS: Mapping[str, str] = {"disk full": "disk", "clock wrong": "clocks"}
"""Faults that need what is not possible everywhere; see `Stage.not_possible`."""


async def strike(name: str, field: Field) -> str:
    """Let a fault strike.

    Raises:
        Missed: It could not: nothing was there to strike, or what it needs was away.
    """
    try:
        return await FAULTS[name](field)
    except _NOT_THERE as error:
        raise Missed(type(error).__name__) from None
