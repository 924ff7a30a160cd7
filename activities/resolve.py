"""`resolve_sends`: settles the sends of which nobody knows whether they left.

`deliver` returns such a send as `unknown` at once, and goes on to others. What became of it is decided
here, by the strongest evidence there is:

1. A callback of the provider that carries our id, or the customer's own deed. It needs nothing of this
   file, and gets ten seconds before anybody asks; what comes later still beats what was found or
   assumed here, as only the provider itself can know of our id.
2. The provider, asked whether it has the message. That it has it is believed at once; that it has not,
   only when it says so a second time and the call is long over, because a list may lag behind and a
   request may still be on its way. Push is asked for by handing it over again: it has our id as its
   collapse key, so the second takes the first one's place.
3. The message's class, when the provider does not have it, or never says. Marketing is never sent again:
   a customer is bothered twice more easily than a letter is missed; it has failed, so that a cascade
   goes on, or is taken to have left. A transactional message is sent once more, the customer waits for
   it; never a third time.

Handing over again is a claim like the first: under the customer's lock, refused after the end of the
stay or by the contact policy, begun within two seconds. What was asked, found and decided is kept on the
message: codes, the provider's ids, times and counts.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

import structlog
from pydantic import TypeAdapter, ValidationError
from temporalio import activity

from activities.deliver import LEAVES_WITHIN
from activities.speechless import speechless
from channels.protocol import (
    Absent,
    CannotTell,
    ChannelPort,
    Finding,
    Found,
    NotProcessed,
    Refused,
    Search,
    TooLate,
    Uncertain,
    leaving_by,
)
from dispatch.progress import RESOLVED, Report, move
from domain.messages import DEFAULT_TOPIC, DEVICES, Channel, Content, Letter, MessageClass, Status
from domain.uncertain import NOT_TAKEN, Resolution, Round, fact
from policy.contact import Delay, Drop, decide
from settings import Deployment
from store import consents, contact, customers, messages, uncertain
from store.contact import Question
from store.database import AWAY, Connection, Pool
from store.messages import Addressee
from store.uncertain import Doubt
from workflows.catalog import Catalog

ROUND = timedelta(seconds=30)
"""Wall time after which a round takes no further message."""
AT_ONCE = 8
"""Messages one round looks into at the same time."""
LEASE = timedelta(minutes=1)
"""Wall time nobody else looks into a message; longer than asking and handing over take together."""
ASKING_TIMEOUT = timedelta(seconds=20)
"""Wall time one question may take, however many pages its answer has."""

MOST_LOOKS = 5
"""How often a provider that cannot tell now is asked, some five minutes in all."""
LONGEST_PAUSE = timedelta(minutes=3)
"""Wall time between two looks, whatever the provider asks for."""
ABSENT_AFTER = timedelta(seconds=30)
"""Wall time after a call before "there is no such message" is believed."""
ABSENT_LOOKS = 2
"""How often it has to be said."""
CALLBACK_WITHIN = timedelta(minutes=1)
"""Wall time after a call in which a provider that cannot be asked usually has called back."""

log = structlog.get_logger()

_CONTENT: TypeAdapter[Content] = TypeAdapter(Content)


class Next(Enum):
    """What is to be done about an uncertain send."""

    LOOK_AGAIN = auto()
    REPLACE = auto()
    """Hand it over again, as a question."""
    SEND_AGAIN = auto()
    FAIL = auto()
    ASSUME = auto()


@dataclass(frozen=True)
class _Again:
    """A message to be handed over once more: committed as `sending`.

    Attributes:
        step: `Next.REPLACE` or `Next.SEND_AGAIN`.
        claimed_at: Seconds of the process's monotonic clock.
    """

    doubt: Doubt
    letter: Letter
    step: Next
    attempt: int
    claimed_at: float


@dataclass(frozen=True)
class Resolve:
    """Settles uncertain sends; made once per worker."""

    pool: Pool
    catalog: Catalog
    channels: Mapping[Channel, ChannelPort]
    deployment: Deployment

    @activity.defn
    async def resolve_sends(self) -> Round:
        """Look into the uncertain sends that are due, for half a minute at most.

        Raises:
            ApplicationError: PostgreSQL is away; Temporal is to try again. What is wrong with one
                message or one provider is that message's own affair.
        """
        with speechless():
            return await self._round()

    async def _round(self) -> Round:
        settled: Counter[Resolution | None] = Counter()
        ends = time.monotonic() + ROUND.total_seconds()
        try:
            async with asyncio.TaskGroup() as group:
                workers = [group.create_task(self._work(ends, settled)) for _ in range(AT_ONCE)]
        except ExceptionGroup as group_of_errors:
            raise group_of_errors.exceptions[0] from None
        return Round(
            looked=settled.total(),
            settled={resolution: count for resolution, count in settled.items() if resolution},
            more=any(worker.result() for worker in workers),
        )

    async def _work(self, ends: float, settled: Counter[Resolution | None]) -> bool:
        """Look into one message after the other; True if time ended it."""
        while time.monotonic() < ends and not activity.is_worker_shutdown():
            async with self.pool.acquire() as connection:
                doubt = await uncertain.take(connection, LEASE)
            if doubt is None:
                return False
            settled[await self._one(doubt)] += 1
            activity.heartbeat(settled.total())
        return True

    async def _one(self, doubt: Doubt) -> Resolution | None:
        """Look into one message; what is wrong with it must not hold up the others."""
        try:
            return await self.look_into(doubt)
        except AWAY:
            raise
        except Exception:
            log.exception("an uncertain send could not be looked into", message=str(doubt.message))
            return None

    async def look_into(self, doubt: Doubt) -> Resolution | None:
        """Look into one message; None if nothing is decided yet, or somebody else has decided it."""
        letter = _letter(doubt)
        port = self.channels[doubt.channel]
        finding = await self._ask(port, letter, doubt)
        async with self.pool.acquire() as connection, connection.transaction():
            decided = await self._decide(connection, port, letter, doubt, finding)
        if isinstance(decided, _Again):
            return await self._hand_over_again(port, decided)
        if decided:
            log.info("an uncertain send is settled", message=str(doubt.message), resolution=decided)
        return decided

    async def _ask(self, port: ChannelPort, letter: Letter | None, doubt: Doubt) -> Finding:
        """Ask the provider; what goes wrong about it is no answer."""
        if letter is None:
            return CannotTell("nothing_left_to_compare", later=False)
        async with self.pool.acquire() as connection:
            near = await uncertain.neighbours(connection, doubt)
        try:
            async with asyncio.timeout(ASKING_TIMEOUT.total_seconds()):
                return await port.find(Search(letter, doubt.since, near.provider_ids, near.twins))
        except TimeoutError:
            return CannotTell("TimeoutError")
        except Exception as error:
            # One answer nobody expected must not hold up the others.
            log.exception("a provider could not be asked", message=str(doubt.message))
            return CannotTell(type(error).__name__)

    async def _decide(
        self, connection: Connection, port: ChannelPort, letter: Letter | None, doubt: Doubt, finding: Finding
    ) -> Resolution | _Again | None:
        """Decide under the customer's lock, by what was found; nothing, if a callback has come meanwhile."""
        if isinstance(finding, Found) and finding.refusal:
            await consents.lock(connection, message=doubt.message)
        addressee = await messages.addressee(connection, doubt.enrolment)
        assert addressee is not None
        if not await uncertain.is_ours(connection, doubt):
            return None
        if not port.replaces:
            await uncertain.note(connection, doubt, _asked(port, doubt, finding))
        if isinstance(finding, Found):
            return await self._found(connection, port, doubt, addressee, finding)
        step = next_step(doubt, finding, replaces=port.replaces)
        if step in (Next.REPLACE, Next.SEND_AGAIN):
            clock = await customers.clock_of(connection, addressee.person.customer)
            now = max(clock.journey_time(datetime.now(UTC)), doubt.journey_at)
            refusal = await self._refusal(connection, addressee, doubt, now)
            if letter is not None and refusal is None:
                if doubt.expires_at:
                    letter = letter.model_copy(update={"valid_for": clock.wall_duration(doubt.expires_at - now)})
                letter = letter.model_copy(update={"push_keys": addressee.person.push_keys(letter.recipient)})
                return await self._claim(connection, doubt, letter, step)
            await uncertain.note(connection, doubt, fact("not_handed_over_again", code=refusal or "unreadable"))
            step = _conclusion(finding)
        match step:
            case Next.LOOK_AGAIN:
                await uncertain.look_again(connection, doubt, _pause(doubt, finding))
                return None
            case Next.FAIL:
                return await self._move(connection, doubt, Status.FAILED, Resolution.NOT_TAKEN, reason=NOT_TAKEN)
            case _:
                await uncertain.assume(connection, doubt)
                RESOLVED.labels(doubt.channel, Resolution.ASSUMED_SENT).inc()
                return Resolution.ASSUMED_SENT

    async def _found(
        self, connection: Connection, port: ChannelPort, doubt: Doubt, addressee: Addressee, found: Found
    ) -> Resolution | None:
        """Record how far the provider says the message is; a hard failure is the recipient's last."""
        if not await uncertain.is_free(connection, doubt, found.provider_id):
            # Another message that looks the same was looked into at the same time.
            await uncertain.look_again(connection, doubt, _pause(doubt, found))
            return None
        if found.price:
            await messages.priced(connection, doubt.message, found.price.amount, found.price.currency)
        code = found.refusal.code if found.refusal else None
        if found.refusal:
            await self._never_again(connection, port, doubt, addressee, found.refusal)
        return await self._move(
            connection, doubt, found.status, Resolution.FOUND, reason=code, provider_id=found.provider_id
        )

    async def _move(
        self,
        connection: Connection,
        doubt: Doubt,
        status: Status,
        resolution: Resolution,
        *,
        reason: str | None = None,
        provider_id: str | None = None,
    ) -> Resolution:
        """Settle a message, and tell its run if that waits for it."""
        report = Report(
            "resolver",
            f"{doubt.message}:{status}:{doubt.looks}",
            datetime.now(UTC),
            provider_id=provider_id,
            reason=reason,
            resolution=resolution,
        )
        await move(connection, doubt.message, status, report)
        return resolution

    async def _refusal(self, connection: Connection, addressee: Addressee, doubt: Doubt, now: datetime) -> str | None:
        """Return why a message may not be handed over any more, if so: the stay, the address, the policy.

        Args:
            now: Journey time.
        """
        if addressee.outcome is not None:
            return f"overtaken:{addressee.outcome}"
        if (addressee.restart_event or 0) > doubt.decided_after:
            return "overtaken:restart"
        person = addressee.person
        if not person.erased and doubt.recipient not in person.reached_at(doubt.channel):
            return "address_changed"
        declaration = self.catalog.journeys.get(addressee.journey)
        question = Question(
            message=doubt.message,
            now=now,
            channel=doubt.channel,
            message_class=doubt.message_class,
            expires_at=doubt.expires_at,
            journey=addressee.journey,
            topic=declaration.topic if declaration else DEFAULT_TOPIC,
            priority=declaration.priority if declaration else 3,
            gives_way=declaration.gives_way if declaration else False,
            exclusive=self.catalog.exclusive,
        )
        policy = self.deployment.policy
        facts = await contact.facts(connection, policy, person, question, self.deployment.default_time_zone)
        decision = decide(policy, facts)
        return decision.reason if isinstance(decision, Drop | Delay) else None

    async def _claim(self, connection: Connection, doubt: Doubt, letter: Letter, step: Next) -> _Again:
        again = step is Next.SEND_AGAIN
        attempt = await uncertain.claim(connection, doubt, again=again)
        what = Resolution.SENT_AGAIN if again else "asked_by_replacing"
        await uncertain.note(connection, doubt, fact(what, attempt=attempt))
        return _Again(doubt, letter, step, attempt, time.monotonic())

    async def _hand_over_again(self, port: ChannelPort, again: _Again) -> Resolution | None:
        """Call the provider once more, and record what its answer proves."""
        doubt, resolution = again.doubt, (Resolution.SENT_AGAIN if again.step is Next.SEND_AGAIN else Resolution.FOUND)
        try:
            with leaving_by(again.claimed_at + LEAVES_WITHIN):
                receipt = await port.send(again.letter)
        except Refused as refused:
            return await self._refused(port, again, refused, resolution)
        except TooLate:
            # A slow token, a pause of this process: what was true at the claim may not be any more.
            await self._give_back(again, "claimed too long ago", timedelta(0))
            return None
        except NotProcessed as error:
            await self._give_back(again, error.code, _pause(doubt, CannotTell(error.code, error.retry_after)))
            return None
        except Uncertain as error:
            async with self.pool.acquire() as connection:
                await messages.settle(connection, doubt.message, again.attempt, Status.UNKNOWN, reason=error.code)
            return None
        async with self.pool.acquire() as connection:
            status = await messages.settle(
                connection,
                doubt.message,
                again.attempt,
                receipt.status,
                provider_id=receipt.provider_id,
                resolution=resolution,
            )
        if status is receipt.status:
            RESOLVED.labels(doubt.channel, resolution).inc()
        return resolution

    async def _give_back(self, again: _Again, code: str, after: timedelta) -> None:
        async with self.pool.acquire() as connection:
            facts = fact("not_processed", attempt=again.attempt, code=code)
            await uncertain.give_back(connection, again.doubt, again.attempt, after, facts)

    async def _refused(
        self, port: ChannelPort, again: _Again, refused: Refused, resolution: Resolution
    ) -> Resolution | None:
        """The provider refuses it for good: so it refused, or never heard of, the first one."""
        doubt = again.doubt
        async with self.pool.acquire() as connection, connection.transaction():
            await consents.lock(connection, message=doubt.message)
            addressee = await messages.addressee(connection, doubt.enrolment)
            assert addressee is not None
            await self._never_again(connection, port, doubt, addressee, refused)
            if not await uncertain.in_hand(connection, doubt, again.attempt):
                return None
            await uncertain.note(connection, doubt, fact("refused", attempt=again.attempt, code=refused.code))
            return await self._move(connection, doubt, Status.FAILED, resolution, reason=refused.code)

    async def _never_again(
        self, connection: Connection, port: ChannelPort, doubt: Doubt, addressee: Addressee, refused: Refused
    ) -> None:
        """See to it that nobody tries a recipient again who has said STOP or cannot be reached."""
        if doubt.recipient is None:
            return
        source = f"{port.provider}:{refused.code}"
        if refused.opted_out:
            await consents.opted_out(
                connection,
                customer=addressee.person.customer,
                channel=doubt.channel,
                address=doubt.recipient,
                source=source,
                proof={"message": str(doubt.message)},
            )
        elif refused.recipient_is_dead and doubt.channel in DEVICES:
            await messages.bury_device(connection, doubt.recipient)
        elif refused.recipient_is_dead:
            await messages.suppress(connection, doubt.channel, doubt.recipient, "dead", source)


