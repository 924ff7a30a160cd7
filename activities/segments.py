"""Segments at work: whoever something happened to is looked at, and now and then everybody."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from temporalio import activity

from activities.speechless import speechless
from domain.enrolments import Outcome
from domain.events import Event
from domain.segments import Look, Scan, ScanProgress, SegmentEntered, SegmentLeft
from segments.condition import BasisMissing, coded_in
from store import customers, enrolments, events, installation, membership, segments
from store.database import Connection, Pool
from store.events import NewEvent
from store.membership import BROKEN
from store.segments import Definition, Definitions
from workflows.audience import concerns_a_run
from workflows.catalog import Catalog
from workflows.declaration import Role

PAGE = 5_000
"""Customers looked at by one statement."""

SMALLEST_PAGE = 50
"""Customers of whom so few cannot be looked at in time by a segment that is too slow for any."""

CHUNK = 200
"""Customers who enter or leave in one transaction, under their locks."""

STRETCH = 10.0
"""Wall seconds after which an activity hands back, so that others have their turn."""

DISPATCH_BEHIND = 2_000
"""Events waiting for dispatch above which nobody is made to enter or leave: journeys' own events come first."""

RESCANNED_AFTER = timedelta(days=7)
"""Journey time after which everybody is looked at again, though looks should have left nothing to find."""

CODE_RESCANNED_AFTER = timedelta(days=1)
"""The same for what SQL in the code decides: nobody knows what it depends on."""

TRIED_AGAIN_AFTER = timedelta(hours=1)
"""Wall time after which a segment whose scan failed is scanned again: the database may have been slow."""

SHORTEST_RESCAN = timedelta(minutes=1)
"""Wall time between two scans of a segment at the least, however fast journey time runs."""

BASIS_LASTS = timedelta(hours=1)
"""Wall time for which scans share what they rest on."""

SOURCE = "segments"

TOO_SLOW = "too_slow"

log = structlog.get_logger()


class Unjudgeable(Exception):
    """Customers cannot be looked at by a segment.

    Attributes:
        why: ``too_slow``: not even a few could be in time; ``broken``: its SQL fails.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Redefined(Exception):
    """A segment was changed while customers were made to enter or leave it."""


@dataclass
class _Now:
    """The present of an activity, wall time; under time skipping it is Temporal's."""

    began: datetime
    since: float = field(default_factory=time.monotonic)

    def __call__(self) -> datetime:
        return self.began + timedelta(seconds=time.monotonic() - self.since)

    @property
    def is_long(self) -> bool:
        """Whether it is time to hand back."""
        return time.monotonic() - self.since > STRETCH


