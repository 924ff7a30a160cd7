"""`deliver`: the one path by which anything leaves. May we, what, has it gone already, send, record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from pydantic import TypeAdapter
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.speechless import speechless
from channels.protocol import ChannelPort, NotProcessed, Refused, Uncertain
from domain.clock import Clock
from domain.enrolments import Outcome
from domain.links import Links
from domain.messages import (
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
from policy.contact import ContactPolicy, Delay, Drop, Facts, zones_of
from settings import Deployment
from store import customers, messages
from store.database import Connection, Pool
from store.messages import Addressee, Row
from templates.renderer import Footer, MissingVariable, RenderError, Texts, UnknownTemplate
from workflows.catalog import Catalog

LEAVES_WITHIN = 2.0
"""Wall seconds from the claim to the beginning of the provider call; later it is claimed anew."""

MOST_ATTEMPTS = 10
"""Provider calls that certainly did not leave before a message is given up."""

log = structlog.get_logger()

SENT = Counter("journeys_messages_total", "Messages decided about.", ["channel", "became"])

_CONTENT: TypeAdapter[Content] = TypeAdapter(Content)


@dataclass(frozen=True)
class _Claimed:
    """A message that is ours to send: committed as `sending`."""

    letter: Letter
    attempt: int
    at: datetime
    claimed_at: float


@dataclass(frozen=True)
class Deliver:
    """Sends messages for runs; made once per worker."""

    pool: Pool
    catalog: Catalog
    channels: Mapping[Channel, ChannelPort]
    texts: Texts
    policy: ContactPolicy
    links: Links
    deployment: Deployment

    @activity.defn
    async def deliver(self, request: DeliverRequest) -> Delivery:
        """Send one message at most once, and say what became of it.

        Never waits for anything but the provider's answer: what is too early comes back as
        `not_before`, what may or may not have left as `Status.UNKNOWN`.

        Raises:
            ApplicationError: It certainly did not leave; Temporal is to try again.
        """
        with speechless():
            return await self._deliver(request)

    async def _deliver(self, request: DeliverRequest) -> Delivery:
        info = activity.info()
        while True:
            claim = await self._claim(request, info.started_time)
            if isinstance(claim, Delivery):
                break
            if time.monotonic() - claim.claimed_at > LEAVES_WITHIN:
                # A pause of this process: what was true at the claim may not be any more.
                await self._take_back(claim)
                continue
            outcome = await self._hand_over(claim)
            if outcome is not None:
                claim = outcome
                break
        SENT.labels(request.draft.channel, claim.status or claim.verdict).inc()
        return claim

    async def _claim(self, request: DeliverRequest, scheduled: datetime) -> Delivery | _Claimed:
        """Decide under the customer's lock, and commit the decision before anything leaves."""
        message = message_id(request.enrolment, request.draft.step, request.occurrence)
        async with self.pool.acquire() as connection, connection.transaction():
            addressee = await messages.addressee(connection, request.enrolment)
            if addressee is None:
                raise ApplicationError(f"enrolment {request.enrolment} is unknown", non_retryable=True)
            clock = await customers.clock_of(connection, addressee.customer)
            now = clock.journey_time(scheduled)
            row = await messages.find(connection, message)
            if row and (answer := await self._answer_for(connection, message, row)):
                await messages.await_also(connection, message, request.awaits)
                return answer
            if addressee.outcome is not None or (addressee.restart_event or 0) > request.decided_after:
                outcome = Outcome(addressee.outcome) if addressee.outcome else None
                return Delivery(verdict=Verdict.OVERTAKEN, message=message, outcome=outcome)
            return await self._decide(connection, message, request, addressee, row, clock, now)

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

    async def _decide(
        self,
        connection: Connection,
        message: UUID,
        request: DeliverRequest,
        addressee: Addressee,
        row: Row | None,
        clock: Clock,
        now: datetime,
    ) -> Delivery | _Claimed:
        channel = request.draft.channel
        recipient = _recipient(addressee, channel)
        decision = self.policy.decide(
            Facts(
                now=now,
                channel=channel,
                message_class=request.draft.message_class,
                recipient=recipient,
                suppression=await messages.suppression(connection, channel, recipient) if recipient else None,
                erased=addressee.erased_at is not None,
                zones=zones_of(addressee.time_zone, addressee.phone, self.deployment.default_time_zone),
                expires_at=request.expires_at,
            )
        )
        if isinstance(decision, Delay):
            return Delivery(verdict=Verdict.NOT_YET, message=message, reason=decision.reason, not_before=decision.until)
        if isinstance(decision, Drop) or recipient is None:
            reason = decision.reason if isinstance(decision, Drop) else "no_address"
            return await self._skip(connection, message, addressee, request, reason, now)
        content, version, locale, links = None, None, addressee.locale or self.deployment.default_locale, list[str]()
        if row and row.content is not None:
            content, locale = _CONTENT.validate_python(row.content), row.locale or locale
        else:
            try:
                text = self.texts.find(request.draft.template, channel, locale)
                content = text.render(
                    await self._variables(connection, request, addressee),
                    track=lambda url: self._tracked(message, links, url),
                    footer=self._footer(message) if request.draft.message_class is MessageClass.MARKETING else None,
                )
                version, locale = text.version, text.locale
            except (MissingVariable, RenderError, UnknownTemplate) as error:
                return await self._skip(connection, message, addressee, request, f"text:{error}", now)
        attempt = await messages.claim(
            connection,
            message,
            addressee.customer,
            request,
            status=Status.DELIVERED if channel is Channel.INBOX else Status.SENDING,
            recipient=recipient,
            locale=locale,
            version=version,
            content=content.model_dump(mode="json"),
            links=links,
            provider="inbox" if channel is Channel.INBOX else self.channels[channel].provider,
            now=now,
        )
        if channel is Channel.INBOX:
            # Our own table is the provider: the commit delivers it.
            return Delivery(verdict=Verdict.GONE, message=message, status=Status.DELIVERED, at=now)
        letter = Letter(
            message_id=message,
            recipient=recipient,
            content=content,
            locale=locale,
            message_class=request.draft.message_class,
            unsubscribe_url=self.links.unsubscribe(message)
            if request.draft.message_class is MessageClass.MARKETING
            else None,
            valid_for=clock.wall_duration(request.expires_at - now) if request.expires_at else None,
        )
        return _Claimed(letter, attempt, now, time.monotonic())

    async def _skip(
        self,
        connection: Connection,
        message: UUID,
        addressee: Addressee,
        request: DeliverRequest,
        reason: str,
        now: datetime,
    ) -> Delivery:
        await messages.skip(connection, message, addressee.customer, request, reason, now)
        return Delivery(verdict=Verdict.SKIPPED, message=message, reason=reason)

    async def _hand_over(self, claimed: _Claimed) -> Delivery | None:
        """Call the provider once and record what its answer proves; None: claim anew."""
        letter = claimed.letter
        try:
            receipt = await self.channels[letter.content.channel].send(letter)
        except Refused as refused:
            return await self._refused(claimed, refused)
        except NotProcessed as error:
            return await self._not_processed(claimed, error)
        except Uncertain as error:
            log.warning("a message may have left", message=str(letter.message_id), code=error.code)
            return await self._settle(claimed, Status.UNKNOWN, reason=error.code)
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
                    await messages.requeue(connection, letter.message_id, claimed.attempt, refused.code)
                    return None
        elif refused.recipient_is_dead or refused.opted_out:
            async with self.pool.acquire() as connection:
                reason = "opted_out" if refused.opted_out else "dead"
                provider = self.channels[channel].provider
                await messages.suppress(connection, channel, letter.recipient, reason, f"{provider}:{refused.code}")
        return await self._settle(claimed, Status.FAILED, reason=refused.code)

    async def _not_processed(self, claimed: _Claimed, error: NotProcessed) -> Delivery:
        """It certainly did not leave: give the claim back and let Temporal try again later."""
        if claimed.attempt >= MOST_ATTEMPTS:
            return await self._settle(claimed, Status.FAILED, reason=f"given up after {claimed.attempt}: {error.code}")
        status = await self._take_back(claimed, error.code)
        if status is not Status.WAITING:
            # A callback knows better than the missing answer.
            return Delivery(verdict=Verdict.GONE, message=claimed.letter.message_id, status=status, at=claimed.at)
        raise ApplicationError(
            f"not processed: {error.code}",
            type="NotProcessed",
            next_retry_delay=error.retry_after or _pause(claimed.attempt),
        )

    async def _take_back(self, claimed: _Claimed, reason: str = "claimed too long ago") -> Status:
        async with self.pool.acquire() as connection:
            return await messages.requeue(connection, claimed.letter.message_id, claimed.attempt, reason)

    async def _variables(
        self, connection: Connection, request: DeliverRequest, addressee: Addressee
    ) -> dict[str, object]:
        """What a text may use."""
        declaration = self.catalog.journeys.get(addressee.journey)
        facts: dict[str, Any] = {}
        for name, sql in declaration.facts.items() if declaration else ():
            found = await connection.fetchrow(sql, request.enrolment)
            facts[name] = dict(found) if found else None
        return {
            "customer": addressee.traits,
            "event": addressee.event,
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
        )


def _recipient(addressee: Addressee, channel: Channel) -> str | None:
    match channel:
        case Channel.EMAIL:
            return addressee.email
        case Channel.SMS | Channel.WHATSAPP | Channel.CALL:
            return addressee.phone
        case Channel.PUSH:
            return addressee.devices[0] if addressee.devices else None
        case Channel.INBOX:
            return str(addressee.customer)


def _pause(attempt: int) -> timedelta:
    """Wall time before the next attempt where the provider did not say: 1, 2, 4 … 60 seconds."""
    return timedelta(seconds=min(2.0 ** (attempt - 1), 60))
