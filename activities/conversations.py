"""Conversations at work: the operators' tool is told, and what operators answer is sent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.asked import Manner
from activities.deliver import Deliver
from activities.speechless import speechless
from channels.operators import Operators
from channels.protocol import NotProcessed, Refused, Uncertain
from domain.conversations import Errand
from domain.messages import Channel, Content, DeliverRequest, Draft, MessageClass, SmsContent, Verdict, WhatsAppContent
from store import conversations
from store.database import Pool

WINDOW_CLOSED = "window_closed"
"""Why an answer does not leave any more: the provider takes none so long after the customer's last message."""


@dataclass(frozen=True)
class Conversations:
    """Made once per worker.

    Attributes:
        operators: None where there is no tool to be told.
    """

    pool: Pool
    deliver: Deliver
    operators: Operators | None

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """All of them, for the worker."""
        return [self.errands, self.tell_operators, self.not_told, self.send_answer, self.not_answered]

    @activity.defn
    async def errands(self, conversation: int, errand: Errand) -> list[int]:
        """Return what is to be done for a conversation now."""
        with speechless():
            async with self.pool.acquire() as connection:
                return await conversations.errands(connection, conversation, errand)

    @activity.defn
    async def tell_operators(self, number: int) -> None:
        """Tell the tool one thing; the words are read only now, so that nothing of an erased customer is told.

        Raises:
            ApplicationError: It has not taken it; to be told again.
        """
        with speechless():
            async with self.pool.acquire() as connection:
                notice = await conversations.notice(connection, number)
                told = await conversations.read(connection, notice.conversation) if notice else None
            if notice is None or told is None or self.operators is None:
                return await self._told(number, "nothing to tell", done=True)
            data = {"alert": notice.alert, "conversation": told.model_dump(mode="json")}
            try:
                await self.operators.tell(str(notice.id), notice.kind, notice.created_at, data)
            except (Refused, NotProcessed, Uncertain) as error:
                await self._told(number, f"not yet: {error.code}", done=False)
                pause = error.retry_after if isinstance(error, NotProcessed) else None
                raise ApplicationError(error.code, type="NotTold", next_retry_delay=pause) from None
            await self._told(number, "taken", done=True)

    @activity.defn
    async def not_told(self, number: int) -> None:
        """Tell it no more; what the tool answered last is to be seen."""
        with speechless():
            await self._told(number, "given up", done=True)

    async def _told(self, number: int, answer: str, *, done: bool) -> None:
        async with self.pool.acquire() as connection:
            await conversations.told(connection, number, answer, done=done)

    @activity.defn
    async def send_answer(self, line: int) -> None:
        """Send what an operator answered: once, by the outbox, if the contact policy lets it.

        Raises:
            ApplicationError: It certainly has not left; to be tried again.
        """
        with speechless():
            began = activity.info().started_time
            async with self.pool.acquire() as connection:
                found = await conversations.answer_of(connection, line)
                if found is None:
                    return
                conversation, answer = found
                until = await conversations.answer_until(connection, conversation)
                newest = await connection.fetchval(
                    "select coalesce(max(id), 0) from events where customer_id = $1", conversation.customer
                )
            if answer.done_at is not None:
                return
            if until and began > until:
                return await self._answered(line, WINDOW_CLOSED)
            draft = Draft(
                channel=conversation.channel,
                template=conversations.template_of(line),
                message_class=MessageClass.TRANSACTIONAL,
            )
            request = DeliverRequest(enrolment=conversation.enrolment, draft=draft, decided_after=newest)
            manner = Manner(content=_content(conversation.channel, answer.text), number=conversation.address)
            delivery = await self.deliver.send(request, began, manner)
            if delivery.verdict is Verdict.NOT_YET:
                raise ApplicationError(delivery.reason or "not yet", type="NotYet")
            await self._answered(line, None if delivery.gone else delivery.reason or str(delivery.verdict))

    @activity.defn
    async def not_answered(self, line: int) -> None:
        """Give an answer up that could not be sent in time."""
        with speechless():
            await self._answered(line, "given_up")

    async def _answered(self, line: int, refused: str | None) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await conversations.answered(connection, line, refused)


def _content(channel: Channel, text: str) -> Content:
    return SmsContent(text=text) if channel is Channel.SMS else WhatsAppContent(text=text)
