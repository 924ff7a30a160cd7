"""What a customer wrote goes to whoever expects it: a run, a journey that starts on a word, or people of ours."""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from api.intake import Accepted, Terms, accept, known_by
from dispatch.progress import Report, move
from domain.calls import Call, CallType, Profile
from domain.conversations import OPERATOR, OPERATOR_WORDS, Notice, Reason
from domain.events import CUSTOMER_IDENTIFIED
from domain.messages import Channel, Status
from store import callbacks, conversations, customers, silences
from store.callbacks import Subject
from store.conversations import Opened
from store.database import Connection

TEXTING = (Channel.SMS, Channel.WHATSAPP)

NUMBER = re.compile(r"\+[1-9]\d{6,14}")
"""A number somebody can be written to at: E.164. Short codes and names of companies are none."""

SCORES = range(11)
"""What a question without buttons may be answered with by a number: 0 to 10."""


@dataclass(frozen=True)
class Written:
    """What a customer wrote.

    Attributes:
        button: Id of the button they pressed, and `title` what stood on it; both "" if they wrote.
        quotes: Whether the provider says which message it answers.
        sid: The provider's id of it.
        along: What they sent beside words: pictures and the like by their address, a place by its coordinates.
    """

    channel: Channel
    number: str
    text: str
    button: str
    title: str
    quotes: bool
    sid: str
    along: Sequence[str] = ()

    @property
    def word(self) -> str:
        """It as a keyword is compared, without what people put around a word: "Stop!" is a STOP."""
        return " ".join(self.text.casefold().strip(string.whitespace + string.punctuation + "«»“”„…").split())


async def hear(connection: Connection, terms: Terms, written: Written, about: Subject | None) -> int | None:
    """Decide who is to have what a customer wrote, and give it to them, in the callback's own transaction.

    Args:
        about: The message it answers, if there is one; its customer's row is locked.

    Returns:
        The conversation somebody is to be told of, if it came into one.
    """
    customer = about.customer if about else await callbacks.customer_at(connection, written.number)
    if customer is None and (customer := await _met(connection, terms, written)) is None:
        return None
    hearing = _Hearing(connection, terms, written, about, customer)
    if about and about.erased:
        await hearing.replied(about.message, None)
        return None
    return await hearing.give()


async def _met(connection: Connection, terms: Terms, written: Written) -> int | None:
    """Keep somebody who writes from a number nobody is known by: a customer as if they had come to the site.

    Returns:
        None for what is no number of a person's, and for somebody erased.
    """
    if not NUMBER.fullmatch(written.number) or await callbacks.is_erased(connection, written.number):
        return None
    known_as = known_by(written.number)
    met = (await customers.find(connection, [known_as])).get(known_as)
    if met is not None and not await customers.lock(connection, [met]):
        # Since then their backend has told of another number, which stays theirs.
        return met
    now = datetime.now(UTC)
    call = Call(
        type=CallType.IDENTIFY,
        message_id=f"{written.sid}:identify",
        anonymous_id=known_as[1],
        name=CUSTOMER_IDENTIFIED,
        profile=Profile(phone=written.number),
        timestamp=now,
    )
    (answer,) = await accept(connection, terms, f"inbound:{written.channel}", [call], now)
    return answer.customer if isinstance(answer, Accepted) else None


