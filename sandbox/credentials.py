"""A fresh set of credentials that fit each other, for the product and for the sandbox."""

import base64
import json
import secrets

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

PROJECT = "sandbox"
SMS_SENDER = "+15005550006"  # the valid sender of Twilio's test credentials
WHATSAPP_SENDER = "whatsapp:+14155238886"  # the sender of Twilio's WhatsApp sandbox


def generate(url: str) -> dict[str, str]:
    """Make new keys and secrets for both sides.

    Args:
        url: where the sandbox will be reached, e.g. ``http://127.0.0.1:8025``.

    Returns:
        Environment variables by name: every credential the sandbox needs, and every credential,
        sender and base address with which the product talks to this sandbox.
    """
    url = url.rstrip("/")
    email_key = ec.generate_private_key(ec.SECP256R1())
    push_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "TWILIO_ACCOUNT_SID": "AC" + secrets.token_hex(16),
        "TWILIO_AUTH_TOKEN": secrets.token_hex(16),
        "TWILIO_SMS_FROM": SMS_SENDER,
        "TWILIO_WHATSAPP_FROM": WHATSAPP_SENDER,
        "TWILIO_BASE_URL": url,
        "TWILIO_CONTENT_URL": url,
        "SENDGRID_API_KEY": f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}",
        "SENDGRID_WEBHOOK_PUBLIC_KEY": _base64(
            email_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ),
        "SANDBOX_SENDGRID_PRIVATE_KEY": _base64(
            email_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        ),
        "SENDGRID_BASE_URL": url,
        "FCM_SERVICE_ACCOUNT": _service_account(push_key, url),
        "SANDBOX_FCM_PUBLIC_KEY": push_key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        "FCM_BASE_URL": url,
        "CALL_CENTRE_URL": f"{url}/call-centre/calls",
        "CALL_CENTRE_SECRET": _webhook_secret(),
        "APP_WEBHOOK_SECRET": _webhook_secret(),
        **of_site(url),
        **of_operators(url),
    }


def of_operators(url: str) -> dict[str, str]:
    """Make new credentials of the operators' desk; see `generate`."""
    return {
        "OPERATORS_URL": f"{url}/operators/webhooks",
        "OPERATORS_SECRET": _webhook_secret(),
        "SANDBOX_OPERATORS_KEY": f"operators_{secrets.token_hex(20)}",
    }


def of_site(url: str) -> dict[str, str]:
    """Make new credentials of the client's own site, and of the browsers that visit it; see `generate`."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return {
        "WEB_PUSH_PRIVATE_KEY": base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode(),
        "WEB_PUSH_CONTACT": "mailto:push@sandbox.example",
        "WEB_PUSH_SERVICES": url.rstrip("/"),
        "SANDBOX_SITE_KEY": f"site_{secrets.token_hex(20)}",
    }


def _service_account(key: rsa.RSAPrivateKey, url: str) -> str:
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": secrets.token_hex(20),
            "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
            "client_id": str(secrets.randbelow(10**21)),
            "token_uri": f"{url}/token",
        }
    )


def _webhook_secret() -> str:
    return "whsec_" + _base64(secrets.token_bytes(32))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
