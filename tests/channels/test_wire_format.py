"""What goes over the wire, byte for byte as each provider documents it."""

import base64
import json
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from pydantic import ValidationError
from standardwebhooks import Webhook

from channels.call_centre import CallCentre
from channels.fcm import Fcm
from channels.protocol import Receipt, Review, SenderBlocked
from channels.sendgrid import SendGrid
from channels.twilio import TwilioSettings, TwilioSms, TwilioWhatsApp
from domain.messages import Button
from tests.channels import letters
from tests.channels.conftest import ACCESS_TOKEN, ACCOUNT_SID, taken_by_twilio
from tests.channels.provider import Answer, Provider, answer_json

MID = str(letters.MESSAGE_ID)


async def test_an_email_as_sendgrid_takes_it(sendgrid: SendGrid, provider: Provider) -> None:
    provider.will(Answer(202, headers={"X-Message-Id": "sg-1"}))

    assert await sendgrid.send(letters.email()) == Receipt("sg-1")

    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", "/v3/mail/send")
    assert asked.headers["authorization"] == "Bearer SG.key-that-must-not-show"
    assert asked.json == {
        "from": {"email": "hello@cars.example", "name": "Cars"},
        "subject": "Your application",
        "personalizations": [
            {
                "to": [{"email": letters.ADDRESS}],
                "custom_args": {"message_id": MID},
                "headers": {
                    "List-Unsubscribe": f"<{letters.UNSUBSCRIBE}>",
                    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                },
            }
        ],
        "content": [
            {"type": "text/plain", "value": letters.TEXT},
            {"type": "text/html", "value": f"<p>{letters.TEXT}</p>"},
        ],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": True},
            "subscription_tracking": {"enable": False},
        },
    }


@pytest.mark.parametrize("address", ["anna@cars.example@", "anna@cars exa.mple", "Anna <bob@cars.example>"])
async def test_what_is_no_address_is_left_to_sendgrid_to_refuse(
    address: str, sendgrid: SendGrid, provider: Provider
) -> None:
    provider.will(Answer(202))
    await sendgrid.send(letters.email().model_copy(update={"recipient": address}))
    assert provider.asked[0].json["personalizations"][0]["to"] == [{"email": address}]


async def test_an_email_nobody_can_unsubscribe_from_says_nothing_of_it(sendgrid: SendGrid, provider: Provider) -> None:
    provider.will(Answer(202))
    assert await sendgrid.send(letters.email(unsubscribe_url=None)) == Receipt(None)
    assert "headers" not in provider.asked[0].json["personalizations"][0]


async def test_an_sms_as_twilio_takes_it(sms_channel: TwilioSms, provider: Provider) -> None:
    provider.respond = taken_by_twilio

    assert await sms_channel.send(letters.sms(timedelta(hours=2))) == Receipt("SM" + "1" * 32)

    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json")
    credentials = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
    assert credentials == f"{ACCOUNT_SID}:twilio-token-that-must-not-show"
    assert asked.form == {
        "To": letters.PHONE,
        "From": "+15551234567",
        "Body": letters.TEXT,
        "StatusCallback": f"https://j.example/webhooks/twilio/status?mid={MID}",
        "ValidityPeriod": "7200",
    }


@pytest.mark.parametrize(
    ("valid_for", "period"),
    [(timedelta(days=30), "36000"), (timedelta(milliseconds=1), "1"), (timedelta(seconds=-5), "1"), (None, None)],
)
async def test_an_sms_is_valid_no_longer_than_twilio_allows(
    valid_for: timedelta | None, period: str | None, sms_channel: TwilioSms, provider: Provider
) -> None:
    provider.respond = taken_by_twilio
    await sms_channel.send(letters.sms(valid_for))
    assert provider.asked[0].form.get("ValidityPeriod") == period


async def test_a_whatsapp_with_its_buttons_as_lines(whatsapp_channel: TwilioWhatsApp, provider: Provider) -> None:
    provider.respond = taken_by_twilio
    await whatsapp_channel.send(letters.whatsapp(Button(id="y", title="Yes"), Button(id="n", title="No")))
    form = provider.asked[0].form
    assert form["To"] == f"whatsapp:{letters.PHONE}"
    assert form["From"] == "whatsapp:+15557654321"
    assert form["Body"] == f"{letters.TEXT}\n1 — Yes\n2 — No"


async def test_a_template_goes_out_from_the_sender_of_its_conversation(
    whatsapp_channel: TwilioWhatsApp, provider: Provider
) -> None:
    provider.respond = taken_by_twilio
    assert whatsapp_channel.senders == ("+15557654321", "+15557654322")
    await whatsapp_channel.send(letters.template())
    form = provider.asked[0].form
    assert form["From"] == "whatsapp:+15557654322"
    assert (form["ContentSid"], form.get("Body")) == (letters.SID, None)
    assert json.loads(form["ContentVariables"]) == {"1": "Анна", "2": "https://j.example/r/abc"}