def next_step(doubt: Doubt, finding: Absent | CannotTell, *, replaces: bool) -> Next:
    """Return what is to be done about a message the provider does not have, or cannot tell of.

    Args:
        replaces: Whether handing it over again is the way to ask.
    """
    if replaces:
        return Next.REPLACE if doubt.looks <= MOST_LOOKS else Next.ASSUME
    match finding:
        case Absent():
            undecided = doubt.looks < ABSENT_LOOKS or doubt.waited < ABSENT_AFTER
        case CannotTell(later=True):
            undecided = doubt.looks < MOST_LOOKS * (2 if doubt.sent_again else 1)
        case _:
            undecided = doubt.waited < CALLBACK_WITHIN
    if undecided:
        return Next.LOOK_AGAIN
    once_more = doubt.message_class is MessageClass.TRANSACTIONAL and not doubt.sent_again
    return Next.SEND_AGAIN if once_more and doubt.looks <= MOST_LOOKS else _conclusion(finding)


def _conclusion(finding: Finding) -> Next:
    """What is left when a message is not sent again."""
    return Next.FAIL if isinstance(finding, Absent) else Next.ASSUME


def _pause(doubt: Doubt, finding: Finding) -> timedelta:
    """Wall time until the next look: 20, 40, 80 … seconds, or as the provider asks."""
    if isinstance(finding, CannotTell) and not finding.later:
        return max(CALLBACK_WITHIN - doubt.waited, timedelta(seconds=1))
    asked = finding.retry_after if isinstance(finding, CannotTell) else None
    return min(max(timedelta(seconds=10 * 2**doubt.looks), asked or timedelta(0)), LONGEST_PAUSE)


def _letter(doubt: Doubt) -> Letter | None:
    """Return a message as it was handed over; None if its customer was erased, or a release reads it no more.

    Only marketing email carries an unsubscribe address, and that is neither looked for nor sent again.
    """
    if doubt.recipient is None or doubt.content is None:
        return None
    try:
        content = _CONTENT.validate_python(doubt.content)
    except ValidationError:
        return None
    return Letter(
        message_id=doubt.message,
        recipient=doubt.recipient,
        content=content,
        locale=doubt.locale or "",
        message_class=doubt.message_class,
    )


def _asked(port: ChannelPort, doubt: Doubt, finding: Finding) -> dict[str, object]:
    """What was asked and answered, as evidence."""
    match finding:
        case Found(provider_id, status, refusal):
            code = refusal.code if refusal else None
            return fact(
                "asked",
                provider=port.provider,
                look=doubt.looks,
                answer="found",
                provider_id=provider_id,
                status=status,
                code=code,
            )
        case Absent():
            return fact("asked", provider=port.provider, look=doubt.looks, answer="absent")
        case CannotTell(code):
            return fact("asked", provider=port.provider, look=doubt.looks, answer="cannot_tell", code=code)
