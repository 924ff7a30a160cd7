"""How each provider signs what it posts to its customers."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook


def twilio_headers(auth_token: str, url: str, form: Mapping[str, str]) -> dict[str, str]:
    """X-Twilio-Signature: HMAC-SHA1 over the full URL and the form's fields sorted by name.

    Source: twilio.com/docs/usage/security, "Validating requests".
    """
    signed = url + "".join(name + form[name] for name in sorted(form))
    digest = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()
    return {"X-Twilio-Signature": base64.b64encode(digest).decode()}


def sendgrid_headers(key: ec.EllipticCurvePrivateKey, body: bytes, at: datetime) -> dict[str, str]:
    """The event webhook's ECDSA signature over the timestamp (Unix seconds) and the raw body.

    Source: twilio.com/docs/sendgrid, "Getting started with the event webhook security features".
    """
    timestamp = str(int(at.timestamp()))
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }


def standard_headers(secret: str, webhook_id: str, body: str, at: datetime) -> dict[str, str]:
    """The headers of the Standard Webhooks specification; `at` is aware, any zone."""
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, at.astimezone(UTC), body),
    }
