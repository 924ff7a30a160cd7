"""The dispatcher: woken by NOTIFY, made sure of by a sweep. Any number may run at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog
from prometheus_client import Counter, Gauge, Histogram
from temporalio.client import Client

from dispatch.plan import Plan, plan, summarise
from dispatch.runs import NotNow, TemporalAway, Undispatchable, perform
from domain.enrolments import Departure
from store import enrolments, events
from store.database import AWAY as DATABASE_AWAY
from store.database import Connection, Pool
from workflows.catalog import Catalog

SWEEP_EVERY = timedelta(seconds=2)
PROBE_EVERY = timedelta(seconds=1)
AT_ONCE = 8
"""Customers dispatched at the same time by one process."""

log = structlog.get_logger()

LAG = Histogram(
    "journeys_dispatch_lag_seconds",
    "From an event's acceptance to its having reached every run it concerns.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
)
DISPATCHED = Counter("journeys_events_dispatched_total", "Events that have reached every run they concern.")
PARKED = Counter("journeys_events_parked_total", "Events set aside because they can never be dispatched.")
TEMPORAL_AWAY = Gauge("journeys_temporal_away", "1 while dispatch cannot reach Temporal.")

FINISHED_WITHIN = timedelta(seconds=20)
"""Wall time in which what is under way is finished when the process stops."""


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended: libraries may swallow a cancellation that comes in a bad moment."""
    left = set(tasks)
    while left := {task for task in left if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1)


class Dispatcher:
    """Forwards accepted events to runs until it is stopped."""

    def __init__(self, pool: Pool, database_url: str, client: Client, catalog: Catalog) -> None:
        self._pool = pool
        self._database_url = database_url
        self._client = client
        self._catalog = catalog
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._queued: set[int] = set()
        self._temporal_is_up = asyncio.Event()
        self._temporal_is_up.set()
        self._sweep_now = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Dispatch while the context is open; on leaving, what is under way is finished."""
        stopping = asyncio.Event()
        forwarders = [asyncio.create_task(self._forward(stopping)) for _ in range(AT_ONCE)]
        watchers = [asyncio.create_task(watch()) for watch in (self._listen, self._sweep, self._probe)]
        try:
            yield
        finally:
            stopping.set()
            self._temporal_is_up.set()
            for _ in forwarders:
                self._queue.put_nowait(-1)
            await asyncio.wait(forwarders, timeout=FINISHED_WITHIN.total_seconds())
            await cancelled(*forwarders, *watchers)

    def wake(self, customers: list[int]) -> None:
        """Have customers looked at soon; one that waits already is not queued twice."""
        for customer in customers:
            if customer not in self._queued:
                self._queued.add(customer)
                self._queue.put_nowait(customer)

    async def dispatch(self, customer: int) -> None:
        """Forward everything a customer's runs have not heard yet, in order.

        Only one dispatcher at a time does this for a customer; another one that comes by meanwhile
        leaves it to the first, which looks again before it goes.
        """
        async with self._pool.acquire() as connection:
            if not await connection.fetchval("select pg_try_advisory_lock($1)", customer):
                return
            try:
                while plans := await plan(connection, self._catalog, customer, datetime.now(UTC)):
                    await self._carry_out(connection, plans)
            finally:
                await connection.execute("select pg_advisory_unlock($1)", customer)
            if await events.waits(connection, customer):
                # Accepted while we let go, and left to us by whoever was told of it.
                self.wake([customer])

    async def _carry_out(self, connection: Connection, plans: list[Plan]) -> None:
        done: list[Plan] = []
        try:
            for each in plans:
                try:
                    for unheard in await perform(self._client, each.actions):
                        if isinstance(unheard.argument, Departure):
                            # Nobody is left to record the end of this stay.
                            await enrolments.record_closed_run(
                                connection, unheard.workflow_id, unheard.argument.outcome
                            )
                except Undispatchable as error:
                    each.parked = str(error)
                if each.parked:
                    await events.park(connection, each.event.id, each.parked)
                    PARKED.inc()
                    # The reason is kept with it; a declaration's own rule may have quoted a value.
                    log.warning("event parked", number=each.event.id)
                else:
                    done.append(each)
        finally:
            if done:
                await events.mark_dispatched(connection, summarise(done))
                now = datetime.now(UTC)
                for each in done:
                    LAG.observe(max((now - each.event.received_at).total_seconds(), 0))
                DISPATCHED.inc(len(done))

    async def _forward(self, stopping: asyncio.Event) -> None:
        while True:
            customer = await self._queue.get()
            self._queued.discard(customer)
            await self._temporal_is_up.wait()
            if stopping.is_set():
                return
            try:
                await self.dispatch(customer)
            except TemporalAway as error:
                log.warning("Temporal is away; events wait in the database", reason=str(error))
                self._temporal_is_up.clear()
                TEMPORAL_AWAY.set(1)
            except (NotNow, *DATABASE_AWAY) as error:
                log.warning("dispatch failed, the sweep tries again", customer=customer, error=type(error).__name__)
            except Exception:
                log.exception("dispatch failed unexpectedly, the sweep tries again", customer=customer)

    async def _probe(self) -> None:
        """While Temporal is away, look whether it is back, and then sweep."""
        while True:
            await asyncio.sleep(PROBE_EVERY.total_seconds())
            if self._temporal_is_up.is_set():
                continue
            with contextlib.suppress(Exception):
                await self._client.service_client.check_health(timeout=timedelta(seconds=2))
                log.info("Temporal is back")
                TEMPORAL_AWAY.set(0)
                self._temporal_is_up.set()
                self._sweep_now.set()

    async def _sweep(self) -> None:
        """Find what no NOTIFY told of: its listener was away, or another dispatcher died over it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY.total_seconds()):
                    await self._sweep_now.wait()
            self._sweep_now.clear()
            if not self._temporal_is_up.is_set():
                continue
            try:
                async with self._pool.acquire() as connection:
                    self.wake(await events.waiting_customers(connection))
            except DATABASE_AWAY as error:
                log.warning("sweep failed", error=type(error).__name__)
            except Exception:
                log.exception("sweep failed unexpectedly")

    async def _listen(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._database_url, timeout=5)
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(events.CHANNEL, self._on_notify)
                self._sweep_now.set()
                try:
                    await lost.wait()
                finally:
                    connection.terminate()
            except DATABASE_AWAY as error:
                log.warning("cannot listen for events, sweeping only", error=type(error).__name__)
            except Exception:
                log.exception("listening failed unexpectedly, sweeping only")
            await asyncio.sleep(1)

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        customers = [int(number) for number in str(payload).split(",") if number]
        if customers:
            self.wake(customers)
        else:
            self._sweep_now.set()
