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
    WEB_PUSH = "web_push"
    CALL = "call"
    INBOX = "inbox"
    POPUP = "popup"
    BANNER = "banner"


DEVICES = frozenset({Channel.PUSH, Channel.WEB_PUSH})
"""Channels that reach a device, of which a customer may have several; one that is gone is not tried again."""

OWN = frozenset({Channel.INBOX, Channel.POPUP, Channel.BANNER})
"""Channels whose provider we are ourselves: places of the client's own site and app, which show our table."""


class Surface(StrEnum):
    """Where the client's customers see what is shown to them."""

    WEB = "web"
    APP = "app"


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
        others: Other channels it may go by instead, where the customer reacts to them and not to this one.
        once: Whether a customer gets it once, in whatever stay.
        about: Code of what it is about, where that makes it a message of its own.
    """

    channel: Channel
    template: str
    message_class: MessageClass = MessageClass.MARKETING
    useful_for: timedelta | None = None
    again: bool = False
    edition: str = ""
    others: tuple[Channel, ...] = ()
    once: bool = False
    about: str = ""

    @property
    def step(self) -> str:
        """The step this message is, within its enrolment."""
        text = self.template + (f"@{self.edition}" if self.edition else "") + (f"#{self.about}" if self.about else "")
        return f"{text}:{'|'.join(sorted({self.channel, *self.others}))}"


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


class ApprovedTemplate(BaseModel, frozen=True):
    """The template of WhatsApp's that a message fills in.

    Attributes:
        sid: Twilio's id of the content resource.
        variables: Values by number, from ``"1"``.
        category: What WhatsApp charges it as; "session" for buttons inside the customer-service window.
    """

    sid: str
    variables: dict[str, str] = {}
    category: Literal["marketing", "utility", "authentication", "session"]


class WhatsAppContent(BaseModel, frozen=True):
    """A WhatsApp message.

    Attributes:
        text: What the customer reads, whichever way it is sent.
        media: Address of the picture or video above it.
        category: What the text is to WhatsApp if it is sent as a template, see `templates.files.CATEGORIES`.
        template: The template it is sent by; None: as free text.
        sender: The number of ours it goes out from (E.164); None before it is chosen.
    """

    channel: Literal[Channel.WHATSAPP] = Channel.WHATSAPP
    text: str
    buttons: tuple[Button, ...] = ()
    media: str | None = None
    category: str | None = None
    template: ApprovedTemplate | None = None
    sender: str | None = None


class PushContent(BaseModel, frozen=True):
    channel: Literal[Channel.PUSH] = Channel.PUSH
    title: str
    body: str
    link: str | None = None


class WebPushContent(BaseModel, frozen=True):
    channel: Literal[Channel.WEB_PUSH] = Channel.WEB_PUSH
    title: str
    body: str
    link: str | None = None


class CallContent(BaseModel, frozen=True):
    """A call: `script` is for a person of the call centre, `spoken` is what a machine says instead."""

    channel: Literal[Channel.CALL] = Channel.CALL
    topic: str
    script: str
    name: str | None = None
    spoken: str | None = None


class InboxContent(BaseModel, frozen=True):
    channel: Literal[Channel.INBOX] = Channel.INBOX
    title: str
    body: str
    link: str | None = None


class PopupContent(BaseModel, frozen=True):
    """What opens over a page; `button` is what its link is called, `surface` where alone it is shown."""

    channel: Literal[Channel.POPUP] = Channel.POPUP
    title: str
    body: str
    link: str | None = None
    button: str | None = None
    surface: Surface | None = None


class BannerContent(BaseModel, frozen=True):
    """What stands on a page until it is put away; see `PopupContent`."""

    channel: Literal[Channel.BANNER] = Channel.BANNER
    title: str
    body: str
    link: str | None = None
    button: str | None = None
    surface: Surface | None = None


Content = Annotated[
    EmailContent
    | SmsContent
    | WhatsAppContent
    | PushContent
    | WebPushContent
    | CallContent
    | InboxContent
    | PopupContent
    | BannerContent,
    Field(discriminator="channel"),
]


class PushKeys(BaseModel, frozen=True):
    """What a browser gave to encrypt to it (RFC 8291, 2.1), both base64url without padding.

    Attributes:
        p256dh: Its public key, an uncompressed point of P-256.
        auth: Its authentication secret of 16 bytes.
    """

    p256dh: str
    auth: str


class Letter(BaseModel, frozen=True):
    """A rendered message on its way to a provider.

    Attributes:
        message_id: Our id; every provider gets it in the place from where its callbacks return it.
        recipient: Address, phone number (E.164), device token, or endpoint of a browser's subscription.
        push_keys: What is encrypted to; a browser's only.
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
    push_keys: PushKeys | None = None


class Order(StrEnum):
    """In which order a cascade goes through its channels."""

    AS_WRITTEN = "as_written"
    CHEAPEST_FIRST = "cheapest_first"
    """By what each message costs at the moment of sending; what no tariff tells the price of comes last."""


class DeliverRequest(BaseModel, frozen=True):
    """What a run tells `deliver`: numbers and names, nothing personal.

    Attributes:
        enrolment: Our number of the enrolment; the customer is found through it.
        occurrence: Counts the times an `again` draft goes out.
        decided_after: Sequence of the newest event the decision to send knew of.
        awaits: Statuses the run wants to be signalled.
        expires_at: Journey time after which the message is not worth sending.
        alternatives: Others that would do as well: the cheapest of all is sent, and no other.
        asks_hour: Whether the run wants to know at which hour the customer reacts.
    """

    enrolment: int
    draft: Draft
    occurrence: int = 1
    decided_after: int
    awaits: tuple[Status, ...] = ()
    expires_at: datetime | None = None
    asks_hour: bool = False
    alternatives: "tuple[DeliverRequest, ...]" = ()

    @property
    def message(self) -> UUID:
        """The id of the message asked for."""
        return message_id(self.enrolment, self.draft.step, self.occurrence)


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
        channel: Of a message that might go by several: the one it went by, or would have.
        best_hour: Hour of the day (0 to 23, UTC) at which the customer reacts most, if the run asked and it is known.
    """

    verdict: Verdict
    message: UUID
    status: Status | None = None
    reason: str | None = None
    not_before: datetime | None = None
    at: datetime | None = None
    outcome: Outcome | None = None
    channel: Channel | None = None
    best_hour: int | None = None

    @property
    def gone(self) -> bool:
        """Whether the message is, or may be, on its way."""
        return self.verdict is Verdict.GONE