@dataclass(frozen=True)
class Segments:
    """Evaluates segments; made once per worker."""

    pool: Pool
    catalog: Catalog

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """What Temporal may ask for."""
        return [self.look_at_touched, self.begin_segment_scan, self.scan_segment]

    @activity.defn
    async def look_at_touched(self) -> Look:
        """Look at customers something happened to, or for whom time alone may have changed something.

        Doing it again does nothing twice: what was looked at is forgotten only after what came of it was kept.
        """
        with speechless():
            now = _Now(activity.info().started_time)
            examined, more = 0, True
            while more and not now.is_long:
                count, more = await self.look(now())
                examined += count
            async with self.pool.acquire() as connection:
                return Look(examined=examined, more=more, to_scan=tuple(await self._to_scan(connection, now())))

    @activity.defn
    async def begin_segment_scan(self, scan: Scan) -> int:
        """Record that everybody is going to be looked at by a segment, and work out what it rests on.

        Returns:
            Number of the evaluation; 0 if there is no such segment.
        """
        with speechless():
            return await self.begin_scan(scan, activity.info().started_time)

    @activity.defn
    async def scan_segment(self, evaluation: int) -> ScanProgress:
        """Look at everybody by a segment, page by page, from where the last attempt came to."""
        with speechless():
            now = _Now(activity.info().started_time)
            progress = await self.scan_page(evaluation, now())
            while not progress.over and not now.is_long:
                progress = await self.scan_page(evaluation, now())
            return progress

    async def look(self, now: datetime, limit: int = PAGE) -> tuple[int, bool]:
        """Look at some of those customers by all segments.

        Returns:
            How many were looked at, and whether there are more of them.
        """
        async with self.pool.acquire() as connection:
            found = await membership.to_look_at(connection, now, limit)
            if not found.customers:
                return 0, False
            definitions = await segments.load(connection)
            given_up = await membership.given_up(connection, definitions)
            evaluation = await membership.record_look(connection, now) if definitions.by_name else None
            looks: dict[int, datetime] = {}
            is_whole = True
            for definition in definitions.by_name.values():
                if definition.name in given_up:
                    continue
                try:
                    due = await self._examine(connection, definitions, definition, found.customers, now, evaluation)
                except Redefined:
                    return 0, True
                except BasisMissing:
                    # Its scan works it out, and looks at everybody.
                    continue
                except Unjudgeable as error:
                    # The others are not to wait for it. Its scan tells whether it is always so.
                    log.warning("segment not looked at", segment=definition.name, why=error.why)
                    await membership.doubt(connection, definition)
                    is_whole = False
                    continue
                for customer, at in due.items():
                    looks[customer] = min(at, looks.get(customer, at))
            if not is_whole:
                # Whoever was not looked at by it is to be looked at again.
                return 0, False
            if not await membership.looked_at(connection, definitions, found, looks):
                return 0, True
            if evaluation:
                await membership.finish_look(connection, evaluation, len(found.customers))
        return len(found.customers), limit in (len(found.touches), len(found.due))

    async def begin_scan(self, scan: Scan, now: datetime) -> int:
        """Record a scan, see `begin_segment_scan`."""
        async with self.pool.acquire() as connection:
            definitions = await segments.load(connection)
            definition = definitions.by_name.get(scan.segment)
            if definition is None:
                return 0
            evaluation = await membership.begin_scan(
                connection, definition, definitions.meaning(scan.segment), scan.asked_by
            )
            try:
                with _judging(definition):
                    await membership.work_out_bases(
                        connection, definition.form, definitions.forms, now, fresh=BASIS_LASTS
                    )
            except Unjudgeable as error:
                await membership.finish_scan(connection, evaluation, error.why)
            return evaluation

    async def scan_page(self, evaluation: int, now: datetime, limit: int = PAGE) -> ScanProgress:
        """Look at the next page of a scan."""
        async with self.pool.acquire() as connection:
            standing = await membership.standing(connection, evaluation)
            if standing is None or standing.over:
                return ScanProgress(over=True)
            definitions = await segments.load(connection)
            failed = None
            if standing.segment not in definitions.by_name or definitions.meaning(standing.segment) != standing.meaning:
                # Whoever changed it begins another scan.
                failed = "redefined"
            ids = [] if failed else await membership.page(connection, standing.cursor, limit)
            if ids:
                definition = definitions.by_name[standing.segment]
                try:
                    due = await self._examine(connection, definitions, definition, ids, now, evaluation)
                except Redefined:
                    failed = "redefined"
                except Unjudgeable as error:
                    failed = error.why
                else:
                    async with connection.transaction():
                        await segments.lock_looks(connection)
                        await membership.look_again(connection, due)
                        await membership.advance(connection, evaluation, ids[-1], len(ids))
            over = failed is not None or len(ids) < limit
            if over:
                await membership.finish_scan(connection, evaluation, failed)
                log.info("segment scanned", segment=standing.segment, evaluation=evaluation, failed=failed)
            after = await membership.standing(connection, evaluation)
            assert after is not None
            return ScanProgress(over=over, examined=after.examined, entered=after.entered, departed=after.departed)

    async def _examine(
        self,
        connection: Connection,
        definitions: Definitions,
        definition: Definition,
        ids: Sequence[int],
        now: datetime,
        evaluation: int | None,
    ) -> dict[int, datetime]:
        """Look at customers by one segment, and let those enter and leave who do.

        Returns:
            Whom to look at again, though nothing happens to them, and when (wall time).

        Raises:
            BasisMissing, Unjudgeable: The segment cannot be judged by.
        """
        judged = await _judged(connection, definitions, definition, ids, now)
        differing = [each.customer for each in judged if each.differs]
        for chunk in _parts(differing, CHUNK):
            _lives()
            while await membership.dispatch_is_behind(connection, DISPATCH_BEHIND):
                _lives()
                await asyncio.sleep(0.5)
            await self._change(connection, definitions, definition, chunk, now, evaluation)
        return {each.customer: each.look_at for each in judged if each.look_at}

    async def _change(
        self,
        connection: Connection,
        definitions: Definitions,
        definition: Definition,
        ids: Sequence[int],
        now: datetime,
        evaluation: int | None,
    ) -> None:
        """Let customers enter or leave a segment as they are in it now, and tell their journeys."""
        async with connection.transaction():
            gone = await customers.lock(connection, ids)
            if not await segments.hold_still(connection, [definition, *definitions.among(definition.form)]):
                raise Redefined
            here = [customer for customer in ids if customer not in gone]
            # Only this is the segment's own doing; whoever waits for a lock or the database tries again.
            with _judging(definition):
                changed = await membership.change(connection, definitions, definition, here, now)
            await self._tell(connection, definition.name, SegmentEntered, changed.entered, now)
            await self._tell(connection, definition.name, SegmentLeft, changed.departed, now)
            if evaluation:
                await membership.count(connection, evaluation, changed)

    async def _tell(
        self, connection: Connection, segment: str, event: type[Event], ids: Sequence[int], now: datetime
    ) -> None:
        """Keep that customers entered or left, as an event like any other; what it decides counts from now on."""
        if not ids:
            return
        properties = {"segment": segment}
        message_ids = {f"{segment}:{customer}:{uuid4().hex}": customer for customer in ids}
        kept = await events.keep(
            connection,
            [
                NewEvent(
                    customer=customer,
                    source=SOURCE,
                    message_id=message_id,
                    type="segment",
                    name=event.event_name,
                    properties=properties,
                    context={},
                    timestamp=now,
                    received_at=now,
                    concerns_a_run=concerns_a_run(self.catalog, event, segment),
                )
                for message_id, customer in message_ids.items()
            ],
        )
        deciding = [
            (declaration, Outcome(role.value), rule)
            for declaration, role, rule in self.catalog.roles.get(event.event_name, ())
            if role in (Role.GOAL, Role.EXIT)
        ]
        if not deciding:
            return
        number_of = {message_ids[message_id]: number for message_id, number in kept.items()}
        stays = await enrolments.undecided(connection, ids, {declaration.name for declaration, _, _ in deciding})
        for stay in stays:
            for declaration, outcome, rule in deciding:
                if stay.journey == declaration.name and rule.holds(stay.trigger, properties, in_doubt=True):
                    await enrolments.decide_outcome(connection, [stay.id], outcome, number_of[stay.customer])

    async def _to_scan(self, connection: Connection, now: datetime) -> Iterable[str]:
        """Return the segments by which everybody is to be looked at."""
        definitions = await segments.load(connection)
        given_up = await membership.given_up(connection, definitions)
        clock = await installation.clock(connection)

        def is_due(definition: Definition) -> bool:
            if definition.scanned != definitions.meaning(definition.name) or definition.scanned_at is None:
                return True
            if definition.name in given_up:
                return now >= definition.scanned_at + TRIED_AGAIN_AFTER
            coded = next(coded_in(definition.form, definitions.forms), None)
            lasts = clock.wall_duration(CODE_RESCANNED_AFTER if coded else RESCANNED_AFTER)
            return now >= definition.scanned_at + max(lasts, SHORTEST_RESCAN)

        return [definition.name for definition in definitions.by_name.values() if is_due(definition)]


