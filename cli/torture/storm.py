"""The storm: a steady flow of customers, and faults by a schedule that a seed draws."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from cli.torture.backend import Accepted, LibraryBackend, OwnBackend
from cli.torture.evidence import Dialogue, Farewell
from cli.torture.faults import FAULTS, NEEDS, Field, Missed, strike
from cli.torture.lives import Desk, Life, Phones
from cli.torture.people import Person, person
from cli.torture.stage import Stage
from store.database import AWAY

LONGEST_GAP = 6.0
"""Wall seconds between two faults, on average, at the most."""

ALL_WITHIN = 0.7
"""Share of the storm in which every fault has begun at least once."""

LONGER_AT_MOST = 30.0
"""Wall seconds by which the storm goes on for faults that have found nothing to strike yet."""

TOLD_WITHIN = 120.0
"""Wall seconds after the storm in which backends must have been able to tell everything."""

BY_LIBRARY = 4
"""Every such customer's backend uses Segment's own library."""

_ON_ITS_WAY = {
    "events": "events where dispatched_at is null and parked_at is null",
    "provider calls": "messages where status = 'sending'",
    "uncertain messages": "messages where status = 'unknown' and resolved_at is null",
    "messages of stays that are over": """
        messages m join enrolments e on e.id = m.enrolment_id where m.status = 'waiting' and e.ended_at is not null
    """,
    "stays decided but not over": "enrolments where outcome is not null and ended_at is null",
}
"""What moves by itself after a storm, and where it is counted."""

LASTS = {"long pause of a worker": 35.0, "callbacks doubled": 15.0, "callbacks delayed": 15.0}
"""Wall seconds of the faults that last longest: after their first time they strike only where the storm has room."""

_TELL_EVERY = 10.0

Tell = Callable[[str], None]
"""Says a line to whoever watches."""


@dataclass(frozen=True)
class Struck:
    """A fault that struck.

    Attributes:
        at: Wall seconds since the storm began.
        what: What it did.
        lasted: Wall seconds until everything was put right again.
    """

    at: float
    fault: str
    what: str
    lasted: float


@dataclass
class Storm:
    """What happened in a storm.

    Attributes:
        customers: How many lived in it.
        unsubscribed: Who unsubscribed in one click, and was answered.
        dialogues: Whom operators talked with, and when.
        missed: Faults that found nothing to strike, and why.
        unfinished: What was still not accepted when patience ended.
    """

    seed: int
    seconds: float
    began: datetime
    accepted: Accepted
    struck: list[Struck] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    customers: int = 0
    unsubscribed: Sequence[Farewell] = ()
    dialogues: Sequence[Dialogue] = ()
    resets: list[str] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    unfinished: str | None = None

    @property
    def by_fault(self) -> dict[str, int]:
        """How often each fault struck."""
        return {name: sum(each.fault == name for each in self.struck) for name in FAULTS}


def schedule(seed: int, seconds: float, faults: Collection[str]) -> list[tuple[float, str]]:
    """Draw when which fault strikes: all of them in turn, in an order drawn anew each time.

    The order of `FAULTS` itself comes first: what lasts longest stands first there.

    Args:
        seconds: Wall seconds the storm lasts.
        faults: Those that may strike.
    """
    dice = random.Random(f"schedule {seed}")
    gap = min(LONGEST_GAP, seconds * ALL_WITHIN / max(len(faults), 1))
    drawn: list[tuple[float, str]] = []
    first = order = [name for name in FAULTS if name in faults]
    at = 1.0
    while order:
        for name in order:
            if at >= seconds:
                return drawn
            if order is first or at + LASTS.get(name, 0.0) <= seconds:
                drawn.append((at, name))
            at += gap * dice.uniform(0.5, 1.5)
        order = dice.sample(first, k=len(first))
    return drawn


async def rage(
    stage: Stage,
    *,
    seed: int,
    seconds: float,
    customers_per_second: float,
    faults: Collection[str],
    quiet_within: float,
    tell: Tell,
) -> Storm:
    """Let customers live and everything break for some time, then wait until all is quiet.

    Args:
        seconds: Wall seconds of the storm itself.
        quiet_within: Wall seconds of patience after it.
    """
    accepted = Accepted()
    dice = random.Random(f"storm {seed}")
    own = OwnBackend(stage.stack.api_url, stage.stack.write_key, accepted, random.Random(f"backend {seed}"))
    library = LibraryBackend(stage.stack.api_url, stage.stack.write_key, accepted, own)
    phones = Phones(stage, seed)
    storm = Storm(seed, seconds, datetime.now(UTC), accepted)
    ground = Field(stage, dice, own)
    possible = [name for name in faults if NEEDS.get(name) not in stage.not_possible]
    async with _desk(stage, accepted) as desk, _meanwhile(phones.answer(), stage.watch()):
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            lives = group.create_task(_live(storm, phones, desk, own, library, customers_per_second, over))
            await _strike(storm, ground, schedule(seed, seconds, possible), tell)
            tell("the storm is over; what is being told is told to its end")
            over.set()
            await _calm(ground)
            try:
                async with asyncio.timeout(TOLD_WITHIN):
                    await asyncio.shield(lives)
                    await library.finish()
                    await own.finish()
            except TimeoutError:
                storm.unfinished = f"{own.waiting} calls were not accepted {TOLD_WITHIN:.0f} s after the storm"
                lives.cancel()
        storm.resets, storm.terminated, storm.counted = ground.resets, ground.terminated, ground.counted
        storm.counted["calls given up by Segment's library, told again"] = library.given_up
        await _quiet(stage, quiet_within, tell)
    storm.unsubscribed, storm.dialogues = phones.unsubscribed, desk.talks
    return storm


@contextlib.asynccontextmanager
async def _desk(stage: Stage, accepted: Accepted) -> AsyncIterator[Desk]:
    key = {"Authorization": f"Bearer {stage.stack.operator_key}"}
    async with httpx.AsyncClient(base_url=stage.stack.api_url, headers=key, trust_env=False, timeout=10) as http:
        yield Desk(http, accepted)


@contextlib.asynccontextmanager
async def _meanwhile(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines while the context is open."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _live(
    storm: Storm,
    phones: Phones,
    desk: Desk,
    own: OwnBackend,
    library: LibraryBackend,
    customers_per_second: float,
    over: asyncio.Event,
) -> None:
    """Let a customer begin every now and then, until the storm is over, and wait for the last to end."""
    dice = random.Random(f"people {storm.seed}")
    async with asyncio.TaskGroup() as living:
        while not over.is_set():
            storm.customers += 1
            who = person(storm.customers, dice)
            backend = library if who.number % BY_LIBRARY == 0 else own
            life = Life(who, backend, desk, random.Random(f"life {storm.seed} {who.number}"), over)
            living.create_task(_be_born(phones, who, life))
            await asyncio.sleep(dice.uniform(0.5, 1.5) / customers_per_second)


async def _be_born(phones: Phones, who: Person, life: Life) -> None:
    await phones.give(who)
    await life.live()


async def _strike(storm: Storm, ground: Field, plan: Sequence[tuple[float, str]], tell: Tell) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as striking:
        for at, name in plan:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            striking.create_task(_strike_once(storm, ground, began, name, tell))
        await asyncio.sleep(max(0.0, began + storm.seconds - time.monotonic()))


async def _strike_once(storm: Storm, ground: Field, began: float, name: str, tell: Tell) -> None:
    """Strike; if there was nothing to strike, try again while the storm lasts, or until it has struck once."""
    while True:
        at = time.monotonic() - began
        try:
            what = await strike(name, ground)
        except Missed as missed:
            storm.missed[f"{name}: {missed}"] += 1
            patience = storm.seconds if storm.by_fault[name] else storm.seconds + LONGER_AT_MOST
            if time.monotonic() - began > patience:
                return
            await asyncio.sleep(1)
            continue
        storm.struck.append(Struck(round(at, 1), name, what, round(time.monotonic() - began - at, 1)))
        tell(f"{at:6.1f} s  {name}: {what}")
        return


async def _calm(ground: Field) -> None:
    """Take every fault back that is left."""
    stage = ground.stage
    if stage.clocks:
        stage.clocks.right()
    await stage.tell_sandbox("DELETE", "faults")
    await stage.tell_sandbox("PUT", "callbacks", {})


async def _quiet(stage: Stage, within: float, tell: Tell) -> None:
    """Wait until nothing is on its way any more; what still is when patience ends is for the judge."""
    began = told = time.monotonic()
    while True:
        moving = await _moving(stage)
        if not moving:
            tell("everything is quiet")
            return
        now = time.monotonic()
        if now > began + within:
            tell(f"not quiet after {within:.0f} s: {moving}")
            return
        if now > told + _TELL_EVERY:
            tell(f"still on its way: {', '.join(f'{number} {what}' for what, number in moving.items())}")
            told = now
        await asyncio.sleep(1)


async def _moving(stage: Stage) -> dict[str, int]:
    """Count what is still on its way, by what it is; only what there is."""
    counted: dict[str, int] = {}
    try:
        counted["callbacks"] = (await stage.ask_sandbox("callbacks"))["waiting"]
        for what, count in _ON_ITS_WAY.items():
            counted[what] = await stage.database.fetchval(f"select count(*) from {count}")
    except (httpx.HTTPError, *AWAY) as error:
        counted[f"not even asked: {type(error).__name__}"] = 1
    return {what: number for what, number in counted.items() if number}
