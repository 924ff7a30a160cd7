"""Every kind of request we make of a provider, judged field by field."""

import os
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from activities.templates import resource_of
from channels.call_centre import CallCentre
from channels.fcm import Fcm
from channels.protocol import Search
from channels.sendgrid import SendGrid
from channels.twilio import TwilioSms, TwilioWhatsApp
from channels.web_push import WebPush
from domain.messages import Button, Letter
from templates.whatsapp import Form, Gap
from tests.channels import letters
from tests.channels.browser import Browser
from tests.channels.conftest import taken_by_twilio
from tests.channels.provider import Answer, Asked, Provider, answer_json
from tests.channels.vendors import (
    ASK_FOR_CALL,
    ASK_FOR_REVIEW,
    CALL,
    DELETE_TEXT,
    ERASE_MAIL,
    LIST_TEXTS,
    MAIL,
    MAKE_TEMPLATE,
    OPERATIONS,
    PICTURE_MESSAGE,
    PUSH,
    SUBMIT_TEMPLATE,
    TEMPLATE_MESSAGE,
    TEXT_MESSAGE,
    WEB_PUSH,
    Operation,
    judge,
    judge_by_vendor,
    operation_of,
)

DOCUMENTS = os.environ.get("JOURNEYS_VENDOR_OPENAPI")

SID = "SM" + "1" * 32
HOUR = timedelta(hours=1)
BUTTONS = (Button(id="y", title="Yes"), Button(id="n", title="No"))


@dataclass(frozen=True)
class Channels:
    sendgrid: SendGrid
    sms: TwilioSms
    whatsapp: TwilioWhatsApp
    fcm: Fcm
    call_centre: CallCentre
    web_push: WebPush
    browser: Browser


@pytest.fixture
def channels(
    sendgrid: SendGrid,
    sms_channel: TwilioSms,
    whatsapp_channel: TwilioWhatsApp,
    fcm: Fcm,
    call_centre: CallCentre,
    web_push: WebPush,
    browser: Browser,
) -> Channels:
    return Channels(sendgrid, sms_channel, whatsapp_channel, fcm, call_centre, web_push, browser)


def since_now(letter: Letter) -> Search:
    return Search(letter, since=datetime.now(UTC))


PLAIN = Form(
    body="Dear {{1}}, your car is here: {{2}}.",
    gaps=(
        Gap(liquid="{{ customer.first_name }}", is_link=False, sample="first name"),
        Gap(liquid="https://cars.example/{{ event.car }}", is_link=True, sample="https://cars.example/1"),
    ),
    category="marketing",
    language="en",
)
FORMS = {
    "words": PLAIN,
    "buttons": PLAIN.model_copy(update={"buttons": BUTTONS}),
    "a picture": PLAIN.model_copy(update={"media": "https://cars.example/7.jpg"}),
    "both": PLAIN.model_copy(update={"buttons": BUTTONS, "media": "https://cars.example/7.mp4"}),
}


def making(form: Form) -> Callable[[Channels], Awaitable[object]]:
    return lambda by: by.whatsapp.make("car_is_here_en_1", resource_of(form))


