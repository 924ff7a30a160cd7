"""Goals race claims: whichever commits first, each customer's facts are in one order, and nothing is claimed after.

For every customer the acceptance of the goal and `deliver` begin at the same moment in different processes, with
connections of their own; the provider is one that says yes at once and notes when each call began.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from rich.console import Console
from rich.table import Table

from cli.stack import EmbeddedStack, Part, StackError
from cli.stack.ports import HOST
from cli.torture.racer import ROLES, Task, message_of
from cli.torture.storm import Tell
from store.database import open_pool
from store.installation import begin
from store.migrate import migrate

RACERS = 2
"""Processes of each role; each has a share of the customers."""

ROUND = 100
"""Customers that race at the same time; the next round begins when all of one are decided."""

PAUSE_EVERY = 45.0
"""Wall seconds after which one of the sending processes is frozen …"""

PAUSE = 14.0
"""… for longer than a claim holds and a call lasts."""

FIRST_HANDICAP = 0.1
"""The longest an acceptance waits before its part in the first round (wall seconds): it is quicker than a send."""

ALLOWED = 12.0
"""Wall seconds after a goal in which a call may begin: the 2 s of a claim made before it, and a call's own way."""

_MOST_AT_ONCE = 20_000

_POPULATE = (
    "insert into customers (id, phone, time_zone, locale) overriding system value "
    "select n, '+1415' || lpad(n::text, 7, '0'), 'America/Los_Angeles', 'en' from generate_series($1::int, $2) n",
    "insert into identities (kind, value, customer_id) "
    "select 'user', 'race-' || n, n from generate_series($1::int, $2) n",
    'insert into events (id, customer_id, source, message_id, type, name, properties, "timestamp", received_at, '
    "dispatched_at) select n, n, 'race', 'begun-' || n, 'track', 'offer_made', "
    "jsonb_build_object('application_id', n::text), now(), now(), now() from generate_series($1::int, $2) n",
    "insert into enrolments (id, customer_id, journey, key, workflow_id, trigger_event_id, enrolled_at) "
    "overriding system value select n, n, 'Offer', n::text, 'Offer-c' || n || '-e' || n, n, now() "
    "from generate_series($1::int, $2) n",
)

_BROKEN = """
    select m.id::text, m.customer_id, m.sequence, e.outcome_event_id from messages m
    join enrolments e on e.id = m.enrolment_id
    where m.status not in ('skipped', 'waiting') and not coalesce(m.sequence < e.outcome_event_id, false)
"""
_COUNTS = """
    select (select count(*) from enrolments where outcome = 'goal') as goals,
           (select count(*) from messages where status not in ('skipped', 'waiting')) as claimed,
           (select count(*) from messages where status = 'unknown') as uncertain,
           (select count(*) from messages where status = 'skipped') as overtaken
"""


@dataclass
class Provider:
    """Says yes to every SMS at once.

    Attributes:
        began: When the calls for a message began (wall seconds since 1970).
    """

    began: dict[str, list[float]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request of a connection alike."""
        body = b'{"sid": "SM00000000000000000000000000000000", "status": "queued", "error_code": null}'
        head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                at = time.time()
                length = next(
                    int(line.split(b":")[1])
                    for line in request.lower().split(b"\r\n")
                    if line.startswith(b"content-len")
                )
                form = parse_qs((await reader.readexactly(length)).decode())
                message = parse_qs(urlsplit(form["StatusCallback"][0]).query)["mid"][0]
                self.began.setdefault(message, []).append(at)
                writer.write(head % len(body) + body)
                await writer.drain()
        writer.close()


@dataclass
class Racer:
    """A process that takes part."""

    role: str
    process: asyncio.subprocess.Process
    result: Path

    async def run(self, task: Task) -> float:
        """Do a round; returns how long it took (wall seconds)."""
        began = time.monotonic()
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(task).encode() + b"\n")
        await self.process.stdin.drain()
        if not await self.process.stdout.readline():
            raise StackError(f"a racer ended: see {self.result.with_suffix('.log')}")
        return time.monotonic() - began

    async def finish(self) -> Mapping[str, float]:
        """End it; returns when (wall) each of its customers' part was done."""
        assert self.process.stdin
        self.process.stdin.close()
        await self.process.wait()
        done: Mapping[str, float] = json.loads(self.result.read_text())
        return done


async def race(data: Path, *, goals: int, seed: int, tell: Tell) -> dict[str, Any]:
    """Let goals race claims; returns the figures.

    Args:
        data: Directory for logs; what else is kept there goes.
        goals: How many customers.

    Raises:
        StackError: The database cannot start.
    """
    provider = Provider()
    async with (
        EmbeddedStack(data, parts=[Part.POSTGRES], durable=False) as stack,
        await asyncio.start_server(provider.serve, HOST, 0) as server,
    ):
        url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        await asyncio.to_thread(migrate, stack.database_url)
        async with await open_pool(stack.database_url, size=2) as pool:
            async with pool.acquire() as connection:
                await begin(connection, 1.0)
            await _populate(pool, goals)
            tell(f"{goals} customers are on their way to a goal, each with a message about to leave")
            async with _racers(stack, data, {"TWILIO_BASE_URL": url}) as racers:
                began = time.monotonic()
                pauses = await _rounds(racers, goals, random.Random(seed), tell)
                seconds = time.monotonic() - began
                done: dict[str, dict[str, float]] = {role: {} for role in ROLES}
                for racer in racers:
                    done[racer.role].update(await racer.finish())
            broken = [dict(row) for row in await pool.fetch(_BROKEN)]
            counts = dict(await pool.fetchrow(_COUNTS) or {})
    return _figures(seed, goals, seconds, pauses, counts, broken, done["accept"], provider.began)


async def _populate(pool: asyncpg.Pool, goals: int) -> None:
    for first in range(1, goals + 1, _MOST_AT_ONCE):
        for statement in _POPULATE:
            await pool.execute(statement, first, min(first + _MOST_AT_ONCE - 1, goals))
    await pool.execute("select setval(pg_get_serial_sequence('events', 'id'), $1)", goals)
    await pool.execute("analyze")


@contextlib.asynccontextmanager
async def _racers(stack: EmbeddedStack, data: Path, variables: Mapping[str, str]) -> AsyncIterator[Sequence[Racer]]:
    environment = {**os.environ, **stack.environment, **variables}
    racers: list[Racer] = []
    async with contextlib.AsyncExitStack() as open_files:
        try:
            for role in ROLES:
                for number in range(RACERS):
                    result = data / "logs" / f"{role}-{number + 1}.json"
                    log = open_files.enter_context(result.with_suffix(".log").open("wb"))
                    process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "cli.torture.racer", role, str(result)),
                        env=environment,
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        stderr=log,
                    )
                    racers.append(Racer(role, process, result))
            yield racers
        finally:
            for racer in racers:
                if racer.process.returncode is None:
                    racer.process.kill()
                    await racer.process.wait()


