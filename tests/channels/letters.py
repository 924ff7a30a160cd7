"""Letters as `deliver` makes them; whatever identifies the customer is recognisable, to be looked for in leaks."""

from datetime import timedelta
from uuid import UUID

from domain.messages import (
    ApprovedTemplate,
    Button,
    CallContent,
    Content,
    EmailContent,
    Letter,
    MessageClass,
    PushContent,
    PushKeys,
    SmsContent,
    WebPushContent,
    WhatsAppContent,
)

MESSAGE_ID = UUID("6f1c1c54-0c4f-5a0e-9a7b-0f6a7e1f2b3c")
ADDRESS = "anna.secret@cars.example"
PHONE = "+79161234567"
DEVICE = "device-token-of-anna"
TEXT = "Анна, your application is waiting"
OTHER_SENDER = "+15557654322"
UNSUBSCRIBE = "https://j.example/u/abc"


def letter(
    content: Content,
    recipient: str,
    *,
    unsubscribe_url: str | None = None,
    valid_for: timedelta | None = None,
    push_keys: PushKeys | None = None,
) -> Letter:
    return Letter(
        message_id=MESSAGE_ID,
        recipient=recipient,
        content=content,
        locale="en",
        message_class=MessageClass.MARKETING,
        unsubscribe_url=unsubscribe_url,
        valid_for=valid_for,
        push_keys=push_keys,
    )


def email(unsubscribe_url: str | None = UNSUBSCRIBE) -> Letter:
    content = EmailContent(subject="Your application", html=f"<p>{TEXT}</p>", text=TEXT)
    return letter(content, ADDRESS, unsubscribe_url=unsubscribe_url)


def sms(valid_for: timedelta | None = None) -> Letter:
    return letter(SmsContent(text=TEXT), PHONE, valid_for=valid_for)


def whatsapp(*buttons: Button) -> Letter:
    return letter(WhatsAppContent(text=TEXT, buttons=buttons), PHONE)


SID = "HX" + "1" * 32


def template(*buttons: Button) -> Letter:
    """A WhatsApp message by an approved template."""
    used = ApprovedTemplate(sid=SID, variables={"1": "Анна", "2": "https://j.example/r/abc"}, category="marketing")
    content = WhatsAppContent(text=TEXT, buttons=buttons, category="marketing", template=used, sender=OTHER_SENDER)
    return letter(content, PHONE)


def picture() -> Letter:
    return letter(WhatsAppContent(text=TEXT, media="https://cars.example/7.jpg"), PHONE)


def push(link: str | None = "https://j.example/r/abc", valid_for: timedelta | None = None) -> Letter:
    return letter(PushContent(title="Title", body=TEXT, link=link), DEVICE, valid_for=valid_for)


def web_push(
    endpoint: str, keys: PushKeys, *, body: str = TEXT, link: str | None = None, valid_for: timedelta | None = None
) -> Letter:
    content = WebPushContent(title="Title", body=body, link=link)
    return letter(content, endpoint, valid_for=valid_for, push_keys=keys)


def call() -> Letter:
    return letter(CallContent(topic="Help", script=TEXT, name="Анна"), PHONE)
