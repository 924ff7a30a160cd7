"""Who is calling: the keys a process knows, how it hears that one was revoked, and how much each may do.

All live tokens are known by their hashes, so a request costs no query. They are trusted only while the process
listens for changes: PostgreSQL tells of a revocation when it commits, and from then on, until the tokens have been
read again, every request asks the database. Should a notification not get through, the tokens are read every few
seconds, and after `TRUSTED_FOR` without that they are not trusted any more.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

import asyncpg
import structlog
from prometheus_client import Counter

from api.problems import Problem
from api.rates import Rates
from store import keys
from store.database import AWAY, Pool
from store.keys import Key, Rate, Token

log = structlog.get_logger()

TRUSTED_FOR = 10.0
"""Wall seconds for which tokens are trusted after they were read: the longest a revoked one can go on opening its
key, in a process that does not hear of it."""

READ_EVERY = 4.0
"""Wall seconds after which tokens are read again without anybody telling of a change."""

USE_NOTED_EVERY = 60.0
"""Wall seconds within which the use of a token is written down once."""

GUESSES = Rate(per_second=0.5, burst=30)
"""How often an address may come with a token that is none. Real tokens are known before that is looked at: whoever
guesses cannot keep anybody out, though they share an address."""

REFUSED = Counter("journeys_requests_refused_total", "Requests refused before they were looked at.", ["reason"])


class Keyring:
    """The keys one process knows; use it with `running`."""

    def __init__(self, pool: Pool, database_url: str) -> None:
        self._pool = pool
        self._database_url = database_url
        self._known: dict[bytes, Token] = {}
        self._trusted_until = 0.0
        self._changed = asyncio.Event()
        self._spent = Rates()
        self._guessed = Rates()
        self._used: dict[int, datetime] = {}
        self._noted: dict[int, float] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear of changes and write down uses while the context is open."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._write_uses())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._write_used()

    async def recognise(self, token: str, address: str | None) -> Key | None:
        """Return the key a token opens, if it opens one now.

        Args:
            address: Of the client, as far as it is known.

        Raises:
            Problem: 429, too many wrong tokens came from the address.
        """
        hashed = keys.hash_of(token)
        known = self._known.get(hashed)
        if known is None or time.monotonic() >= self._trusted_until:
            known = await (self._ask(hashed) if known else self._try(hashed, address))
        if known is None or not known.is_live(datetime.now(UTC)):
            return None
        self._note_use(known.id)
        return known.key

    def admit(self, key: Key) -> None:
        """Let a key do one thing more.

        Raises:
            Problem: 429, with how long to wait.
        """
        if wait := self._spent.admit(key.name, key.rate):
            raise _too_many("rate", f"the key may do {key.rate.per_second:g} a second", wait)

    def charge(self, key: Key, more: int) -> None:
        """Count what a request turned out to hold beyond the one thing it was admitted for."""
        self._spent.charge(key.name, key.rate, more)

    async def _ask(self, hashed: bytes) -> Token | None:
        async with self._pool.acquire() as connection:
            return await keys.recognise(connection, hashed)

    async def _try(self, hashed: bytes, address: str | None) -> Token | None:
        """Ask for a token nobody knows here: a new one, or a guess."""
        caller = _network(address)
        if wait := self._guessed.admit(caller, GUESSES):
            raise _too_many("guesses", "too many wrong keys came from this address", wait)
        found = await self._ask(hashed)
        if found:
            self._guessed.charge(caller, GUESSES, -1)
        return found

    async def _listen(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._database_url, timeout=5, command_timeout=5)
                try:
                    connection.add_termination_listener(self._hear)
                    await connection.add_listener(keys.CHANNEL, self._hear)
                    while not connection.is_closed():
                        await self._read(connection)
                finally:
                    # However it ends, that is heard too.
                    connection.terminate()
            except AWAY as error:
                log.warning("cannot hear of changed keys, asking for each", error=type(error).__name__)
            except Exception:
                log.exception("listening for changed keys failed unexpectedly, asking for each")
            await asyncio.sleep(1)

    async def _read(self, connection: asyncpg.Connection) -> None:
        """Read all tokens, and wait until it is time to do so again."""
        self._changed.clear()
        begun = time.monotonic()
        self._known = await keys.live(connection)
        if not self._changed.is_set():
            self._trusted_until = begun + TRUSTED_FOR
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), READ_EVERY)

    def _hear(self, *_: object) -> None:
        self._trusted_until = 0.0
        self._changed.set()

    def _note_use(self, token: int) -> None:
        now = time.monotonic()
        if now - self._noted.get(token, -math.inf) >= USE_NOTED_EVERY:
            self._noted[token] = now
            self._used[token] = datetime.now(UTC)

    async def _write_uses(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self._write_used()

    async def _write_used(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._pool.acquire() as connection:
                await keys.used(connection, used)
        except AWAY as error:
            # The next use within a minute says the same.
            log.warning("uses of keys not written down", error=type(error).__name__)


def _network(address: str | None) -> str:
    """Return whom an address belongs to: of IPv6, everybody has billions within a /64."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return address or "unknown"
    return str(int(parsed) >> 64) if isinstance(parsed, IPv6Address) else str(parsed)


def _too_many(reason: str, message: str, wait: float) -> Problem:
    REFUSED.labels(reason).inc()
    seconds = math.ceil(wait)
    return Problem(
        429, "too_many_requests", f"{message}; try again in {seconds} s", headers={"Retry-After": str(seconds)}
    )
