"""Channels against a provider on a real socket, each with credentials that must never show."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from channels.call_centre import CallCentre, CallCentreSettings
from channels.fcm import Fcm, FcmSettings
from channels.http import open_client
from channels.sendgrid import SendGrid, SendGridSettings
from channels.twilio import Twilio, TwilioSettings, TwilioSms, TwilioWhatsApp
from channels.web_push import WebPush, WebPushSettings, new_private_key
from tests.channels.browser import Browser
from tests.channels.provider import Answer, Asked, Provider, a_provider, answer_json

ACCOUNT_SID = "AC" + "0" * 31 + "1"
ACCESS_TOKEN = "ya29.access-token"
PUBLIC_URL = "https://j.example"
VAPID_KEY = new_private_key()


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with a_provider() as provider:
        yield provider


@pytest.fixture
async def token_server() -> AsyncIterator[Provider]:
    async with a_provider() as server:
        server.will(answer_json(200, {"access_token": ACCESS_TOKEN, "expires_in": 3600}))
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """The product's client, less patient, so that a silent provider is given up soon."""
    async with open_client(timedelta(seconds=1)) as client:
        yield client


@pytest.fixture
def environment(
    provider: Provider,
    token_server: Provider,
    private_key: rsa.RSAPrivateKey,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "cars",
        "private_key_id": "key-1",
        "private_key": pem.decode(),
        "client_email": "journeys@cars.example",
        "token_uri": f"{token_server.url}/token",
    }
    variables = {
        "SENDGRID_API_KEY": "SG.key-that-must-not-show",
        "SENDGRID_FROM_EMAIL": "hello@cars.example",
        "SENDGRID_FROM_NAME": "Cars",
        "SENDGRID_BASE_URL": provider.url,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": "twilio-token-that-must-not-show",
        "TWILIO_SMS_FROM": "+15551234567",
        "TWILIO_WHATSAPP_FROM": "+15557654321, whatsapp:+15557654322",
        "TWILIO_BASE_URL": provider.url,
        "TWILIO_CONTENT_URL": provider.url,
        "FCM_SERVICE_ACCOUNT": json.dumps(account),
        "FCM_BASE_URL": provider.url,
        "WEB_PUSH_PRIVATE_KEY": VAPID_KEY,
        "WEB_PUSH_CONTACT": "mailto:push@cars.example",
        "WEB_PUSH_SERVICES": provider.url,
        "CALL_CENTRE_URL": f"{provider.url}/calls",
        "CALL_CENTRE_SECRET": "whsec_dGhlIHNlY3JldCB0aGF0IG11c3Qgbm90IHNob3c=",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def sendgrid(environment: dict[str, str], client: httpx.AsyncClient) -> SendGrid:
    return SendGrid(SendGridSettings(), client)


@pytest.fixture
def twilio(environment: dict[str, str], client: httpx.AsyncClient) -> Twilio:
    return Twilio(TwilioSettings(), client, PUBLIC_URL)


@pytest.fixture
def sms_channel(twilio: Twilio) -> TwilioSms:
    return TwilioSms(twilio)


@pytest.fixture
def whatsapp_channel(twilio: Twilio) -> TwilioWhatsApp:
    return TwilioWhatsApp(twilio)


@pytest.fixture
def fcm(environment: dict[str, str], client: httpx.AsyncClient) -> Fcm:
    return Fcm(FcmSettings(), client)


@pytest.fixture
def web_push(environment: dict[str, str], client: httpx.AsyncClient) -> WebPush:
    return WebPush(WebPushSettings(), client)


@pytest.fixture
def browser(provider: Provider) -> Browser:
    """A browser whose push service is the provider."""
    return Browser(f"{provider.url}/send/anna")


@pytest.fixture
def call_centre(environment: dict[str, str], client: httpx.AsyncClient) -> CallCentre:
    return CallCentre(CallCentreSettings(), client)


def taken_by_twilio(_: Asked) -> Answer:
    body: dict[str, Any] = {"sid": "SM" + "1" * 32, "status": "queued", "num_segments": "0", "error_code": None}
    return answer_json(201, body)
