"""Reads Segment's HTTP tracking API (segment.com/docs/connections/sources/catalog/libraries/server/http-api)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import orjson
import phonenumbers
from email_validator import EmailNotValidError, validate_email

from domain.calls import Call, CallType, Device, Profile

EVENT_LIMIT = 32 * 1024
BATCH_LIMIT = 500 * 1024
DEPTH_LIMIT = 20
TEXT_LIMIT = 255
"""Most characters of an id or an event name."""

ZONES = available_timezones()

_NAMES = {
    CallType.IDENTIFY: "customer_identified",
    CallType.PAGE: "page_viewed",
    CallType.SCREEN: "screen_viewed",
    CallType.GROUP: "customer_grouped",
    CallType.ALIAS: "customer_aliased",
}


class Invalid(Exception):
    """A call that breaks a rule.

    Attributes:
        field: Path of the field.
        rule: What it must be; never the value, which may be personal.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


def read_call(
    raw: object,
    received_at: datetime,
    *,
    type: str | None = None,
    sent_at: object = None,
    defaults: Mapping[str, Any] | None = None,
) -> Call:
    """Read one call.

    Args:
        raw: Parsed JSON.
        received_at: Wall time of arrival.
        type: The call's type where the address tells it; else the body must.
        sent_at: `sentAt` of the batch; a call's own has precedence.
        defaults: Context of the batch.

    Raises:
        Invalid: With the field and the rule.
    """
    if not isinstance(raw, dict):
        raise Invalid("event", "must be a JSON object")
    _check_size(raw)
    kind = _type(type or raw.get("type"))
    user_id, anonymous_id = _identity(raw, "userId"), _identity(raw, "anonymousId")
    previous_id = _identity(raw, "previousId")
    if user_id is None and anonymous_id is None:
        raise Invalid("userId", "userId or anonymousId is required")
    if kind is CallType.ALIAS and (previous_id is None or user_id is None):
        raise Invalid("previousId", "alias requires previousId and userId")
    traits, context = _object(raw, "traits"), {**(defaults or {}), **_object(raw, "context")}
    properties = traits if kind is CallType.GROUP else _object(raw, "properties")
    return Call(
        type=kind,
        message_id=_message_id(raw),
        user_id=user_id,
        anonymous_id=anonymous_id,
        previous_id=previous_id,
        name=_text(raw, "event", required=True) or "" if kind is CallType.TRACK else _NAMES[kind],
        properties={"name": raw["name"], **properties} if isinstance(raw.get("name"), str) else properties,
        context=context,
        profile=_profile(traits, context) if kind is CallType.IDENTIFY else None,
        device=_device(context),
        timestamp=_timestamp(raw, received_at, raw.get("sentAt", sent_at)),
    )


def _check_size(raw: dict[str, Any]) -> None:
    # What may be in the body is public (the libraries repeat the key there); it is not kept.
    raw.pop("writeKey", None)
    if _depth(raw) > DEPTH_LIMIT:
        raise Invalid("event", f"must not be nested deeper than {DEPTH_LIMIT} levels")
    if len(orjson.dumps(raw)) > EVENT_LIMIT:
        raise Invalid("event", f"must not be larger than {EVENT_LIMIT // 1024} kB")
    if "\\u0000" in orjson.dumps(raw).decode():
        raise Invalid("event", "must not contain the character U+0000")


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level and depth <= DEPTH_LIMIT + 1:
        depth += 1
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
    return depth


def _type(value: object) -> CallType:
    try:
        return CallType(str(value))
    except ValueError:
        raise Invalid("type", f"must be one of {', '.join(CallType)}") from None


def _text(raw: Mapping[str, Any], field: str, *, required: bool = False) -> str | None:
    value = raw.get(field)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip():
        raise Invalid(field, "must be a text that is not empty")
    if len(value) > TEXT_LIMIT:
        raise Invalid(field, f"must not be longer than {TEXT_LIMIT} characters")
    return value.strip()


def _identity(raw: Mapping[str, Any], field: str) -> str | None:
    value = raw.get(field)
    # The libraries send numbers where a backend's ids are numbers.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value == "" else _text(raw, field)


def _message_id(raw: Mapping[str, Any]) -> str:
    value = _text(raw, "messageId", required=True)
    assert value is not None
    return value


def _object(raw: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = raw.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(field, "must be a JSON object")
    return value


def _timestamp(raw: Mapping[str, Any], received_at: datetime, sent_at: object) -> datetime:
    """Correct the sender's clock as Segment does: what it was ago when sent, it was ago when received."""
    if raw.get("timestamp") is None:
        return received_at
    happened = _time(raw["timestamp"], "timestamp")
    if sent_at is not None:
        happened = received_at - (_time(sent_at, "sentAt") - happened)
    # A clock may be ahead; nothing has happened later than now.
    return max(min(happened, received_at), received_at - timedelta(days=36_500))


def _time(value: object, field: str) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise Invalid(field, "must be an ISO 8601 time") from None
    if time.tzinfo is None:
        raise Invalid(field, "must have a time zone, such as Z or +03:00")
    return time.astimezone(UTC)


def _profile(traits: dict[str, Any], context: Mapping[str, Any]) -> Profile:
    named = {"email", "phone", "timezone", "locale"}
    return Profile(
        email=_email(traits.get("email")),
        phone=_phone(traits.get("phone")),
        time_zone=_zone(traits.get("timezone"), "traits.timezone")
        or _zone(context.get("timezone"), "context.timezone"),
        locale=_locale(traits.get("locale"), "traits.locale") or _locale(context.get("locale"), "context.locale"),
        traits={name: value for name, value in traits.items() if name not in named},
    )


def _email(value: object) -> str | None:
    if value is None or value == "":
        return None
    try:
        return validate_email(str(value), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise Invalid("traits.email", "must be an email address") from None


def _phone(value: object) -> str | None:
    if value is None or value == "":
        return None
    try:
        number = phonenumbers.parse(str(value))
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise Invalid("traits.phone", "must be an international phone number, such as +14155550123")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _zone(value: object, field: str) -> str | None:
    if value is None or value == "":
        return None
    if value not in ZONES:
        raise Invalid(field, "must be an IANA time zone, such as Europe/Berlin")
    return str(value)


def _locale(value: object, field: str) -> str | None:
    if value is None or value == "":
        return None
    tag = str(value).replace("_", "-")
    if not tag.replace("-", "").isalnum() or not 2 <= len(tag) <= 35:
        raise Invalid(field, "must be a language tag, such as en or ru-RU")
    return tag


def _device(context: Mapping[str, Any]) -> Device | None:
    device = context.get("device")
    if not isinstance(device, dict) or not device.get("token"):
        return None
    token = device["token"]
    if not isinstance(token, str) or len(token) > 4096:
        raise Invalid("context.device.token", "must be a text of at most 4096 characters")
    platform = device.get("type")
    return Device(token=token, platform=platform if isinstance(platform, str) else None)
