"""What the sandbox is told by its environment, checked before it starts."""

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)


class NotConfigured(Exception):
    """The environment lacks or garbles a setting; the message names each variable, never a value."""


def _der(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return None


def _signing_key(value: object) -> ec.EllipticCurvePrivateKey:
    text = str(value)
    der = _der(text)
    try:
        key = (
            serialization.load_der_private_key(der, None)
            if der
            else serialization.load_pem_private_key(text.encode(), None)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("must be a private key as PEM or as base64 of its DER") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("must be an ECDSA key on the curve P-256")
    return key


def _public_key(value: str) -> str:
    try:
        key = serialization.load_pem_public_key(value.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be a public key as PEM") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("must be an RSA key, as service accounts have")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    key = _der(text.removeprefix("whsec_"))
    if not text.startswith("whsec_") or not key or len(key) < 24:
        raise ValueError("must be 'whsec_' and the base64 of at least 24 bytes")
    return value


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", value):
        raise ValueError("must be an http(s) URL without query")
    return value.rstrip("/")


WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]


class Configuration(BaseModel):
    """The sandbox's settings; `SecretStr` keeps the secrets out of every repr."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    port: int = Field(8025, alias="SANDBOX_PORT", ge=1, le=65535)
    database: Path | None = Field(None, alias="SANDBOX_DATABASE")
    callback_url: Annotated[str, AfterValidator(_http_url)] = Field(alias="SANDBOX_CALLBACK_URL")
    speed: float = Field(1.0, alias="SANDBOX_SPEED", gt=0)
    seed: int = Field(0, alias="SANDBOX_SEED")
    twilio_account_sid: str = Field(alias="TWILIO_ACCOUNT_SID", pattern="^AC[0-9a-f]{32}$")
    twilio_auth_token: SecretStr = Field(alias="TWILIO_AUTH_TOKEN")
    sendgrid_api_key: SecretStr = Field(alias="SENDGRID_API_KEY")
    sendgrid_signing_key: Annotated[ec.EllipticCurvePrivateKey, BeforeValidator(_signing_key), Field(repr=False)] = (
        Field(alias="SANDBOX_SENDGRID_PRIVATE_KEY")
    )
    fcm_public_key: Annotated[str, AfterValidator(_public_key)] = Field(alias="SANDBOX_FCM_PUBLIC_KEY")
    site_key: SecretStr | None = Field(None, alias="SANDBOX_SITE_KEY")
    call_centre_secret: WebhookSecret = Field(alias="CALL_CENTRE_SECRET")
    app_webhook_secret: WebhookSecret = Field(alias="APP_WEBHOOK_SECRET")
    operators_secret: WebhookSecret | None = Field(None, alias="OPERATORS_SECRET")
    operators_key: SecretStr | None = Field(None, alias="SANDBOX_OPERATORS_KEY")

    @property
    def url(self) -> str:
        """Where the sandbox is reached on this machine."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Configuration":
        """Read the settings; an empty variable counts as missing.

        Raises:
            NotConfigured: names every variable that is missing or wrong, and the rule it breaks.
        """
        given = {name: value for name, value in environment.items() if value.strip()}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            faults = "\n".join(f"  {fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_input=False))
            raise NotConfigured(f"The sandbox does not start:\n{faults}") from None