MADE: dict[str, tuple[Operation, Callable[[Channels], Awaitable[object]]]] = {
    "an email": (MAIL, lambda by: by.sendgrid.send(letters.email())),
    "an email nobody can unsubscribe from": (MAIL, lambda by: by.sendgrid.send(letters.email(unsubscribe_url=None))),
    "the erasure of an address": (ERASE_MAIL, lambda by: by.sendgrid.erase(letters.ADDRESS)),
    "an SMS": (TEXT_MESSAGE, lambda by: by.sms.send(letters.sms())),
    "an SMS that is worth nothing later": (TEXT_MESSAGE, lambda by: by.sms.send(letters.sms(HOUR))),
    "a WhatsApp": (TEXT_MESSAGE, lambda by: by.whatsapp.send(letters.whatsapp(*BUTTONS))),
    "a WhatsApp with a picture": (PICTURE_MESSAGE, lambda by: by.whatsapp.send(letters.picture())),
    "a WhatsApp template": (TEMPLATE_MESSAGE, lambda by: by.whatsapp.send(letters.template(*BUTTONS))),
    **{f"a new template with {what}": (MAKE_TEMPLATE, making(form)) for what, form in FORMS.items()},
    "a template to be reviewed": (
        SUBMIT_TEMPLATE,
        lambda by: by.whatsapp.submit(letters.SID, "car_is_here_en_1", "marketing"),
    ),
    "a question about a review": (ASK_FOR_REVIEW, lambda by: by.whatsapp.review(letters.SID)),
    "a question about an SMS": (LIST_TEXTS, lambda by: by.sms.find(since_now(letters.sms()))),
    "a question about a WhatsApp": (LIST_TEXTS, lambda by: by.whatsapp.find(since_now(letters.whatsapp()))),
    "the deletion of a text": (DELETE_TEXT, lambda by: by.sms.erase(SID)),
    "a push": (PUSH, lambda by: by.fcm.send(letters.push())),
    "a push with a link that is worth nothing later": (PUSH, lambda by: by.fcm.send(letters.push(valid_for=HOUR))),
    "a web push": (
        WEB_PUSH,
        lambda by: by.web_push.send(letters.web_push(by.browser.endpoint, by.browser.keys, valid_for=HOUR)),
    ),
    "a call": (CALL, lambda by: by.call_centre.send(letters.call())),
    "a question about a call": (ASK_FOR_CALL, lambda by: by.call_centre.find(since_now(letters.call()))),
}


def taken(asked: Asked) -> Answer:
    """Take whatever it is."""
    match asked.method:
        case "DELETE":
            return Answer(204)
        case "GET":
            return answer_json(200, {"messages": [], "page_size": 50, "next_page_uri": None})
        case _:
            return taken_by_twilio(asked)


async def made(what: str, channels: Channels, provider: Provider) -> tuple[Operation, Asked]:
    provider.respond = taken
    operation, make = MADE[what]
    await make(channels)
    (asked,) = provider.asked
    return operation, asked


@pytest.mark.parametrize("what", MADE)
async def test_a_request_is_as_its_vendor_describes_it(what: str, channels: Channels, provider: Provider) -> None:
    operation, asked = await made(what, channels, provider)
    assert operation_of(asked) is operation
    judge(operation, asked)
    if operation.document and DOCUMENTS:
        judge_by_vendor(Path(DOCUMENTS) / operation.document, asked)


def test_it_is_said_which_judge_was_missing() -> None:
    documented = [what for what, (operation, _) in MADE.items() if operation.document]
    assert documented
    if not DOCUMENTS:
        warnings.warn(
            f"the vendors' own OpenAPI documents are not at hand (JOURNEYS_VENDOR_OPENAPI): {', '.join(documented)} "
            "were judged by our own reading of the vendors' pages alone",
            stacklevel=1,
        )


def test_every_operation_is_tried() -> None:
    assert {operation for operation, _ in MADE.values()} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("an email", (b'"personalizations"', b'"personalisations"')),
        ("an email", (b'"enable"', b'"enabled"')),
        ("an email", (b"anna.secret@", b"anna secret")),
        ("an SMS", (b"Body=", b"Text=")),
        ("an SMS", (b"To=%2B", b"To=00")),
        ("a WhatsApp template", (b"ContentSid=HX", b"ContentSid=XX")),
        ("a template to be reviewed", (b"MARKETING", b"marketing")),
        ("a new template with buttons", (b"QUICK_REPLY", b"QUICKREPLY")),
        ("a push", (b'"collapse_key"', b'"collapseKey"')),
        ("a call", (b'"script"', b'"text"')),
    ],
)
async def test_our_reading_notices_what_a_provider_would_ignore_or_refuse(
    what: str, wrong: tuple[bytes, bytes], channels: Channels, provider: Provider
) -> None:
    operation, asked = await made(what, channels, provider)
    assert wrong[0] in asked.body
    mistaken = Asked(asked.method, asked.target, asked.headers, asked.body.replace(*wrong))
    with pytest.raises(jsonschema.ValidationError):
        judge(operation, mistaken)
