"""Who watches whose inbox live, and how this process hears that there is something to look at.

One connection to PostgreSQL listens for all; whoever watches holds none while nothing happens.
"""

import asyncio
import contextlib
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType

import asyncpg
import structlog
from prometheus_client import Gauge

from store.database import AWAY

log = structlog.get_logger()

CHANNEL = "shown"
"""What the database notifies by, with our number of the customer (migration 0004)."""

MOST_FOR_A_KEY = 2000
"""Streams one process holds open for passes that were asked for with the same key."""

MOST_FOR_A_CUSTOMER = 6
"""Streams one process holds open for one customer: as many as a browser keeps to one host."""

PROBE_EVERY = 30.0
"""Wall seconds after which the listening connection is tried."""

STREAMS = Gauge("journeys_live_streams", "Streams that are open.")


class Live:
    """What one process watches; use it with `running`."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._watching: dict[int, set[asyncio.Event]] = defaultdict(set)
        self._by_key: Counter[str] = Counter()
        self.closing = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear of news while the context is open, and end every stream as soon as the process is told to stop."""
        listening = asyncio.create_task(self._listen())
        try:
            with _told_to_stop(self.close):
                yield
        finally:
            self.close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def close(self) -> None:
        """End every stream: browsers come back by themselves, to a process that goes on."""
        self.closing = True
        self._wake()

    def has_room(self, customer: int, key: str) -> bool:
        """Whether one more stream may be opened for a customer, by leave of a key."""
        return self._by_key[key] < MOST_FOR_A_KEY and len(self._watching.get(customer, ())) < MOST_FOR_A_CUSTOMER

    @contextlib.contextmanager
    def watching(self, customer: int, key: str) -> Iterator[asyncio.Event]:
        """Watch a customer; the event is set when there may be something new.

        Args:
            key: Name of the key by whose leave.
        """
        news = asyncio.Event()
        self._watching[customer].add(news)
        self._by_key[key] += 1
        STREAMS.inc()
        try:
            yield news
        finally:
            STREAMS.dec()
            self._by_key[key] -= 1
            self._watching[customer].discard(news)
            if not self._watching[customer]:
                del self._watching[customer]

    def _wake(self) -> None:
        for watchers in self._watching.values():
            for news in watchers:
                news.set()

    def _hear(self, _: object, __: int, ___: str, customer: object) -> None:
        if isinstance(customer, str) and customer.isdecimal():
            for news in self._watching.get(int(customer), ()):
                news.set()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._database_url, timeout=5, command_timeout=5)
                try:
                    await connection.add_listener(CHANNEL, self._hear)
                    # What came while nobody listened.
                    self._wake()
                    while True:
                        await asyncio.sleep(PROBE_EVERY)
                        await connection.execute("select 1")
                finally:
                    connection.terminate()
            except AWAY as error:
                log.warning("cannot hear of what is to be shown", error=type(error).__name__)
            except Exception:
                log.exception("listening for what is to be shown failed unexpectedly")
            await asyncio.sleep(1)


@contextlib.contextmanager
def _told_to_stop(told: Callable[[], None]) -> Iterator[None]:
    """Hear of the signal that stops the server when the server does.

    It waits for open answers before it tells the application, and a stream ends only when it is told to.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(told)
        before[number](number, frame)

    for which in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(which)
        if callable(handler):
            before[which] = handler
            signal.signal(which, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
