"""Reads Segment's HTTP tracking API (segment.com/docs/connections/sources/catalog/libraries/server/http-api)."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import orjson
import phonenumbers
from email_validator import EmailNotValidError, validate_email

from channels.web_push import NotASubscription, Subscription, subscription_of
from domain.calls import Call, CallType, Device, Profile
from domain.events import CUSTOMER_ALIASED, CUSTOMER_GROUPED, CUSTOMER_IDENTIFIED, PAGE_VIEWED, SCREEN_VIEWED, is_ours

EVENT_LIMIT = 32 * 1024
BATCH_LIMIT = 500 * 1024
DEPTH_LIMIT = 20
TEXT_LIMIT = 255
"""Most characters of an id or an event name."""
TOKEN_LIMIT = 1024
"""Most bytes of a device token; Google promises no length, and PostgreSQL indexes no more than 2,704."""

ZONES = available_timezones()

_NAMES = {
    CallType.IDENTIFY: CUSTOMER_IDENTIFIED,
    CallType.PAGE: PAGE_VIEWED,
    CallType.SCREEN: SCREEN_VIEWED,
    CallType.GROUP: CUSTOMER_GROUPED,
    CallType.ALIAS: CUSTOMER_ALIASED,
}


class Invalid(Exception):
    """A call that breaks a rule.

    Attributes:
        field: Path of the field, its beginning if it is a long one.
        rule: What it must be; never the value, which may be personal.
    """

    def __init__(self, field: str, rule: str) -> None:
        self.field = field[:TEXT_LIMIT]
        super().__init__(f"{self.field}: {rule}")
        self.rule = rule


def read_call(
    raw: object,
    received_at: datetime,
    *,
    type: str | None = None,
    sent_at: object = None,
    defaults: Mapping[str, Any] | None = None,
    from_operator: bool = False,
) -> Call:
    """Read one call.

    Args:
        raw: Parsed JSON, which may hold what JSON may not: NaN, or half a surrogate pair.
        received_at: Wall time of arrival.
        type: The call's type where the address tells it; else the body must.
        sent_at: `sentAt` of the batch; a call's own has precedence.
        defaults: Context of the batch, from `batch_context`.
        from_operator: An operator of ours stands for what gives rise to events of ours.

    Raises:
        Invalid: With the field and the rule.
    """
    if not isinstance(raw, dict):
        raise Invalid("event", "must be a JSON object")
    _check(raw)
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
        name=_event_name(raw, from_operator) if kind is CallType.TRACK else _NAMES[kind],
        properties={"name": raw["name"], **properties} if isinstance(raw.get("name"), str) else properties,
        context=context,
        profile=_profile(traits, context) if kind is CallType.IDENTIFY else None,
        device=_device(context),
        timestamp=_timestamp(raw, received_at, raw.get("sentAt", sent_at)),
    )


def batch_context(value: object) -> dict[str, Any]:
    """Read the context a batch gives to all of its calls.

    Raises:
        Invalid: It cannot be kept with any of them.
    """
    if not isinstance(value, dict):
        return {}
    _check(value, "context")
    return value


def _check(raw: dict[str, Any], field: str = "") -> None:
    """Let nothing pass that cannot be kept: too deep, too large, or a value jsonb does not have."""
    level: list[tuple[str, object]] = [(field, raw)]
    for _ in range(DEPTH_LIMIT):
        level = [child for path, value in level for child in _parts(path, value)]
    if level:
        raise Invalid(field or "event", f"must not be nested deeper than {DEPTH_LIMIT} levels")
    if len(orjson.dumps(raw)) > EVENT_LIMIT:
        raise Invalid(field or "event", f"must not be larger than {EVENT_LIMIT // 1024} kB")


def _parts(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield what a value consists of, each with its path; a text or number is checked."""
    if isinstance(value, dict):
        for name, part in value.items():
            _check_text(path, name)
            yield f"{path}.{name}" if path else name, part
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield f"{path}.{index}", part
    elif isinstance(value, str):
        _check_text(path, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(path, "must be a number, not NaN or infinite")


def _check_text(path: str, text: str) -> None:
    if "\0" in text:
        raise Invalid(path or "event", "must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(path or "event", "must be Unicode in UTF-8, without halves of surrogate pairs") from None


def _type(value: object) -> CallType:
    try:
        return CallType(str(value))
    except ValueError:
        raise Invalid("type", f"must be one of {', '.join(CallType)}") from None


def _text(raw: Mapping[str, Any], field: str, *, required: bool = False) -> str | None:
    value = raw.get(field)
    if value is None:
        if required:
            raise Invalid(field, "is required")
        return None
    if not isinstance(value, str) or not value.strip():
        raise Invalid(field, "must be a text that is not empty")
    if len(value) > TEXT_LIMIT:
        raise Invalid(field, f"must not be longer than {TEXT_LIMIT} characters")
    return value.strip()


def _event_name(raw: Mapping[str, Any], from_operator: bool) -> str:
    name = _text(raw, "event", required=True)
    assert name is not None
    if not from_operator and is_ours(name):
        raise Invalid("event", f"{name} is a name of our own events; a backend's need another one")
    return name


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
    sent = None if sent_at is None else _time(sent_at, "sentAt")
    if raw.get("timestamp") is None:
        return received_at
    happened = _time(raw["timestamp"], "timestamp")
    if sent is not None:
        try:
            happened = received_at - (sent - happened)
        except OverflowError:
            raise Invalid("timestamp", "must not be thousands of years from sentAt") from None
    # A clock may be ahead; nothing has happened later than now.
    return max(min(happened, received_at), received_at - timedelta(days=36_500))


def _time(value: object, field: str) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise Invalid(field, "must be an ISO 8601 time") from None
    if time.tzinfo is None:
        raise Invalid(field, "must have a time zone, such as Z or +03:00")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise Invalid(field, "must lie within the years 1 to 9999 in UTC") from None


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


def _given(value: object, field: str) -> str | None:
    """Return a trait; None if it is not told, or told to be empty."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Invalid(field, "must be a text")
    return value


def _email(value: object) -> str | None:
    given = _given(value, "traits.email")
    if given is None:
        return None
    try:
        # At most 254 characters, which it checks (RFC 5321, 4.5.3.1.3).
        return validate_email(given, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise Invalid("traits.email", "must be an email address") from None


def _phone(value: object) -> str | None:
    given = _given(value, "traits.phone")
    if given is None:
        return None
    try:
        number = phonenumbers.parse(given)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise Invalid("traits.phone", "must be an international phone number, such as +14155550123")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _zone(value: object, field: str) -> str | None:
    given = _given(value, field)
    if given is not None and given not in ZONES:
        raise Invalid(field, "must be an IANA time zone, such as Europe/Berlin")
    return given


def _locale(value: object, field: str) -> str | None:
    given = _given(value, field)
    if given is None:
        return None
    tag = given.replace("_", "-")
    if not tag.replace("-", "").isalnum() or not 2 <= len(tag) <= 35:
        raise Invalid(field, "must be a language tag, such as en or ru-RU")
    return tag


def _device(context: Mapping[str, Any]) -> Device | None:
    device = context.get("device")
    if isinstance(device, dict) and device.get("subscription"):
        return _browser(device["subscription"])
    if not isinstance(device, dict) or not device.get("token"):
        return None
    token = device["token"]
    if not isinstance(token, str) or len(token.encode()) > TOKEN_LIMIT:
        raise Invalid("context.device.token", f"must be a text of at most {TOKEN_LIMIT} bytes")
    platform = device.get("type")
    return Device(token=token, platform=platform if isinstance(platform, str) else None)


def _browser(raw: object) -> Device:
    """Read what a browser's `PushSubscription.toJSON()` says."""
    try:
        subscription = subscription_of(raw)
    except NotASubscription as error:
        raise Invalid(f"context.device.subscription.{error.field}".rstrip("."), error.rule) from None
    return browser_of(subscription)


def browser_of(subscription: Subscription) -> Device:
    """Return a browser as a device."""
    return Device(token=subscription.endpoint, platform="web", keys=subscription.keys)