@dataclass
class _Hearing:
    connection: Connection
    terms: Terms
    written: Written
    about: Subject | None
    customer: int

    async def give(self) -> int | None:
        """Give it to the first who expects it."""
        conversation = await conversations.under_way(self.connection, self.customer, self.written.channel)
        choice = self._choice()
        line = await conversations.heard(
            self.connection,
            self.customer,
            self.written.channel,
            "\n".join(filter(None, (self.written.text, *self.written.along))),
            choice=choice,
            answers=self.about.message if self.about else None,
            conversation=conversation,
        )
        if choice == OPERATOR:
            return await self._to_operators(line, conversation, Reason.CALLED)
        # Whoever talks with a person means that person, unless they press or quote what something else asks.
        talking = conversation is not None and not (choice or self.written.quotes) and await self._in_dialogue()
        if not talking and choice is None and await self._starts_by_keyword():
            return None
        if not talking and (question := await self._question(choice)):
            return await self._to_run(line, conversation, question, choice)
        if self.about and not talking:
            await self.replied(self.about.message, choice)
        if choice and self.about and self.about.under_way:
            # Pressed again, in a bot that has gone on since.
            return None
        pressed = choice is not None or self.written.button != ""
        return await self._to_operators(line, conversation, Reason.PRESSED if pressed else Reason.WROTE)

    async def _in_dialogue(self) -> bool:
        """Whether a person is expected to talk with them: not where only a button was pressed, nor for ever."""
        dialogue = await silences.dialogue(self.connection, self.customer)
        if dialogue is None:
            return False
        clock = await customers.clock_of(self.connection, self.customer)
        ends: datetime = dialogue["opened_at"] + self.terms.policy.dialogue_ends_after
        return clock.journey_time(datetime.now(UTC)) < ends

    def _choice(self) -> str | None:
        if self.written.button == OPERATOR or self.written.word in OPERATOR_WORDS:
            return OPERATOR
        return chosen(self.about, self.written) if self.about else None

    async def _question(self, choice: str | None) -> UUID | None:
        """The message by which a run waits for this."""
        if self.about is None or not self.about.under_way:
            return None
        if self.about.asks:
            return self.about.message
        asked = await callbacks.asked_in(self.connection, self.about.enrolment, TEXTING)
        if choice is None or asked is None:
            return asked
        # The same question was asked again, and they pressed the button of its first copy.
        again = await callbacks.subject(self.connection, asked, TEXTING)
        # Not by their content: outside the customer-service window it goes out as a template, inside it does not.
        return asked if again and again.template == self.about.template else None

    async def _to_run(self, line: int, conversation: Opened | None, question: UUID, choice: str | None) -> int | None:
        assert self.about is not None
        asked = await callbacks.subject(self.connection, question, TEXTING)
        in_bot = bool(asked and (asked.content or {}).get("buttons"))
        if choice is None and in_bot and await conversations.words_in(self.connection, self.about.enrolment) > 1:
            return await self._to_operators(line, conversation, Reason.WORDS)
        await self.replied(question, choice)
        return None

    async def replied(self, message: UUID, choice: str | None) -> None:
        """Let a message be answered, and its run hear of it if it waits."""
        report = Report("twilio", self.written.sid, datetime.now(UTC), choice=choice)
        await move(self.connection, message, Status.REPLIED, report)

    async def _starts_by_keyword(self) -> bool:
        event = self.terms.catalog.keywords.get(self.written.word)
        if event is None:
            return False
        named = await customers.any_identity(self.connection, self.customer)
        call = Call(
            type=CallType.TRACK,
            message_id=self.written.sid,
            user_id=named.get("userId"),
            anonymous_id=named.get("anonymousId"),
            name=event.event_name,
            timestamp=datetime.now(UTC),
        )
        await accept(self.connection, self.terms, f"keyword:{self.written.channel}", [call], datetime.now(UTC))
        return True

    async def _to_operators(self, line: int, conversation: Opened | None, reason: Reason) -> int:
        # A button alone calls nobody, unless it is the one that does.
        alert = reason is not Reason.PRESSED
        if reason in (Reason.CALLED, Reason.WORDS) and self.about:
            # The bot hears that a person takes over.
            asked = await callbacks.asked_in(self.connection, self.about.enrolment, TEXTING)
            if asked:
                await self.replied(asked, OPERATOR)
        opened = conversation or await conversations.begin(
            self.connection,
            self.customer,
            self.written.channel,
            self.written.number,
            reason,
            by="customer",
            source_id=self.written.sid,
        )
        if alert:
            await conversations.alert(self.connection, opened, "customer")
        kind = Notice.WROTE if conversation else Notice.OPENED
        await conversations.notify(self.connection, opened.id, kind, line=line, alert=alert)
        return opened.id


def chosen(about: Subject, written: Written) -> str | None:
    """Return the id of the button a customer pressed, or means who writes its number or its title; no other word.

    A question without buttons that is waited for may be answered by a number from 0 to 10.
    """
    content: Mapping[str, object] = about.content or {}
    buttons = content.get("buttons") or []
    assert isinstance(buttons, list)
    answer = (written.title or written.text).strip().casefold()
    for number, button in enumerate(buttons, 1):
        if written.button == button["id"] or answer == button["title"].strip().casefold():
            return str(button["id"])
        if not written.button and answer in (button["id"].casefold(), str(number)):
            return str(button["id"])
    return _score(answer) if about.asks and about.under_way and not buttons else None


def _score(answer: str) -> str | None:
    number = answer.strip(" .!").removesuffix("/10").removesuffix("из 10").removesuffix("out of 10").strip()
    return str(int(number)) if number.isdecimal() and number.isascii() and int(number) in SCORES else None