@pytest.mark.parametrize(
    ("answer", "review"),
    [
        ({"status": "received", "rejection_reason": ""}, Review("submitted")),
        ({"status": "pending"}, Review("pending")),
        ({"status": "in_appeal"}, Review("pending")),
        ({"status": "approved"}, Review("approved")),
        ({"status": "rejected", "rejection_reason": "INVALID_FORMAT"}, Review("rejected", "INVALID_FORMAT")),
        ({"status": "paused"}, Review("paused")),
        ({"status": "disabled"}, Review("disabled")),
        ({"status": "unsubmitted"}, None),
        (None, None),
    ],
)
async def test_what_reviewers_say_is_read_from_the_content_api(
    whatsapp_channel: TwilioWhatsApp, provider: Provider, answer: dict[str, str] | None, review: Review | None
) -> None:
    provider.will(answer_json(200, {"sid": letters.SID, "whatsapp": answer}))
    assert await whatsapp_channel.review(letters.SID) == review


async def test_a_blocked_sender_is_no_refusal_of_the_message(
    whatsapp_channel: TwilioWhatsApp, provider: Provider
) -> None:
    provider.will(answer_json(400, {"code": 63018, "message": "Rate limit exceeded for Channel"}))
    with pytest.raises(SenderBlocked) as blocked:
        await whatsapp_channel.send(letters.whatsapp())
    assert (blocked.value.code, blocked.value.sender) == ("63018", "+15557654321")
    assert blocked.value.lasts == timedelta(minutes=1)


@pytest.mark.parametrize("numbers", ["", "14155550100", "+14155550100,", "+14155550100,+14155550100", "whatsapp:Bank"])
def test_senders_that_are_no_numbers_are_refused_at_start(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, numbers: str
) -> None:
    monkeypatch.setenv("TWILIO_WHATSAPP_FROM", numbers)
    with pytest.raises(ValidationError):
        TwilioSettings()


async def test_a_push_as_fcm_takes_it(fcm: Fcm, provider: Provider) -> None:
    provider.will(answer_json(200, {"name": "projects/cars/messages/0:1"}))

    before = int(time.time())
    receipt = await fcm.send(letters.push(valid_for=timedelta(hours=1)))

    assert receipt == Receipt("projects/cars/messages/0:1")
    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", "/v1/projects/cars/messages:send")
    assert asked.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
    sent = asked.json
    expires = int(sent["message"]["apns"]["headers"].pop("apns-expiration"))
    assert before + 3600 <= expires <= int(time.time()) + 3600
    assert sent == {
        "message": {
            "token": letters.DEVICE,
            "notification": {"title": "Title", "body": letters.TEXT},
            "data": {"message_id": MID, "link": "https://j.example/r/abc"},
            "android": {"collapse_key": MID, "notification": {"tag": MID}, "ttl": "3600s"},
            "apns": {"headers": {"apns-collapse-id": MID}},
        }
    }


async def test_a_push_without_a_link(fcm: Fcm, provider: Provider) -> None:
    provider.will(answer_json(200, {"name": "projects/cars/messages/0:1"}))
    await fcm.send(letters.push(link=None))
    message = provider.asked[0].json["message"]
    assert message["data"] == {"message_id": MID}
    assert "ttl" not in message["android"]
    assert "apns-expiration" not in message["apns"]["headers"]


async def test_googles_token_is_asked_for_by_a_signed_request_and_kept(
    fcm: Fcm, provider: Provider, token_server: Provider, private_key: rsa.RSAPrivateKey
) -> None:
    provider.will(answer_json(200, {"name": "projects/cars/messages/0:1"}))
    await fcm.send(letters.push())
    await fcm.send(letters.push())

    (asked,) = token_server.asked
    public = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = jwt.decode(asked.form["assertion"], certs=public)  # type: ignore[no-untyped-call]
    assert claims["iss"] == "journeys@cars.example"
    assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"


@pytest.mark.parametrize("status", [202, 409])
async def test_a_call_as_the_call_centre_takes_it(
    status: int, call_centre: CallCentre, provider: Provider, environment: dict[str, str]
) -> None:
    provider.will(Answer(status))

    assert await call_centre.send(letters.call()) == Receipt(MID)

    (asked,) = provider.asked
    assert (asked.method, asked.target) == ("POST", "/calls")
    assert asked.headers["webhook-id"] == MID
    assert Webhook(environment["CALL_CENTRE_SECRET"]).verify(asked.body, asked.headers) == {
        "id": MID,
        "phone": letters.PHONE,
        "locale": "en",
        "topic": "Help",
        "script": letters.TEXT,
        "name": "Анна",
    }
