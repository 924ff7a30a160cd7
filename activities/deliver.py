"""`deliver`: the one path by which anything leaves. May we, what, has it gone already, send, record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog
from prometheus_client import Counter
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.asked import Asked, Manner, of_journey
from activities.pulse import Pulse
from activities.speechless import speechless
from activities.writing import Unwritable, Writer
from channels.protocol import ChannelPort, NotProcessed, Refused, SenderBlocked, TooLate, Uncertain, leaving_by
from dispatch.progress import RESOLVED
from domain.clock import Clock
from domain.enrolments import Outcome
from domain.links import Links
from domain.messages import (
    DEVICES,
    OWN,
    RANK,
    Channel,
    DeliverRequest,
    Delivery,
    Letter,
    Status,
    Verdict,
    WhatsAppContent,
)
from domain.tariffs import Cost
from domain.uncertain import Resolution
from policy.contact import Delay, Drop, decide
from policy.reactions import best_channel, best_hour
from settings import Deployment
from store import consents, contact, customers, messages, reactions, whatsapp
from store.contact import Question
from store.database import Connection, Pool
from store.messages import Addressee, Proposal, Row
from templates.renderer import Texts
from workflows.catalog import Catalog

LEAVES_WITHIN = 2.0
"""Wall seconds from the claim to the beginning of the provider call; later it is claimed anew."""

MOST_ATTEMPTS = 20
"""Provider calls that certainly did not leave before a message is given up: some two hours of trying."""

log = structlog.get_logger()

SENT = Counter("journeys_messages_total", "Messages decided about.", ["channel", "became"])


@dataclass(frozen=True)
class _Asking:
    """One attempt of an activity to have a message sent.

    Attributes:
        started: When it started, by Temporal's clock.
        began: The same in seconds of the process's monotonic clock.
        manner: None: as the journey declares.
    """

    request: DeliverRequest
    started: datetime
    began: float
    manner: Manner | None


@dataclass(frozen=True)
class _Claimed:
    """A message that is ours to send: committed as `sending`.

    Attributes:
        at: Journey time.
        claimed_at: Seconds of the process's monotonic clock.
    """

    letter: Letter
    attempt: int
    clock: Clock
    at: datetime
    claimed_at: float


@dataclass(frozen=True)
class Deliver:
    """Sends messages for runs; made once per worker."""

    pool: Pool
    catalog: Catalog
    channels: Mapping[Channel, ChannelPort]
    texts: Texts
    links: Links
    deployment: Deployment
    pulse: Pulse

    @property
    def writer(self) -> Writer:
        """What writes its messages."""
        return Writer(self.texts, self.links, self.deployment, self.channels)

    @activity.defn
    async def deliver(self, request: DeliverRequest) -> Delivery:
        """Send one message at most once, and say what became of it.

        Never waits for anything but the provider's answer: what is too early comes back as
        `not_before`, what may or may not have left as `Status.UNKNOWN`.

        Raises:
            ApplicationError: It certainly did not leave; Temporal is to try again.
        """
        if self.pulse.was_just_paused():
            # Temporal may have given this attempt up long ago, and what it was decided by with it.
            raise ApplicationError("the worker was paused", type="Paused")
        with speechless():
            return await self.send(request, activity.info().started_time)

    async def send(self, request: DeliverRequest, started: datetime, manner: Manner | None = None) -> Delivery:
        """Do what `deliver` does, for whatever activity.

        Args:
            started: When the attempt started, by Temporal's clock.
            manner: None: as the journey declares.

        Raises:
            ApplicationError: It certainly did not leave; to be tried again.
        """
        asking = _Asking(request, started, time.monotonic(), manner)
        if request.alternatives:
            asking = await self._cheapest(asking)
        delivery: Delivery | None = None
        while delivery is None:
            claim = await self._claim(asking)
            delivery = claim if isinstance(claim, Delivery) else await self._hand_over(claim)
        delivery = await self._with_choices(asking.request, delivery)
        SENT.labels(delivery.channel or asking.request.draft.channel, delivery.status or delivery.verdict).inc()
        return delivery

    async def _with_choices(self, request: DeliverRequest, delivery: Delivery) -> Delivery:
        """Tell the run what it left to us: by which channel it went, and at which hour the customer reacts.

        The hour comes with the answer, for the next message: to ask for it would be an activity of its own.
        """
        chosen: dict[str, object] = {}
        if request.draft.others or request.asks_hour:
            async with self.pool.acquire() as connection:
                if request.draft.others and (row := await messages.find(connection, delivery.message)):
                    chosen["channel"] = row.channel
                if request.asks_hour:
                    chosen["best_hour"] = best_hour(await reactions.moments(connection, request.enrolment))
        return delivery.model_copy(update=chosen) if chosen else delivery

    async def _claim(self, asking: _Asking) -> Delivery | _Claimed:
        """Decide under the customer's lock, and commit the decision before anything leaves."""
        async with self.pool.acquire() as connection, connection.transaction():
            asked = await self._asked(connection, asking)
            message = asked.proposal.message
            if asked.row and (answer := await self._answer_for(connection, message, asked.row)):
                await messages.await_also(connection, message, asking.request.awaits)
                return answer
            if asked.addressee.outcome is not None:
                outcome = Outcome(asked.addressee.outcome)
                await messages.skip(connection, asked.proposal, f"overtaken:{outcome}")
                return Delivery(verdict=Verdict.OVERTAKEN, message=message, outcome=outcome)
            if (asked.addressee.restart_event or 0) > asking.request.decided_after:
                return Delivery(verdict=Verdict.OVERTAKEN, message=message)
            return await self._decide(connection, asked)

    async def _asked(self, connection: Connection, asking: _Asking) -> Asked:
        """Lock the customer, then read what is asked for, and when.

        That is when the attempt started, unless it has waited or was paused for longer than a claim holds.
        """
        request, manner = asking.request, asking.manner
        addressee = await messages.addressee(connection, request.enrolment)
        if addressee is None:
            raise ApplicationError(f"enrolment {request.enrolment} is unknown", non_retryable=True)
        if manner and manner.number:
            addressee = replace(addressee, person=replace(addressee.person, phone=manner.number))
        clock = await customers.clock_of(connection, addressee.person.customer)
        declaration = self.catalog.journeys.get(addressee.journey)
        waited = time.monotonic() - asking.began
        row = await messages.find(connection, request.message)
        request = await self._by_best_channel(connection, request, addressee, row)
        manner = manner or (of_journey(declaration, addressee.event) if declaration else Manner())
        proposal = Proposal(
            message=request.message,
            customer=addressee.person.customer,
            journey=addressee.journey,
            priority=manner.priority,
            request=request,
            policy_version=self.deployment.policy.version,
            now=clock.journey_time(asking.started + timedelta(seconds=waited if waited > LEAVES_WITHIN else 0)),
        )
        return Asked(proposal, addressee, manner, clock, row)

    async def _by_best_channel(
        self, connection: Connection, request: DeliverRequest, addressee: Addressee, row: Row | None
    ) -> DeliverRequest:
        """Choose the channel of a message that may go by several; what was decided once stays."""
        draft = request.draft
        if not draft.others:
            return request
        channels = (draft.channel, *draft.others)
        if row is not None:
            chosen = row.channel
        else:
            customer = addressee.person.customer
            reached = [each for each in channels if addressee.person.address(each) is not None]
            records = await reactions.records(connection, customer, channels)
            chosen = best_channel(reached or channels, records)
        others = tuple(each for each in channels if each is not chosen)
        return request.model_copy(update={"draft": draft.model_copy(update={"channel": chosen, "others": others})})

    async def _answer_for(self, connection: Connection, message: UUID, row: Row) -> Delivery | None:
        """What there is to say of a message decided about before; None if it is still to be sent."""
        status = row.status
        if status is Status.SENDING:
            # An attempt died between its claim and its record: it may have left.
            status = await messages.settle(connection, message, row.attempt, Status.UNKNOWN, reason="interrupted")
        if status is Status.FAILED:
            return Delivery(
                verdict=Verdict.FAILED, message=message, status=status, reason=row.reason, at=row.journey_at
            )
        if status is not Status.SKIPPED and RANK[status] >= RANK[Status.UNKNOWN]:
            return Delivery(verdict=Verdict.GONE, message=message, status=status, reason=row.reason, at=row.journey_at)
        return None

    async def _decide(self, connection: Connection, asked: Asked) -> Delivery | _Claimed:
        """Ask the contact policy, and keep its answer; what may go is claimed."""
        message, now, recipient = asked.proposal.message, asked.proposal.now, asked.recipient
        policy, manner, draft = self.deployment.policy, asked.manner, asked.request.draft
        facts = await contact.facts(
            connection,
            policy,
            asked.addressee.person,
            Question(
                message=message,
                now=now,
                channel=asked.channel,
                message_class=draft.message_class,
                expires_at=asked.request.expires_at,
                journey=asked.addressee.journey,
                topic=manner.topic,
                priority=asked.proposal.priority,
                gives_way=manner.gives_way,
                audience=manner.audience,
                exclusive=self.catalog.exclusive,
                undisturbed=now - manner.leaves_alone if manner.leaves_alone else None,
                goal=(manner.goal, asked.addressee.trigger_event) if manner.goal else None,
                held_out=manner.held_out,
                once=draft.step if draft.once else None,
                said_once=(asked.request.enrolment, draft.template) if manner.says_once else None,
            ),
            self.deployment.default_time_zone,
        )
        decision = decide(policy, facts)
        if isinstance(decision, Delay):
            return await self._hold(connection, asked, decision.reason, decision.until)
        if isinstance(decision, Drop):
            return await self._skip(connection, asked, decision.reason)
        assert recipient is not None
        return await self._claim_for(connection, asked, recipient)

    async def _claim_for(self, connection: Connection, asked: Asked, recipient: str) -> Delivery | _Claimed:
        """Commit the message as ours to send, with what it says and what it costs."""
        message = asked.proposal.message
        try:
            written = await self.writer.write(connection, asked, recipient)
        except Unwritable as error:
            return await self._unwritten(connection, asked, error)
        content, locale = written.content, written.locale
        is_ours = asked.channel in OWN
        attempt = await messages.claim(
            connection,
            asked.proposal,
            # Our own table is the inbox's provider: the commit delivers it.
            status=Status.DELIVERED if is_ours else Status.SENDING,
            recipient=recipient,
            locale=locale,
            version=written.version,
            content=content.model_dump(mode="json"),
            links=written.links,
            provider="inbox" if is_ours else self.channels[asked.channel].provider,
            anew=written.anew,
            cost=self.deployment.tariffs.estimate(content, recipient),
        )
        if isinstance(content, WhatsAppContent) and content.sender:
            await whatsapp.spoke(connection, recipient, content.sender)
        now, expires_at = asked.proposal.now, asked.request.expires_at
        if is_ours:
            return Delivery(verdict=Verdict.GONE, message=message, status=Status.DELIVERED, at=now)
        letter = Letter(
            message_id=message,
            recipient=recipient,
            content=content,
            locale=locale,
            message_class=asked.request.draft.message_class,
            unsubscribe_url=self.writer.unsubscribe_url(asked),
            valid_for=asked.clock.wall_duration(expires_at - now) if expires_at else None,
            push_keys=asked.addressee.person.push_keys(recipient),
        )
        return _Claimed(letter, attempt, asked.clock, now, time.monotonic())

    async def _cheapest(self, asking: _Asking) -> _Asking:
        """Return which of several messages is to be sent: the cheapest, unless one of them was begun before.

        What cannot be written now, or of what no tariff tells the price, comes last; of what costs the same, the
        one the author names first is sent.
        """
        first = asking.request.model_copy(update={"alternatives": ()})
        choices = [replace(asking, request=each) for each in (first, *asking.request.alternatives)]
        prices: list[tuple[bool, Decimal]] = []
        async with self.pool.acquire() as connection, connection.transaction():
            for each in choices:
                asked = await self._asked(connection, each)
                if asked.row and asked.row.status is not Status.SKIPPED:
                    return each
                cost = await self._cost(connection, asked)
                prices.append((cost is None, cost.amount if cost else Decimal(0)))
        return choices[min(range(len(choices)), key=prices.__getitem__)]

    async def _cost(self, connection: Connection, asked: Asked) -> Cost | None:
        """Return what a message would cost if it went out now."""
        if asked.recipient is None or asked.addressee.outcome is not None:
            return None
        try:
            written = await self.writer.write(connection, asked, asked.recipient)
        except Unwritable:
            return None
        return self.deployment.tariffs.estimate(written.content, asked.recipient)

    async def _unwritten(self, connection: Connection, asked: Asked, error: Unwritable) -> Delivery:
        """Hold back what can go out soon, such as when a sender's rate limit is over, and leave out what cannot."""
        until, expires_at = asked.clock.journey_time(error.until) if error.until else None, asked.request.expires_at
        if until is None or (expires_at is not None and until >= expires_at):
            return await self._skip(connection, asked, str(error))
        return await self._hold(connection, asked, str(error), until)

    async def _hold(self, connection: Connection, asked: Asked, reason: str, until: datetime) -> Delivery:
        await messages.hold(connection, asked.proposal, reason, until)
        return Delivery(verdict=Verdict.NOT_YET, message=asked.proposal.message, reason=reason, not_before=until)

    async def _skip(self, connection: Connection, asked: Asked, reason: str) -> Delivery:
        await messages.skip(connection, asked.proposal, reason)
        return Delivery(verdict=Verdict.SKIPPED, message=asked.proposal.message, reason=reason)

    async def _hand_over(self, claimed: _Claimed) -> Delivery | None:
        """Call the provider once and record what its answer proves; None: claim anew."""
        letter = claimed.letter
        try:
            with leaving_by(claimed.claimed_at + LEAVES_WITHIN):
                receipt = await self.channels[letter.content.channel].send(letter)
        except Refused as refused:
            return await self._refused(claimed, refused)
        except TooLate:
            # A slow token, a pause of this process: what was true at the claim may not be any more.
            await self._take_back(claimed, "provider:claimed too long ago")
            return None
        except SenderBlocked as blocked:
            return await self._from_another(claimed, blocked)
        except NotProcessed as error:
            return await self._not_processed(claimed, error)
        except Uncertain as error:
            log.warning("a message may have left", message=str(letter.message_id), code=error.code)
            delivery = await self._settle(claimed, Status.UNKNOWN, reason=error.code)
            if delivery.status is not Status.UNKNOWN:
                # A callback was faster than the answer.
                RESOLVED.labels(letter.content.channel, Resolution.CALLBACK).inc()
            return delivery
        return await self._settle(claimed, receipt.status, provider_id=receipt.provider_id)

    async def _settle(
        self, claimed: _Claimed, status: Status, *, provider_id: str | None = None, reason: str | None = None
    ) -> Delivery:
        message = claimed.letter.message_id
        async with self.pool.acquire() as connection:
            status = await messages.settle(
                connection, message, claimed.attempt, status, provider_id=provider_id, reason=reason
            )
        verdict = Verdict.FAILED if status is Status.FAILED else Verdict.GONE
        return Delivery(verdict=verdict, message=message, status=status, reason=reason, at=claimed.at)

    async def _refused(self, claimed: _Claimed, refused: Refused) -> Delivery | None:
        """A hard failure: nobody tries this recipient again, and another device may be tried at once."""
        letter = claimed.letter
        channel = letter.content.channel
        if refused.recipient_is_dead and channel in DEVICES:
            async with self.pool.acquire() as connection, connection.transaction():
                await messages.bury_device(connection, letter.recipient)
                others = (await messages.devices_left(connection, letter.message_id)) > 0
                if others:
                    await messages.requeue(
                        connection,
                        letter.message_id,
                        claimed.attempt,
                        f"provider:{refused.code}",
                        until=claimed.at,
                        now=claimed.at,
                    )
                    return None
        elif refused.recipient_is_dead or refused.opted_out:
            source = f"{self.channels[channel].provider}:{refused.code}"
            async with self.pool.acquire() as connection, connection.transaction():
                reader = await consents.locked_reader(connection, letter.message_id)
                if refused.opted_out:
                    await consents.opted_out(
                        connection,
                        customer=reader.customer if reader else None,
                        channel=channel,
                        address=letter.recipient,
                        source=source,
                        proof={"message": str(letter.message_id)},
                    )
                else:
                    await messages.suppress(connection, channel, letter.recipient, "dead", source)
        return await self._settle(claimed, Status.FAILED, reason=refused.code)

    async def _not_processed(self, claimed: _Claimed, error: NotProcessed) -> Delivery:
        """It certainly did not leave: give the claim back and have the run ask again later."""
        if claimed.attempt >= MOST_ATTEMPTS:
            return await self._settle(claimed, Status.FAILED, reason=f"given up after {claimed.attempt}: {error.code}")
        # A storm of refusals thins out, whatever the provider says.
        pause = max(error.retry_after or timedelta(0), _pause(claimed.attempt))
        return await self._take_back(claimed, f"provider:{error.code}", pause)

    async def _from_another(self, claimed: _Claimed, blocked: SenderBlocked) -> Delivery | None:
        """A sender of ours is blocked: it rests for a while, and the message is claimed anew for another one."""
        log.warning("a sender is blocked", code=blocked.code, seconds=blocked.lasts.total_seconds())
        async with self.pool.acquire() as connection:
            await whatsapp.block_sender(connection, blocked.sender, blocked.code, blocked.lasts)
        delivery = await self._take_back(claimed, f"provider:{blocked.code}")
        return None if delivery.verdict is Verdict.NOT_YET else delivery

    async def _take_back(self, claimed: _Claimed, reason: str, pause: timedelta = timedelta(0)) -> Delivery:
        """Give a claim back.

        Args:
            pause: Wall time until the next attempt.
        """
        message, until = claimed.letter.message_id, claimed.at + pause * claimed.clock.speed
        async with self.pool.acquire() as connection, connection.transaction():
            status = await messages.requeue(connection, message, claimed.attempt, reason, until=until, now=claimed.at)
        if status is Status.WAITING:
            return Delivery(verdict=Verdict.NOT_YET, message=message, reason=reason, not_before=until)
        # A callback knows better than the missing answer.
        return Delivery(verdict=Verdict.GONE, message=message, status=status, at=claimed.at)


def _pause(attempt: int) -> timedelta:
    """Wall time before the next attempt, at least: 1, 2, 4 … 600 seconds."""
    return timedelta(seconds=min(2.0 ** (attempt - 1), 600))
