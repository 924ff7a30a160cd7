"""How long a text may be in its channel."""

from collections.abc import Iterator

from domain.messages import (
    BannerContent,
    CallContent,
    Content,
    EmailContent,
    InboxContent,
    PopupContent,
    PushContent,
    SmsContent,
    WebPushContent,
    WhatsAppContent,
)
from domain.sms import encoding, segments
from templates.files import SESSION

SMS_SEGMENTS = 6
SUBJECT = 150
PUSH_TITLE, PUSH_BODY = 65, 240
"""What phones show of a notification."""
INBOX_TITLE, INBOX_BODY = 120, 4000
WHATSAPP_BODY = 1000
WHATSAPP_BUTTONS, WHATSAPP_BUTTON_TITLE, WHATSAPP_BUTTON_ID = 3, 20, 128
WHATSAPP_TEMPLATE_BUTTONS, WHATSAPP_TEMPLATE_BUTTON_TITLE = 10, 25
"""Quick replies inside the customer-service window, and of templates (twilio.com/docs/content/twilio-quick-reply)."""
CALL_TOPIC, CALL_SCRIPT = 120, 4000
CALL_SPOKEN = 600
"""Most people have hung up after that: it is some forty seconds."""
POPUP_TITLE, POPUP_BODY = 80, 600
BANNER_TITLE, BANNER_BODY = 80, 200
BUTTON = 30


def too_long(content: Content) -> list[str]:
    """Return what is longer than its channel allows, each with the limit; nothing if all fits."""
    return list(_excesses(content))


def fits_session(content: WhatsAppContent) -> bool:
    """Whether a message may go out as free text, inside the customer-service window."""
    return not too_long(content.model_copy(update={"category": None}))


def _excesses(content: Content) -> Iterator[str]:
    match content:
        case EmailContent():
            yield from _over("subject", len(content.subject), SUBJECT)
        case SmsContent():
            unit = f"segments ({encoding(content.text)})"
            yield from _over("body", segments(content.text), SMS_SEGMENTS, unit)
        case WhatsAppContent():
            yield from _over("body", len(content.text), WHATSAPP_BODY)
            most, longest = WHATSAPP_BUTTONS, WHATSAPP_BUTTON_TITLE
            if content.category not in (None, SESSION):
                most, longest = WHATSAPP_TEMPLATE_BUTTONS, WHATSAPP_TEMPLATE_BUTTON_TITLE
            yield from _over("button", len(content.buttons), most, "of them")
            for button in content.buttons:
                yield from _over(f"button {button.id}", len(button.title), longest)
                yield from _over(f"id of button {button.id[:20]}", len(button.id), WHATSAPP_BUTTON_ID)
        case PushContent() | WebPushContent():
            yield from _over("title", len(content.title), PUSH_TITLE)
            yield from _over("body", len(content.body), PUSH_BODY)
        case InboxContent():
            yield from _over("title", len(content.title), INBOX_TITLE)
            yield from _over("body", len(content.body), INBOX_BODY)
        case CallContent():
            yield from _over("topic", len(content.topic), CALL_TOPIC)
            yield from _over("body", len(content.script), CALL_SCRIPT)
            yield from _over("spoken", len(content.spoken or ""), CALL_SPOKEN)
        case PopupContent():
            yield from _over("title", len(content.title), POPUP_TITLE)
            yield from _over("body", len(content.body), POPUP_BODY)
            yield from _over("button", len(content.button or ""), BUTTON)
        case BannerContent():
            yield from _over("title", len(content.title), BANNER_TITLE)
            yield from _over("body", len(content.body), BANNER_BODY)
            yield from _over("button", len(content.button or ""), BUTTON)


def _over(part: str, size: int, most: int, unit: str = "characters") -> Iterator[str]:
    if size > most:
        yield f"{part}: {size} {unit}, at most {most}"