async def _rounds(racers: Sequence[Racer], goals: int, dice: random.Random, tell: Tell) -> int:
    """Race round after round; returns how often a sender was paused meanwhile."""
    pauses, last, handicap = 0, time.monotonic(), FIRST_HANDICAP
    for first in range(1, goals + 1, ROUND):
        customers = list(range(first, min(first + ROUND, goals + 1)))
        pausing = None
        if time.monotonic() - last > PAUSE_EVERY:
            sender = dice.choice([racer for racer in racers if racer.role == "send"])
            pausing = asyncio.create_task(_pause(sender.process.pid, dice.uniform(0, 0.2)))
            pauses, last = pauses + 1, time.monotonic()
        accept, send = await asyncio.gather(
            _round(racers, "accept", customers, handicap, dice), _round(racers, "send", customers, 0.002, dice)
        )
        if pausing:
            await pausing
        else:
            # Each shall win about as often: whoever is through earlier waits more the next time.
            handicap *= min(2.0, max(0.5, send / accept))
        if first // ROUND % 100 == 99:
            tell(f"{first + ROUND - 1} of {goals}")
    return pauses


async def _round(
    racers: Sequence[Racer], role: str, customers: Sequence[int], handicap: float, dice: random.Random
) -> float:
    """Let those of one role act for some customers; returns how long the slowest of them took."""
    shares = enumerate(racer for racer in racers if racer.role == role)
    tasks = [
        racer.run([(customer, round(dice.uniform(0, handicap), 5)) for customer in customers[share::RACERS]])
        for share, racer in shares
    ]
    return max(await asyncio.gather(*tasks))


async def _pause(pid: int, after: float) -> None:
    await asyncio.sleep(after)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(PAUSE)
    os.kill(pid, signal.SIGCONT)


def _figures(
    seed: int,
    goals: int,
    seconds: float,
    pauses: int,
    counts: Mapping[str, int],
    broken: Sequence[Mapping[str, Any]],
    accepted: Mapping[str, float],
    began: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    late = [
        at - accepted[str(customer)]
        for customer in range(1, goals + 1)
        for at in began.get(message_of(customer), ())
        if at > accepted[str(customer)]
    ]
    twice = [message for message, times in began.items() if len(times) > 1]
    called, claimed = len(began), counts["claimed"]
    violations = [
        f"message {row['id']}: claimed at {row['sequence']}, goal {row['outcome_event_id']}" for row in broken
    ]
    violations += [f"message {message}: its provider was called {len(began[message])} times" for message in twice]
    if counts["goals"] != goals:
        violations.append(f"{goals} goals were accepted, {counts['goals']} stays have one")
    if late and max(late) > ALLOWED:
        violations.append(f"a provider was called {max(late):.1f} s after the goal was accepted")
    # Of a call that broke off nobody knows whether it came as far as the provider.
    if not claimed - counts["uncertain"] <= called <= claimed:
        violations.append(f"{claimed} messages are claimed, the provider was called for {called}")
    return {
        "seed": seed,
        "goals": goals,
        "seconds": round(seconds, 1),
        "goals_per_second": round(goals / seconds, 1),
        "claims_before_their_goal": claimed,
        "claims_overtaken_by_their_goal": counts["overtaken"],
        "claims_after_their_goal": len(broken),
        "provider_calls": called,
        "provider_calls_that_broke_off": counts["uncertain"],
        "begun_after_the_goals_200": len(late),
        "longest_after_seconds": round(max(late, default=0), 3),
        "median_after_seconds": round(statistics.median(late), 4) if late else 0,
        "pauses_of_a_sender": pauses,
        "violations": violations,
    }


def show(console: Console, told: Mapping[str, Any]) -> None:
    """Print the figures."""
    table = Table(title="Goals racing claims", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in told.items():
        if name != "violations":
            table.add_row(name.replace("_", " "), f"{value:,}")
    console.print(table)
    for violation in told["violations"][:40]:
        console.print(violation, style="red", markup=False, highlight=False, soft_wrap=True)
    if not told["violations"]:
        console.print("No claim has a place after its goal.", style="green")
