"""`deliver`: the one path by which anything leaves. May we, what, has it gone already, send, record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
from channels.protocol import ChannelPort, NotProcessed, Refused, TooLate, Uncertain, leaving_by
from dispatch.progress import RESOLVED
from domain.clock import Clock
from domain.enrolments import Outcome
from domain.links import Links
from domain.messages import (
    DEFAULT_TOPIC,
    RANK,
    Channel,
    Content,
    DeliverRequest,
    Delivery,
    Letter,
    MessageClass,
    Status,
    Verdict,
    message_id,
)
from domain.uncertain import Resolution
from policy.contact import Delay, Drop, decide
from settings import Deployment
from store import consents, contact, customers, messages
from store.contact import Question
from store.database import Connection, Pool
from store.messages import Addressee, Proposal, Row
from templates.renderer import BadText, Footer, MissingVariable, RenderError, Texts, UnknownTemplate
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
        facts: SQL that gives the text a row each, by name.
    """

    topic: str = DEFAULT_TOPIC
    priority: int = 3
    gives_way: bool = False
    audience: str | None = None
    leaves_alone: timedelta | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def _of_journey(declaration: Declaration, trigger: Mapping[str, Any]) -> Manner:
    return Manner(
        topic=declaration.topic,
        priority=declaration.priority,
        gives_way=declaration.gives_way,
        audience=audience(declaration, trigger),
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
            return await self.send(request, activity.info().started_time)

    async def send(self, request: DeliverRequest, started: datetime, manner: Manner | None = None) -> Delivery:
        """Do what `deliver` does, for whatever activity.

        Args:
            started: When the attempt started, by Temporal's clock.
            manner: None: as the journey declares.

        Raises:
            ApplicationError: It certainly did not leave; to be tried again.
        """
        began = time.monotonic()
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
        clock = await customers.clock_of(connection, addressee.person.customer)
        declaration = self.catalog.journeys.get(addressee.journey)
        waited = time.monotonic() - began
        manner = manner or (_of_journey(declaration, addressee.event) if declaration else Manner())
        proposal = Proposal(
            message=message_id(request.enrolment, request.draft.step, request.occurrence),
            customer=addressee.person.customer,
            journey=addressee.journey,
            priority=manner.priority,
            request=request,
            policy_version=self.deployment.policy.version,
            now=clock.journey_time(started + timedelta(seconds=waited if waited > LEAVES_WITHIN else 0)),
        )
        return _Asked(proposal, addressee, manner, clock, await messages.find(connection, proposal.message))

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
        policy, manner = self.deployment.policy, asked.manner
        facts = await contact.facts(
            connection,
            policy,
            asked.addressee.person,
            Question(
                message=message,
                now=now,
                channel=asked.channel,
                message_class=asked.request.draft.message_class,
                expires_at=asked.request.expires_at,
                journey=asked.addressee.journey,
                topic=manner.topic,
                priority=asked.proposal.priority,
                gives_way=manner.gives_way,
                audience=manner.audience,
                exclusive=self.catalog.exclusive,
                undisturbed=now - manner.leaves_alone if manner.leaves_alone else None,
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
        """Render the text, unless an earlier attempt did, and commit the message as ours to send."""
        row, addressee, message = asked.row, asked.addressee, asked.proposal.message
        version, locale, links = None, addressee.locale or self.deployment.default_locale, list[str]()
        if row and row.content is not None:
            content, locale = _CONTENT.validate_python(row.content), row.locale or locale
        else:
            try:
                draft = asked.request.draft
                text = await text_for(connection, self.texts, draft.template, asked.channel, locale, draft.edition)
                content = text.render(
                    await self._variables(connection, asked),
                    track=lambda url: self._tracked(message, links, url),
                    footer=self._footer(message) if asked.is_marketing else None,
                )
                version, locale = text.version, text.locale
            except (BadText, MissingVariable, RenderError, UnknownTemplate) as error:
                return await self._skip(connection, asked, f"text:{error}")
        in_inbox = asked.channel is Channel.INBOX
        attempt = await messages.claim(
            connection,
            asked.proposal,
            # Our own table is the inbox's provider: the commit delivers it.
            status=Status.DELIVERED if in_inbox else Status.SENDING,
            recipient=recipient,
            locale=locale,
            version=version,
            content=content.model_dump(mode="json"),
            links=links,
            provider="inbox" if in_inbox else self.channels[asked.channel].provider,
        )
        now, expires_at = asked.proposal.now, asked.request.expires_at
        if in_inbox:
            return Delivery(verdict=Verdict.GONE, message=message, status=Status.DELIVERED, at=now)
        letter = Letter(
            message_id=message,
            recipient=recipient,
            content=content,
            locale=locale,
            message_class=asked.request.draft.message_class,
            unsubscribe_url=self.links.unsubscribe(message) if asked.is_marketing else None,
            valid_for=asked.clock.wall_duration(expires_at - now) if expires_at else None,
        )
        return _Claimed(letter, attempt, asked.clock, now, time.monotonic())

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
        if refused.recipient_is_dead and channel is Channel.PUSH:
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
