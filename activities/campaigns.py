"""Campaigns at work: recipients are found page by page, and written to one after the other at their pace."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.asked import Manner
from activities.courtesy import Courtesy
from activities.deliver import Deliver
from activities.speechless import speechless
from domain.campaigns import PRIORITY, CampaignForm, CampaignStatus, Planned, Progress
from domain.enrolments import Outcome
from domain.messages import RANK, DeliverRequest, Delivery, Status, Verdict
from policy.hours import zones_of
from policy.turns import first_due, next_turn
from segments.condition import BasisMissing
from segments.form import Condition
from store import audit, campaigns, customers, installation, membership, recipients, segments
from store.campaigns import Candidate, Kept, Place
from store.database import AWAY, Connection, Pool
from store.membership import BROKEN
from store.recipients import Done, Doubt, Recipient
from store.segments import Definitions

PAGE = 5_000
"""Customers planning looks at by one statement."""

FEWEST = 50
"""Customers planning looks at by one statement where more take too long."""

CHUNK = 200
"""Customers who become recipients, or cease to be, in one transaction, under their locks."""

STRETCH = 20.0
"""Wall seconds after which an activity hands back, so that others have their turn."""

AT_ONCE = 16
"""Messages of one campaign under way at the same time."""

BATCH = 100
"""Recipients taken up together; less at a slow rate, so that a pause or a stop holds within about a second."""

STANDS_ASIDE_FOR = 0.5
"""Wall seconds until a campaign looks again whether journeys still wait."""

SETTLED_WITHIN = timedelta(seconds=20)
"""Wall time until it is asked again what became of a message in the middle of whose sending a process died."""

MOST_FAILURES = 5
"""How often a recipient with whom something unexpected happens is tried before they are given up."""

TRIED_AGAIN_AFTER = timedelta(minutes=1)
"""Wall time, times how often it failed."""

MOST_OCCURRENCES = 3

CONCERNS_ALL_STEPS = frozenset({"erased", "expired", "segment", "campaign", "blocked", "holdout"})
"""Rules that do not look at the channel: where one drops a message, the cascade is over."""

log = structlog.get_logger()


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


@dataclass
class _Pace:
    """Lets one through every so many seconds, counted from its beginning: another stretch may just have ended."""

    rate: float
    free: float = field(init=False)

    def __post_init__(self) -> None:
        self.free = time.monotonic() + 1 / self.rate

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = time.monotonic()
        mine = max(now, self.free)
        self.free = mine + 1 / self.rate
        await asyncio.sleep(mine - now)


@dataclass(frozen=True)
class Campaigns:
    """Plans and sends campaigns; made once per worker.

    Attributes:
        pool: Of few connections, so that journeys have the others.
    """

    pool: Pool
    deliver: Deliver
    courtesy: Courtesy

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """What Temporal may ask for."""
        return [self.plan_campaign, self.send_campaign, self.change_campaign, self.end_campaign]

    @activity.defn
    async def plan_campaign(self, campaign: int) -> Planned:
        """Find recipients, page by page, from where the last attempt came to."""
        with speechless():
            now = _Now(activity.info().started_time)
            planned = await self.plan_page(campaign, now())
            while not (planned.over or planned.not_before or now.is_long) and planned.status is CampaignStatus.RUNNING:
                planned = await self.plan_page(campaign, now())
            return planned

    @activity.defn
    async def send_campaign(self, campaign: int) -> Progress:
        """Write to those whose turn it is, for some seconds at the most."""
        with speechless():
            return await self.send_due(campaign, _Now(activity.info().started_time))

    @activity.defn
    async def change_campaign(
        self, campaign: int, to: CampaignStatus, command: str | None = None, update: str | None = None
    ) -> CampaignStatus:
        """Pause, resume or stop a campaign; doing it again changes nothing.

        Args:
            command: What it is called, if it was sent straight to Temporal: then it is entered in the audit log here.
            update: The id under which it was sent.

        Returns:
            Where it is now.
        """
        with speechless():
            async with self.pool.acquire() as connection, connection.transaction():
                if update is not None:
                    name = (await campaigns.load(connection, campaign)).form.name
                    about, facts = {"command": command}, {"campaign": name}
                    await audit.record_once(connection, "temporal", "command_campaign", about, update, facts)
                return await campaigns.move_to(connection, campaign, to)

    @activity.defn
    async def end_campaign(self, campaign: int) -> Progress:
        """End a campaign: whoever still waits, because it was stopped, gets nothing more."""
        with speechless():
            while await self._withdraw_some(campaign):
                _lives()
            async with self.pool.acquire() as connection:
                await campaigns.end(connection, campaign)
                return await recipients.progress(connection, campaign)

    # Planning.

    async def plan_page(self, campaign: int, now: datetime, limit: int = PAGE) -> Planned:
        """Look at the next customers, and place those of the segment."""
        async with self.pool.acquire() as connection:
            kept = await campaigns.load(connection, campaign)
            begins = await self._begins(connection, kept.form)
            if now < begins:
                planned = await campaigns.how_planned(connection, campaign)
                return planned.model_copy(update={"not_before": begins})
            if kept.planned_at is None and kept.status is CampaignStatus.RUNNING:
                ids = await membership.page(connection, kept.cursor, limit)
                found = await self._candidates(connection, kept.form, ids, now)
                for place in range(0, len(found), CHUNK):
                    await self._place(connection, kept, found[place : place + CHUNK], now)
                    _lives()
                if len(ids) < limit:
                    await campaigns.planned(connection, campaign)
                else:
                    await campaigns.advance_plan(connection, campaign, ids[-1], 0)
            return await campaigns.how_planned(connection, campaign)

    async def _begins(self, connection: Connection, form: CampaignForm) -> datetime:
        """Return when planning begins, wall time: who is in the segment counts when the campaign starts."""
        clock = await installation.clock(connection)
        return clock.wall_time(form.starts_at) if form.starts_at else clock.origin

    async def _candidates(
        self, connection: Connection, form: CampaignForm, ids: Sequence[int], now: datetime
    ) -> list[Candidate]:
        definitions = await segments.load(connection)
        definition = definitions.by_name.get(form.segment)
        if definition is None:
            # It was there when the campaign began. Nobody is in a segment that is no more.
            log.warning("a campaign's segment is gone", campaign=form.name, segment=form.segment)
            return []
        try:
            within = await _inside(connection, definition.form, definitions, ids, now)
        except BasisMissing:
            raise ApplicationError(f"what {form.segment} rests on is not worked out yet") from None
        return await campaigns.candidates(connection, form, within, now)

    async def _place(self, connection: Connection, kept: Kept, found: Sequence[Candidate], now: datetime) -> None:
        """Make some customers recipients, and record that planning has done with them."""
        async with connection.transaction():
            gone = await customers.lock(connection, [each.customer for each in found])
            here = [each for each in found if each.customer not in gone]
            places = [self._placed(kept.form, each, now) for each in here if not each.lately]
            await campaigns.place(connection, kept, places, now)
            excluded = sum(each.lately for each in here)
            await campaigns.advance_plan(connection, kept.id, found[-1].customer, excluded)

    def _placed(self, form: CampaignForm, candidate: Candidate, now: datetime) -> Place:
        variant, present = form.drawn(candidate.customer), candidate.clock.journey_time(now)
        zones = zones_of(candidate.time_zone, candidate.phone, self.deliver.deployment.default_time_zone)
        due = first_due(form, candidate.customer, zones, present)
        return Place(
            customer=candidate.customer,
            variant=variant.name,
            due_at=candidate.clock.wall_time(due),
            expires_at=due + form.useful_for,
            enrolled_at=present,
        )

    # Sending.

    async def send_due(self, campaign: int, now: _Now) -> Progress:
        """Write to those whose turn it is, while no journey waits.

        A few are written to even then: a campaign beside too many journeys gets on slowly, but it does.
        """
        async with self.pool.acquire() as connection:
            kept = await campaigns.load(connection, campaign)
        pace = _Pace(kept.form.rate_per_second)
        batch = max(1, min(BATCH, int(kept.form.rate_per_second)))
        courteous = False
        while not now.is_long:
            _lives()
            if courteous and await self.courtesy.journeys_wait():
                await asyncio.sleep(STANDS_ASIDE_FOR)
                continue
            async with self.pool.acquire() as connection:
                due = await recipients.due(connection, campaign, now(), batch if courteous else min(batch, AT_ONCE))
                if not due:
                    break
                in_time = await self._in_time(connection, kept.form, due, now())
            courteous = True
            await self._serve_all(kept.form, in_time, pace, now)
        async with self.pool.acquire() as connection:
            return await recipients.progress(connection, campaign)

    async def _in_time(
        self, connection: Connection, form: CampaignForm, due: Sequence[Recipient], now: datetime
    ) -> Sequence[Recipient]:
        """Put off whose day, or hour, it is not, and return the others: they may have waited since another day."""
        late: dict[int, datetime] = {}
        for each in due:
            present = each.clock.journey_time(now)
            # When it is worth nothing any more that is decided, and explained, like everything else.
            turn = min(self._turn(form, each, present), max(each.expires_at, present))
            if turn > present:
                late[each.enrolment] = each.clock.wall_time(turn)
        await recipients.put_off(connection, late)
        return [each for each in due if each.enrolment not in late]

    def _turn(self, form: CampaignForm, recipient: Recipient, present: datetime) -> datetime:
        """Return from when on a message to a recipient may go, journey time."""
        zones = zones_of(recipient.time_zone, recipient.phone, self.deliver.deployment.default_time_zone)
        return next_turn(form, recipient.customer, zones, present)

    async def _serve_all(self, form: CampaignForm, due: Sequence[Recipient], pace: _Pace, now: _Now) -> None:
        """Serve some recipients, a few at the same time, and record with whom it is done, all at once.

        Whoever is served and not recorded is asked about again, and nothing is sent again.

        Raises:
            PostgresError, InterfaceError, OSError: PostgreSQL is away.
        """
        waiting, over = list(reversed(due)), list[Done]()

        async def serve() -> None:
            try:
                while waiting:
                    recipient = waiting.pop()
                    await pace.turn()
                    if len(due) > AT_ONCE and await self.courtesy.journeys_wait():
                        return
                    if done := await self._serve_or_postpone(form, recipient, now):
                        over.append(done)
            except BaseException:
                waiting.clear()  # The others end what they have begun, and begin nothing more.
                raise

        hands = (serve() for _ in range(min(AT_ONCE, len(due))))
        ended = await asyncio.gather(*hands, return_exceptions=True)
        async with self.pool.acquire() as connection, connection.transaction():
            await customers.lock(connection, [each.recipient.customer for each in over])
            await recipients.done_with(connection, over)
        for error in ended:
            if error:
                raise error

    async def _serve_or_postpone(self, form: CampaignForm, recipient: Recipient, now: _Now) -> Done | None:
        """Serve a recipient; what is wrong with one of them holds up nobody else."""
        try:
            return await self._serve(form, recipient, now)
        except Exception as error:
            # SQL in the code may fail on what is known of this one customer.
            if isinstance(error, AWAY) and not isinstance(error, BROKEN):
                raise
            log.exception("a recipient could not be served", enrolment=recipient.enrolment, error=type(error).__name__)
            failed = replace(recipient, failures=recipient.failures + 1)
            if failed.failures >= MOST_FAILURES:
                return Done(failed, "failed", Outcome.FAILED)
            async with self.pool.acquire() as connection:
                await recipients.postpone(connection, failed, now() + TRIED_AGAIN_AFTER * failed.failures)
            return None

    async def _serve(self, form: CampaignForm, recipient: Recipient, now: _Now) -> Done | None:
        """Ask for a recipient's message, and go on in the cascade as far as that can be done now."""
        while True:
            delivery = await self._ask(form, recipient, now())
            present = recipient.clock.journey_time(now())
            match await self._after(form, recipient, delivery, present):
                case Recipient() as changed:
                    turn = self._turn(form, changed, present)
                    if changed.step > recipient.step and turn > present:
                        # The next way waits for the campaign's days too, and is useful from then on.
                        await self._wait(replace(changed, expires_at=turn + form.useful_for), turn)
                        return None
                    recipient = changed
                case datetime() as later:
                    await self._wait(recipient, later)
                    return None
                case Done() as done:
                    return done

    async def _wait(self, recipient: Recipient, until: datetime) -> None:
        async with self.pool.acquire() as connection:
            await recipients.postpone(connection, recipient, recipient.clock.wall_time(until))

    async def _ask(self, form: CampaignForm, recipient: Recipient, now: datetime) -> Delivery:
        request = DeliverRequest(
            enrolment=recipient.enrolment,
            draft=form.draft(recipient.step, form.variant(recipient.variant)),
            occurrence=recipient.occurrence,
            decided_after=0,
            expires_at=recipient.expires_at,
        )
        manner = Manner(
            topic=form.topic,
            priority=PRIORITY,
            audience=form.segment,
            leaves_alone=form.exclude_contacted_within,
            goal=form.goal,
            held_out=form.holdout,
        )
        return await self.deliver.send(request, now, manner)

    async def _after(
        self, form: CampaignForm, recipient: Recipient, delivery: Delivery, present: datetime
    ) -> Recipient | datetime | Done:
        """Decide what comes after an answer: another message now, a later look (journey time), or nothing more."""
        match delivery.verdict:
            case Verdict.OVERTAKEN:
                outcome = delivery.outcome or Outcome.STOPPED
                return Done(recipient, outcome, outcome)
            case Verdict.NOT_YET:
                assert delivery.not_before is not None
                return delivery.not_before
            case Verdict.GONE:
                return await self._after_gone(form, recipient, delivery, present)
            case Verdict.SKIPPED:
                rule = (delivery.reason or "").split(":")[0]
                if rule == "goal":
                    return Done(recipient, "goal", Outcome.GOAL)
                if rule in CONCERNS_ALL_STEPS:
                    return Done(recipient, "skipped")
                return _next_step(form, recipient, present) or Done(recipient, "skipped")
            case Verdict.FAILED:
                if recipient.occurrence < MOST_OCCURRENCES and (await self._doubt(delivery)).not_taken:
                    return replace(recipient, occurrence=recipient.occurrence + 1)
                return _next_step(form, recipient, present) or Done(recipient, "failed")

    async def _after_gone(
        self, form: CampaignForm, recipient: Recipient, delivery: Delivery, present: datetime
    ) -> Recipient | datetime | Done:
        """Go on in the cascade if the message has not come far enough in its time."""
        status, at = delivery.status or Status.UNKNOWN, delivery.at or present
        if status is Status.UNKNOWN and (await self._doubt(delivery)).open:
            return present + SETTLED_WITHIN * recipient.clock.speed
        last = recipient.step + 1 == len(form.cascade)
        if last or RANK[status] >= RANK[form.reached]:
            return Done(recipient, "sent")
        if present < at + form.within:
            return at + form.within
        return _next_step(form, recipient, present) or Done(recipient, "sent")

    async def _doubt(self, delivery: Delivery) -> Doubt:
        async with self.pool.acquire() as connection:
            return await recipients.interrupted(connection, delivery.message)

    # Stopping.

    async def _withdraw_some(self, campaign: int) -> bool:
        """Let some who still wait get nothing more; False if nobody waits."""
        async with self.pool.acquire() as connection, connection.transaction():
            some = await recipients.waiting(connection, campaign, CHUNK)
            await customers.lock(connection, [customer for customer, _ in some])
            await recipients.withdraw(connection, [enrolment for _, enrolment in some])
            return bool(some)


async def _inside(
    connection: Connection, form: Condition, definitions: Definitions, ids: Sequence[int], now: datetime
) -> list[int]:
    """Return which customers are in a segment; fewer are asked about at once where so many take too long."""
    _lives()
    try:
        return list(await membership.inside(connection, form, definitions, ids, now))
    except TimeoutError:
        if len(ids) <= FEWEST:
            raise
    half = len(ids) // 2
    parts = (ids[:half], ids[half:])
    return [customer for part in parts for customer in await _inside(connection, form, definitions, part, now)]


def _next_step(form: CampaignForm, recipient: Recipient, present: datetime) -> Recipient | None:
    """Return the recipient at the next step of the cascade; None at its end."""
    if recipient.step + 1 == len(form.cascade):
        return None
    return replace(recipient, step=recipient.step + 1, occurrence=1, expires_at=present + form.useful_for)


def _lives() -> None:
    """Show Temporal that this attempt is alive."""
    if activity.in_activity():
        activity.heartbeat()
