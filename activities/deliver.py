"""`deliver`: the one path by which anything leaves. May we, what, has it gone already, send, record."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from pydantic import TypeAdapter
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.pulse import Pulse
from activities.speechless import speechless
from activities.texts import text_for
from activities.whatsapp import Asked as AskedOfWhatsApp
from activities.whatsapp import CannotSend, Senders, To, say
from activities.whatsapp import write as write_whatsapp
from channels.protocol import ChannelPort, NotProcessed, Refused, SenderBlocked, TooLate, Uncertain, leaving_by
from dispatch.progress import RESOLVED
from domain.campaigns import PREFIX
from domain.clock import Clock
from domain.enrolments import Outcome
from domain.links import Links, tagged
from domain.messages import (
    DEFAULT_TOPIC,
    DEVICES,
    OWN,
    RANK,
    Channel,
    Content,
    DeliverRequest,
    Delivery,
    Letter,
    MessageClass,
    Status,
    Verdict,
    WhatsAppContent,
    message_id,
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
from templates.renderer import BadText, Footer, MissingVariable, RenderError, Text, Texts, UnknownTemplate
from workflows.audience import audience
from workflows.catalog import Catalog
from workflows.declaration import Declaration

LEAVES_WITHIN = 2.0
"""Wall seconds from the claim to the beginning of the provider call; later it is claimed anew."""

MOST_ATTEMPTS = 20
"""Provider calls that certainly did not leave before a message is given up: some two hours of trying."""

log = structlog.get_logger()

SENT = Counter("journeys_messages_total", "Messages decided about.", ["channel", "became"])

_CONTENT: TypeAdapter[Content] = TypeAdapter(Content)


@dataclass(frozen=True)
class Manner:
    """How whoever asks for a message wants it to be treated.

    Attributes:
        topic: What it writes about, one of the policy's.
        priority: 1 (most important) to 5.
        gives_way: Whether it is dropped where it would have to wait for a slot.
        audience: The segment it is for; None if it is for whoever it is asked for.
        leaves_alone: Journey time for which it leaves alone whoever a campaign has written to; None: for none.
        goal: Event of the customer after which it is not sent any more.
        held_out: Share of customers who get none, for comparison.
        says_once: Whether what the customer has seen of the stay by one channel is not sent by another.
        facts: SQL that gives the text a row each, by name.
        content: What is said, where no template says it: a person of ours has written it.
        number: The phone number it goes to, if not to the customer's own.
    """

    topic: str = DEFAULT_TOPIC
    priority: int = 3
    gives_way: bool = False
    audience: str | None = None
    leaves_alone: timedelta | None = None
    goal: str | None = None
    held_out: float = 0
    says_once: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    content: Content | None = None
    number: str | None = None


def _of_journey(declaration: Declaration, trigger: Mapping[str, Any]) -> Manner:
    return Manner(
        topic=declaration.topic,
        priority=declaration.priority,
        gives_way=declaration.gives_way,
        audience=audience(declaration, trigger),
        says_once=declaration.says_once,
        facts=declaration.facts,
    )


@dataclass(frozen=True)
class _Asked:
    """A message a run asks for, with its customer, whose row is locked."""

    proposal: Proposal
    addressee: Addressee
    manner: Manner
    clock: Clock
    row: Row | None

    @property
    def request(self) -> DeliverRequest:
        return self.proposal.request

    @property
    def channel(self) -> Channel:
        return self.request.draft.channel

    @property
    def recipient(self) -> str | None:
        return self.addressee.person.address(self.channel)

    @property
    def is_marketing(self) -> bool:
        return self.request.draft.message_class is MessageClass.MARKETING


@dataclass(frozen=True)
class _Written:
    """A message as the customer would get it now.

    Attributes:
        version: Of its text; None if an earlier attempt wrote it.
        links: Where its tracked links lead.
        anew: Whether it takes the place of what an earlier attempt, which certainly did not leave, has written.
    """

    content: Content
    locale: str
    version: str | None = None
    links: Sequence[str] = ()
    anew: bool = False


class _Unwritable(Exception):
    """It cannot be written, or cannot go out as it is; the reason begins with the rule's name."""


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
            delivery = await self.send(request, activity.info().started_time)
            return await self._with_choices(request, delivery)

    async def send(self, request: DeliverRequest, started: datetime, manner: Manner | None = None) -> Delivery:
        """Do what `deliver` does, for whatever activity.

        Args:
            started: When the attempt started, by Temporal's clock.
            manner: None: as the journey declares.

        Raises:
            ApplicationError: It certainly did not leave; to be tried again.
        """
        began = time.monotonic()
        if request.alternatives:
            request = await self._cheapest(request, started, began, manner)
        while True:
            claim = await self._claim(request, started, began, manner)
            if isinstance(claim, Delivery):
                break
            outcome = await self._hand_over(claim)
            if outcome is not None:
                claim = outcome
                break
        SENT.labels(request.draft.channel, claim.status or claim.verdict).inc()
        return claim

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

    async def _claim(
        self, request: DeliverRequest, started: datetime, began: float, manner: Manner | None
    ) -> Delivery | _Claimed:
        """Decide under the customer's lock, and commit the decision before anything leaves.

        Args:
            started: When the attempt started, by Temporal's clock.
            began: The same in seconds of the process's monotonic clock.
            manner: None: as the journey declares.
        """
        async with self.pool.acquire() as connection, connection.transaction():
            asked = await self._asked(connection, request, started, began, manner)
            message = asked.proposal.message
            if asked.row and (answer := await self._answer_for(connection, message, asked.row)):
                await messages.await_also(connection, message, request.awaits)
                return answer
            if asked.addressee.outcome is not None:
                outcome = Outcome(asked.addressee.outcome)
                await messages.skip(connection, asked.proposal, f"overtaken:{outcome}")
                return Delivery(verdict=Verdict.OVERTAKEN, message=message, outcome=outcome)
            if (asked.addressee.restart_event or 0) > request.decided_after:
                return Delivery(verdict=Verdict.OVERTAKEN, message=message)
            return await self._decide(connection, asked)

    async def _asked(
        self, connection: Connection, request: DeliverRequest, started: datetime, began: float, manner: Manner | None
    ) -> _Asked:
        """Lock the customer, then read what is asked for, and when.

        That is when the attempt started, unless it has waited or was paused for longer than a claim holds.
        """
        addressee = await messages.addressee(connection, request.enrolment)
        if addressee is None:
            raise ApplicationError(f"enrolment {request.enrolment} is unknown", non_retryable=True)
        if manner and manner.number:
            addressee = replace(addressee, person=replace(addressee.person, phone=manner.number))
        clock = await customers.clock_of(connection, addressee.person.customer)
        declaration = self.catalog.journeys.get(addressee.journey)
        waited = time.monotonic() - began
        message = message_id(request.enrolment, request.draft.step, request.occurrence)
        row = await messages.find(connection, message)
        request = await self._by_best_channel(connection, request, addressee, row)
        manner = manner or (_of_journey(declaration, addressee.event) if declaration else Manner())
        proposal = Proposal(
            message=message,
            customer=addressee.person.customer,
            journey=addressee.journey,
            priority=manner.priority,
            request=request,
            policy_version=self.deployment.policy.version,
            now=clock.journey_time(started + timedelta(seconds=waited if waited > LEAVES_WITHIN else 0)),
        )
        return _Asked(proposal, addressee, manner, clock, row)

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

    async def _decide(self, connection: Connection, asked: _Asked) -> Delivery | _Claimed:
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
            await messages.hold(connection, asked.proposal, decision.reason, decision.until)
            return Delivery(verdict=Verdict.NOT_YET, message=message, reason=decision.reason, not_before=decision.until)
        if isinstance(decision, Drop):
            return await self._skip(connection, asked, decision.reason)
        assert recipient is not None
        return await self._claim_for(connection, asked, recipient)

    async def _claim_for(self, connection: Connection, asked: _Asked, recipient: str) -> Delivery | _Claimed:
        """Commit the message as ours to send, with what it says and what it costs."""
        message = asked.proposal.message
        try:
            written = await self._written(connection, asked, recipient)
        except _Unwritable as error:
            return await self._skip(connection, asked, str(error))
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
            unsubscribe_url=self.links.unsubscribe(message) if asked.is_marketing else None,
            valid_for=asked.clock.wall_duration(expires_at - now) if expires_at else None,
            push_keys=asked.addressee.person.push_keys(recipient),
        )
        return _Claimed(letter, attempt, asked.clock, now, time.monotonic())

    async def _written(self, connection: Connection, asked: _Asked, recipient: str) -> _Written:
        """Write the message, unless an earlier attempt did.

        A WhatsApp message is always written as it can go out now: its earlier attempt certainly did not leave,
        and meanwhile the customer-service window may have closed, or a sender been blocked.

        Raises:
            _Unwritable: With the reason.
        """
        row, draft = asked.row, asked.request.draft
        locale = asked.addressee.locale or self.deployment.default_locale
        is_whatsapp = asked.channel is Channel.WHATSAPP
        if row and row.content is not None and not is_whatsapp:
            return _Written(_CONTENT.validate_python(row.content), row.locale or locale)
        if (said := asked.manner.content) is not None:
            return _Written(await self._said(connection, asked, recipient, said), locale, anew=is_whatsapp)
        links = list[str]()

        def track(url: str) -> str:
            return self._tracked(asked.proposal.message, links, self._tagged(asked, url))

        try:
            text = await text_for(connection, self.texts, draft.template, asked.channel, locale, draft.edition)
            values = await self._variables(connection, asked)
            if is_whatsapp:
                content: Content = await self._write_whatsapp(connection, asked, recipient, text, values, track)
            else:
                footer = self._footer(asked.proposal.message) if asked.is_marketing else None
                content = text.render(values, track=track, footer=footer)
        except CannotSend as error:
            raise _Unwritable(str(error)) from None
        except (BadText, MissingVariable, RenderError, UnknownTemplate) as error:
            raise _Unwritable(f"text:{error}") from None
        return _Written(content, text.locale, text.version, links, anew=is_whatsapp)

    async def _said(self, connection: Connection, asked: _Asked, recipient: str, content: Content) -> Content:
        """Return what a person of ours has written, as it can go out now."""
        if not isinstance(content, WhatsAppContent):
            return content
        port = self.channels[Channel.WHATSAPP]
        assert isinstance(port, Senders)
        to = To(customer=asked.proposal.customer, recipient=recipient, now=asked.proposal.now, clock=asked.clock)
        try:
            return await say(connection, port.senders, to, content)
        except CannotSend as error:
            raise _Unwritable(str(error)) from None

    async def _write_whatsapp(
        self,
        connection: Connection,
        asked: _Asked,
        recipient: str,
        text: Text,
        values: Mapping[str, object],
        track: Callable[[str], str],
    ) -> WhatsAppContent:
        port = self.channels[Channel.WHATSAPP]
        assert isinstance(port, Senders)
        return await write_whatsapp(
            connection,
            port.senders,
            AskedOfWhatsApp(
                customer=asked.proposal.customer,
                recipient=recipient,
                text=text,
                edition=asked.request.draft.edition,
                now=asked.proposal.now,
                clock=asked.clock,
                company=self.deployment.company,
                site=str(self.deployment.site).rstrip("/"),
            ),
            values,
            track,
        )

    async def _cheapest(
        self, request: DeliverRequest, started: datetime, began: float, manner: Manner | None
    ) -> DeliverRequest:
        """Return which of several messages is to be sent: the cheapest, unless one of them was begun before.

        What cannot be written now, or of what no tariff tells the price, comes last; of what costs the same, the
        one the author names first is sent.
        """
        asked_for = [request.model_copy(update={"alternatives": ()}), *request.alternatives]
        prices: list[tuple[bool, Decimal]] = []
        async with self.pool.acquire() as connection, connection.transaction():
            for each in asked_for:
                asked = await self._asked(connection, each, started, began, manner)
                if asked.row and asked.row.status is not Status.SKIPPED:
                    return each
                cost = await self._cost(connection, asked)
                prices.append((cost is None, cost.amount if cost else Decimal(0)))
        return min(zip(prices, range(len(prices)), asked_for, strict=True), key=lambda each: each[:2])[2]

    async def _cost(self, connection: Connection, asked: _Asked) -> Cost | None:
        """Return what a message would cost if it went out now."""
        if asked.recipient is None or asked.addressee.outcome is not None:
            return None
        try:
            written = await self._written(connection, asked, asked.recipient)
        except _Unwritable:
            return None
        return self.deployment.tariffs.estimate(written.content, asked.recipient)

    async def _skip(self, connection: Connection, asked: _Asked, reason: str) -> Delivery:
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

    async def _variables(self, connection: Connection, asked: _Asked) -> dict[str, object]:
        """What a text may use."""
        facts: dict[str, Any] = {}
        for name, sql in asked.manner.facts.items():
            found = await connection.fetchrow(sql, asked.request.enrolment)
            facts[name] = dict(found) if found else None
        return {
            "customer": asked.addressee.traits,
            "event": asked.addressee.event,
            "site": str(self.deployment.site).rstrip("/"),
            "company": self.deployment.company,
            **facts,
        }

    def _tagged(self, asked: _Asked, url: str) -> str:
        if self.deployment.utm_source is None:
            return url
        campaign, draft = asked.addressee.journey.removeprefix(PREFIX), asked.request.draft
        return tagged(url, self.deployment.utm_source, asked.channel, campaign, draft.template)

    def _tracked(self, message: UUID, links: list[str], url: str) -> str:
        if url not in links:
            links.append(url)
        return self.links.tracked(message, links.index(url))

    def _footer(self, message: UUID) -> Footer:
        return Footer(
            postal_address=self.deployment.postal_address,
            unsubscribe_url=self.links.unsubscribe(message),
            preferences_url=self.links.preferences(message),
        )


def _pause(attempt: int) -> timedelta:
    """Wall time before the next attempt, at least: 1, 2, 4 … 600 seconds."""
    return timedelta(seconds=min(2.0 ** (attempt - 1), 600))
