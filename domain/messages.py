"""A message: what an author asks for, what is rendered, what a provider takes, what became of it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, Field

from domain.enrolments import Outcome


class Channel(StrEnum):
    """The ways to reach a customer."""

    EMAIL = "email"
    SMS = "sms"
    WHATSAPP = "whatsapp"
    PUSH = "push"
    CALL = "call"
    INBOX = "inbox"


PAID = frozenset({Channel.SMS, Channel.WHATSAPP, Channel.CALL})
"""Channels of which every message costs; the others are free."""


DEFAULT_TOPIC = "offers"
"""What a journey writes about unless it says otherwise."""


class MessageClass(StrEnum):
    """Why a message is sent; transactional ones pass caps and quiet hours, never suppressions."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class Status(StrEnum):
    """What has become of a message. Providers' reports only ever move it forward, see `RANK`."""

    WAITING = "waiting"
    """Held back by the contact policy or a rate limit, certainly not left; it will be asked about again."""
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    READ = "read"
    CLICKED = "clicked"
    REPLIED = "replied"
    SKIPPED = "skipped"


RANK: dict[Status, int] = {
    Status.WAITING: -1,
    Status.SENDING: 0,
    Status.UNKNOWN: 1,
    Status.ACCEPTED: 2,
    Status.SENT: 3,
    Status.DELIVERED: 4,
    # Above delivered, because mail servers may bounce a letter they first took; below read,
    # because what a person has read did arrive.
    Status.FAILED: 5,
    Status.READ: 6,
    Status.CLICKED: 7,
    Status.REPLIED: 8,
    Status.SKIPPED: 9,
}


class Draft(BaseModel, frozen=True):
    """What an author asks to send: a template by a channel.

    Attributes:
        channel: The channel to use.
        template: Name of the text, ``group/name``.
        message_class: Marketing unless said.
        useful_for: Journey time after which the message is not worth sending any more.
        again: Whether the same draft may be sent more than once in one enrolment.
        edition: The month whose text it is, ``2026-12``; "" for a text that is for always. Every month's
            is a message of its own, and where there is none nothing is sent.
    """

    channel: Channel
    template: str
    message_class: MessageClass = MessageClass.MARKETING
    useful_for: timedelta | None = None
    again: bool = False
    edition: str = ""

    @property
    def step(self) -> str:
        """The step this message is, within its enrolment."""
        return f"{self.template}{'@' if self.edition else ''}{self.edition}:{self.channel}"


MESSAGE_NAMESPACE = UUID("5b2f4a3e-8d19-5c07-9a64-2f1d7c0b9e35")


def message_id(enrolment: int, step: str, occurrence: int) -> UUID:
    """Return the one id of a message: the same whenever, wherever and how often it is asked for."""
    return uuid5(MESSAGE_NAMESPACE, f"{enrolment}/{step}/{occurrence}")


class Button(BaseModel, frozen=True):
    """A quick reply under a message."""

    id: str
    title: str


class EmailContent(BaseModel, frozen=True):
    channel: Literal[Channel.EMAIL] = Channel.EMAIL
    subject: str
    html: str
    text: str


class SmsContent(BaseModel, frozen=True):
    channel: Literal[Channel.SMS] = Channel.SMS
    text: str


class WhatsAppContent(BaseModel, frozen=True):
    channel: Literal[Channel.WHATSAPP] = Channel.WHATSAPP
    text: str
    buttons: tuple[Button, ...] = ()


class PushContent(BaseModel, frozen=True):
    channel: Literal[Channel.PUSH] = Channel.PUSH
    title: str
    body: str
    link: str | None = None


class CallContent(BaseModel, frozen=True):
    channel: Literal[Channel.CALL] = Channel.CALL
    topic: str
    script: str
    name: str | None = None


class InboxContent(BaseModel, frozen=True):
    channel: Literal[Channel.INBOX] = Channel.INBOX
    title: str
    body: str
    link: str | None = None


Content = Annotated[
    EmailContent | SmsContent | WhatsAppContent | PushContent | CallContent | InboxContent,
    Field(discriminator="channel"),
]


class Letter(BaseModel, frozen=True):
    """A rendered message on its way to a provider.

    Attributes:
        message_id: Our id; every provider gets it in the place from where its callbacks return it.
        recipient: Address, phone number (E.164), or device token.
        locale: BCP 47 language the content is written in.
        unsubscribe_url: One-click address (RFC 8058); marketing email carries it in its headers.
        valid_for: Wall time after which the provider should not deliver it any more.
    """

    message_id: UUID
    recipient: str
    content: Content
    locale: str
    message_class: MessageClass
    unsubscribe_url: str | None = None
    valid_for: timedelta | None = None


class DeliverRequest(BaseModel, frozen=True):
    """What a run tells `deliver`: numbers and names, nothing personal.

    Attributes:
        enrolment: Our number of the enrolment; the customer is found through it.
        occurrence: Counts the times an `again` draft goes out.
        decided_after: Sequence of the newest event the decision to send knew of.
        awaits: Statuses the run wants to be signalled.
        expires_at: Journey time after which the message is not worth sending.
    """

    enrolment: int
    draft: Draft
    occurrence: int = 1
    decided_after: int
    awaits: tuple[Status, ...] = ()
    expires_at: datetime | None = None


class Verdict(StrEnum):
    """What `deliver` answers to a run."""

    GONE = "gone"
    """It left (now or in an earlier attempt), or may have left: `Status.UNKNOWN`."""
    SKIPPED = "skipped"
    """It will never leave: the contact policy, an expiry, or a text that cannot be rendered."""
    FAILED = "failed"
    """The provider refused it for good."""
    NOT_YET = "not_yet"
    """The contact policy wants it later: ask again at `not_before`."""
    OVERTAKEN = "overtaken"
    """A goal, exit or stop was accepted first (see `outcome`), or a newer restart, whose signal is on the way."""


class Delivery(BaseModel, frozen=True):
    """The answer of `deliver`; times are journey time.

    Attributes:
        outcome: Of a message overtaken because the stay is over: how it ended.
    """

    verdict: Verdict
    message: UUID
    status: Status | None = None
    reason: str | None = None
    not_before: datetime | None = None
    at: datetime | None = None
    outcome: Outcome | None = None

    @property
    def gone(self) -> bool:
        """Whether the message is, or may be, on its way."""
        return self.verdict is Verdict.GONE