async def _judged(
    connection: Connection, definitions: Definitions, definition: Definition, ids: Sequence[int], now: datetime
) -> list[membership.Judged]:
    """Look at customers by one segment; fewer at a time where so many take too long.

    Raises:
        BasisMissing, Unjudgeable: The segment cannot be judged by.
    """
    _lives()
    try:
        with _judging(definition):
            return await membership.judge(connection, definitions, definition, ids, now)
    except Unjudgeable as error:
        if error.why != TOO_SLOW or len(ids) <= SMALLEST_PAGE:
            raise
        parts = [await _judged(connection, definitions, definition, part, now) for part in _parts(ids, len(ids) // 10)]
        return [each for part in parts for each in part]


@contextmanager
def _judging(definition: Definition) -> Iterator[None]:
    """Tell what a segment itself brings about from what happens to come to pass."""
    try:
        yield
    except TimeoutError:
        raise Unjudgeable(TOO_SLOW) from None
    except BROKEN as error:
        log.error("a segment's SQL fails", segment=definition.name, error=type(error).__name__)
        raise Unjudgeable("broken") from None


def _parts(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[place : place + size] for place in range(0, len(ids), size))


def _lives() -> None:
    """Show Temporal that this attempt is alive."""
    if activity.in_activity():
        activity.heartbeat()
