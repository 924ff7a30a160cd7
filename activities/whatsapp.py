"""How a WhatsApp message goes out: from which sender, and as free text or by an approved template.

Decided before sending, from our own rows, under the customer's lock:

- Inside the customer-service window (24 hours since the customer last wrote to that sender) as free text.
- Outside by an approved template: the text as it is now, if that is approved, else the version that was
  approved last. Where none ever was, the message is skipped, and says so.
- From the sender the customer is in conversation with, unless it is blocked; else from another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Protocol, runtime_checkable

from domain.clock import Clock
from domain.messages import WhatsAppContent
from store import whatsapp
from store.database import Connection
from store.whatsapp import Conversation, Reviewed
from templates.limits import fits_session, too_long
from templates.renderer import RenderError, Text, Track
from templates.whatsapp import Form, NoTemplate, fill, form_of, media_problems

WINDOW = timedelta(hours=24)
"""After a customer's message, for which WhatsApp takes free text (twilio.com/docs/whatsapp/key-concepts)."""

MARGIN = timedelta(minutes=2)
"""Before its end the window counts as closed: what is queued for a while must still arrive in time."""


WAITS_FOR_SENDER = timedelta(minutes=15)
"""Wall time a message waits for a sender that rests, as for a rate limit; for a longer block it does not go."""


class CannotSend(Exception):
    """A message does not go out by WhatsApp now; the reason begins with the rule's name.

    Attributes:
        until: Wall time after which it may, if that is soon.
    """

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason)
        self.until = until


@runtime_checkable
class Senders(Protocol):
    """A channel with several numbers to send from."""

    @property
    def senders(self) -> Sequence[str]: ...


@dataclass(frozen=True, kw_only=True)
class To:
    """Who is to be written to.

    Attributes:
        customer: Our number of them.
        now: Journey time.
    """

    customer: int
    recipient: str
    now: datetime
    clock: Clock


@dataclass(frozen=True, kw_only=True)
class Asked(To):
    """What is to be written, and for whom.

    Attributes:
        edition: The month it is for; "" for always.
        company: What texts call us, and `site` where links lead: the same for everybody.
    """

    text: Text
    edition: str
    company: str
    site: str


async def write(
    connection: Connection,
    senders: Sequence[str],
    asked: Asked,
    values: Mapping[str, object],
    track: Track,
) -> WhatsAppContent:
    """Write a message as it can be sent now, with the sender it goes out from.

    Raises:
        CannotSend: It cannot: every sender is blocked, or no template of the text is approved.
        MissingVariable, RenderError: The text cannot be written.
    """
    known = await whatsapp.conversations(connection, asked.recipient, senders)
    sender = _sender(known, asked)
    if _is_open(sender, asked) and (inside := await _inside(connection, asked, values, track)):
        return inside.model_copy(update={"sender": sender.sender})
    by_template = await _by_template(connection, asked, values, track)
    return by_template.model_copy(update={"sender": sender.sender})


async def say(connection: Connection, senders: Sequence[str], to: To, content: WhatsAppContent) -> WhatsAppContent:
    """Return what a person of ours has written, with the sender it goes out from.

    Raises:
        CannotSend: Every sender is blocked, or the customer-service window is closed: no template says it.
    """
    known = await whatsapp.conversations(connection, to.recipient, senders)
    talking = [each for each in known if _is_open(each, to)]
    if not talking:
        raise CannotSend("window_closed")
    return content.model_copy(update={"sender": _sender(talking, to).sender})


def _sender(known: Sequence[Conversation], asked: To) -> Conversation:
    """Return the sender the customer is in conversation with, else one of the free ones: always the same for them."""
    free = [each for each in known if each.blocked_until is None]
    if not free:
        until = min(each.blocked_until for each in known if each.blocked_until)
        raise CannotSend(
            f"whatsapp_senders:all blocked, the first until {until.astimezone(UTC):%d %b %H:%M} UTC",
            until if until < datetime.now(UTC) + WAITS_FOR_SENDER else None,
        )
    never = datetime.min.replace(tzinfo=UTC)
    return max(
        free,
        key=lambda each: (
            _is_open(each, asked),
            max(each.wrote_at or never, each.sent_at or never),
            # Customers are spread over the senders, and those of one that is blocked over all others.
            sha256(f"{asked.customer}/{each.sender}".encode()).digest(),
        ),
    )


def _is_open(conversation: Conversation, asked: To) -> bool:
    """Whether the customer-service window is open: by the wall's clock, which is WhatsApp's, and in journey time."""
    wrote_at = conversation.wrote_at
    if wrote_at is None:
        return False
    closes = WINDOW - MARGIN
    return datetime.now(UTC) < wrote_at + closes and asked.now < asked.clock.journey_time(wrote_at) + closes


async def _inside(
    connection: Connection, asked: Asked, values: Mapping[str, object], track: Track
) -> WhatsAppContent | None:
    """Write a message for inside the window; None if it has more buttons than go there."""
    content = asked.text.render(values, track=track, footer=None)
    assert isinstance(content, WhatsAppContent)
    if problems := [*media_problems(content.media), *too_long(content)]:
        raise RenderError(asked.text, "; ".join(problems))
    if not fits_session(content):
        return None
    if not content.buttons:
        return content
    # Buttons need a content resource, though nobody has to approve it (twilio.com/docs/content/twilio-quick-reply),
    # unless there is a picture above them: a card is approved also for inside (twilio.com/docs/content/whatsappcard).
    # Without one the choices are told as numbers, and an answer by number is understood.
    form = _form(asked)
    needs_approval = content.media is not None
    for each in await _versions(connection, asked):
        if needs_approval and each.status != "approved":
            continue
        if form and each.version == form.version and each.content_sid:
            written = fill(asked.text, form, each.content_sid, values, track)
            assert written.template is not None
            session = written.template.model_copy(update={"category": "session"})
            return written.model_copy(update={"template": session})
    return content


async def _by_template(
    connection: Connection, asked: Asked, values: Mapping[str, object], track: Track
) -> WhatsAppContent:
    versions = await _versions(connection, asked)
    form = _form(asked)
    approved = [each for each in versions if each.status == "approved" and each.content_sid]
    current = [each for each in approved if form and each.version == form.version]
    if not approved:
        raise CannotSend(f"whatsapp_template:{_why_none(versions)}")
    # Versions come in the order in which they were approved, the last first.
    chosen = (current or approved)[0]
    assert chosen.content_sid is not None
    return fill(asked.text, Form.model_validate(chosen.form), chosen.content_sid, values, track)


async def _versions(connection: Connection, asked: Asked) -> list[Reviewed]:
    return await whatsapp.reviewed(connection, asked.text.template, asked.text.locale, asked.edition)


def _form(asked: Asked) -> Form | None:
    """Return the text as it would be submitted now; None if it cannot be a template."""
    try:
        return form_of(asked.text, company=asked.company, site=asked.site)
    except NoTemplate:
        return None


def _why_none(versions: Sequence[Reviewed]) -> str:
    if not versions:
        return "never submitted"
    return f"never approved, the newest is {max(versions, key=lambda each: each.id).status}"
