"""Twilio: SMS and WhatsApp messages, their status callbacks, and what people write back.

Shapes and codes: twilio.com/docs/messaging/api/message-resource, twilio.com/docs/api/errors,
magic numbers: twilio.com/docs/iam/test-credentials.
"""

import base64
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AnyHttpUrl, ValidationError

from sandbox.callbacks import Step
from sandbox.faults import ProviderError
from sandbox.ledger import Entry, NewEntry
from sandbox.people import Person
from sandbox.sms_segments import segments
from sandbox.world import TheWorld, World

MessagingChannel = Literal["sms", "whatsapp"]

_WHATSAPP = "whatsapp:"
_LONGEST_BODY = 1600
NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_SENDER = re.compile(r"\+?[1-9]\d{2,14}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_STOP = {"stop", "stopall", "unsubscribe", "cancel", "end", "quit"}
_START = {"start", "yes", "unstop"}
_STOPPED = "You are unsubscribed and will get no more messages from this number. Reply START to resubscribe."
_STARTED = "You are subscribed to messages from this number again. Reply STOP to unsubscribe."

MAGIC_TO = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: {}"),
    "+15005550002": (21612, "The 'To' phone number {} is not reachable with this 'From' number"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region of {}"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient {}"),
    "+15005550009": (21614, "'To' number: {}, is not a mobile number"),
}
MAGIC_FROM = {
    "+15005550001": (21212, "Invalid 'From' Phone Number: {}"),
    "+15005550007": (21606, "The 'From' phone number {} is not SMS-capable for your account"),
    "+15005550008": (21611, "The 'From' phone number {} has exceeded its queue of messages"),
}
_ON_THE_WAY = {"accepted", "queued", "sending"}
_FAILURES = {
    30003: "Unreachable destination handset",
    30004: "Message blocked",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Message filtered",
    30008: "Unknown error",
    63013: "Channel policy violation",
    63016: "Outside the allowed window, a template is needed",
    63018: "Rate limit exceeded for Channel",
    63040: "Template rejected",
    63041: "Template paused",
    63042: "Template disabled",
    63112: "The WhatsApp Business Account of this sender was disabled",
}
_WINDOW = timedelta(hours=24)
CARD = "whatsapp/card"
_REFUSED_TEMPLATES = {"rejected": 63040, "paused": 63041, "disabled": 63042}
_LONGEST_WHATSAPP_TEMPLATE = 1024


def refusal(status: int, code: int, message: str, retry_after: int | None = None) -> ProviderError:
    return ProviderError(
        JSONResponse(
            {
                "code": code,
                "message": message,
                "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "status": status,
            },
            status_code=status,
            headers=None if retry_after is None else {"Retry-After": str(retry_after)},
        )
    )


def refuse(status: int, retry_after: int) -> ProviderError:
    match status:
        case 429:
            return refusal(429, 20429, "Too Many Requests", retry_after)
        case 503:
            return refusal(503, 20503, "Service is temporarily unavailable", retry_after)
        case _:
            return refusal(status, 20500, "An internal server error has occurred")


def bad(code: int, message: str) -> ProviderError:
    return refusal(400, code, message)


async def authenticate(request: Request, world: TheWorld) -> None:
    """Basic auth with account and token; the account in the path, if any, must be the same."""
    configuration = world.configuration
    right = f"{configuration.twilio_account_sid}:{configuration.twilio_auth_token.get_secret_value()}"
    expected = "Basic " + base64.b64encode(right.encode()).decode()
    given = request.headers.get("Authorization", "")
    account = request.path_params.get("account", configuration.twilio_account_sid)
    if not hmac.compare_digest(given.encode(), expected.encode()) or account != configuration.twilio_account_sid:
        raise refusal(401, 20003, "Authenticate")


router = APIRouter(dependencies=[Depends(authenticate)], tags=["Twilio"])
_MESSAGES = "/2010-04-01/Accounts/{account}/Messages"


@router.post(_MESSAGES + ".json", status_code=201)
async def create_message(request: Request, world: TheWorld) -> JSONResponse:
    form = {name: str(value) for name, value in (await request.form()).items()}
    new = _new_message(world, form)
    async with world.faults.around("twilio", [new.address], request, refuse):
        entry = world.ledger.record(new)
        world.callbacks.plan(entry, _fate(world, entry, world.people.at(entry.address)))
        await world.callbacks.before_answer([entry])
        created = _resource(world, entry)
    return JSONResponse(created, status_code=201)


@router.get(_MESSAGES + ".json")
async def list_messages(request: Request, world: TheWorld) -> JSONResponse:
    """Filters: To, From, DateSent, DateSent<, DateSent> (judged by when the message was made)."""
    query = dict(request.query_params)
    size = min(max(int(query.get("PageSize", 50)), 1), 1000)
    number = int(query.get("Page", 0))
    about = (query.get("To") or query.get("From") or "").removeprefix(_WHATSAPP)
    async with world.faults.around("twilio", [about], request, refuse, "lookup"):
        chosen = [
            entry
            for entry in _messages_with(world, query)
            if not entry.details.get("deleted") and _matches(world, entry, query)
        ]
    page = chosen[number * size : (number + 1) * size]
    path = request.url.path

    def uri(page_number: int) -> str:
        return f"{path}?{urlencode(query | {'PageSize': size, 'Page': page_number})}"

    more = len(chosen) > (number + 1) * size
    return JSONResponse(
        {
            "messages": [_resource(world, entry) for entry in page],
            "first_page_uri": uri(0),
            "next_page_uri": uri(number + 1) if more else None,
            "previous_page_uri": uri(number - 1) if number else None,
            "uri": uri(number),
            "page": number,
            "page_size": size,
            "start": number * size,
            "end": number * size + max(len(page) - 1, 0),
        }
    )


@router.get(_MESSAGES + "/{sid}.json")
async def fetch_message(sid: str, request: Request, world: TheWorld) -> JSONResponse:
    return JSONResponse(_resource(world, _message(world, sid, request)))


@router.post(_MESSAGES + "/{sid}.json")
async def redact_message(sid: str, request: Request, world: TheWorld) -> JSONResponse:
    entry = _message(world, sid, request)
    form = await request.form()
    if form.get("Body") != "":
        raise bad(20001, "Only an empty Body is allowed: it redacts the message")
    world.ledger.redact(entry.id)
    return JSONResponse(_resource(world, world.ledger.get(entry.id)))


@router.delete(_MESSAGES + "/{sid}.json", status_code=204)
async def delete_message(sid: str, request: Request, world: TheWorld) -> Response:
    entry = _message(world, sid, request)
    async with world.faults.around("twilio", [entry.address], request, refuse):
        if entry.status in _ON_THE_WAY:
            raise refusal(409, 20009, "Cannot delete this resource before it is complete")
        world.ledger.redact(entry.id)
        world.ledger.amend(entry.id, deleted=True)
    return Response(status_code=204)


def write_back(
    world: World,
    person: str,
    to: str,
    text: str,
    channel: MessagingChannel,
    *,
    replied_to: str | None = None,
    payload: str | None = None,
    picture: str | None = None,
    told: bool = True,
) -> Entry:
    """A person writes to one of the senders: the product's inbound webhook is called.

    STOP, and what Twilio takes for it, blocks the pair of numbers for SMS; START lifts it.

    Args:
        person: the person's number, E.164.
        to: the sender written to, E.164.
        replied_to: the SID of the message answered to, which WhatsApp tells.
        payload: the id of the quick-reply button pressed; `text` is then its title.
        picture: the address of a picture that is sent along.
        told: whether the webhook is called; the customer-service window is open all the same.
    """
    entry = world.ledger.record(
        NewEntry(
            provider="twilio",
            channel=channel,
            direction="inbound",
            provider_id="SM" + secrets.token_hex(16),
            address=person,
            sender=to,
            status="received",
            text=text,
            details=({"payload": payload} if payload else {}) | ({"media": [picture]} if picture else {}),
        )
    )
    form = {
        "MessageSid": entry.provider_id,
        "SmsSid": entry.provider_id,
        "SmsMessageSid": entry.provider_id,
        "AccountSid": world.configuration.twilio_account_sid,
        "ApiVersion": "2010-04-01",
        "From": _wire(person, channel),
        "To": _wire(to, channel),
        "Body": text,
        "NumMedia": "1" if picture else "0",
        "NumSegments": str(segments(text)),
        "SmsStatus": "received",
    }
    if picture:
        form |= {"MediaUrl0": picture, "MediaContentType0": "image/jpeg"}
    if channel == "whatsapp":
        form |= {
            "ProfileName": world.people.at(person).title,
            "WaId": person.removeprefix("+"),
            "MessageType": "button" if payload else "text",
            "ChannelMetadata": json.dumps({"type": "whatsapp", "data": {}}),
        }
        if replied_to:
            form |= {
                "OriginalRepliedMessageSid": replied_to,
                "OriginalRepliedMessageSender": _wire(to, channel),
            }
        if payload:
            form |= {"ButtonText": text, "ButtonPayload": payload}
    if told:
        world.callbacks.plan(entry, [Step("twilio", world.product("/webhooks/twilio/inbound"), form)])
    if channel == "sms":
        _mind_keywords(world, entry)
    return entry


def read_callback(world: World, entry: Entry) -> Step:
    """What Twilio posts when a WhatsApp message has been read."""
    return _status_step(world, entry, "read", 0.0)


def _mind_keywords(world: World, entry: Entry) -> None:
    word = entry.text.strip().lower()
    if word in _STOP:
        world.people.block("twilio", entry.address, entry.sender, "STOP")
        confirmation = _STOPPED
    elif word in _START and world.people.blocked("twilio", entry.address, entry.sender):
        world.people.unblock("twilio", entry.address, entry.sender)
        confirmation = _STARTED
    else:
        return
    world.ledger.record(
        NewEntry(
            provider="twilio",
            channel="sms",
            direction="automatic",
            provider_id="SM" + secrets.token_hex(16),
            address=entry.address,
            sender=entry.sender,
            status="delivered",
            text=confirmation,
        )
    )


def _new_message(world: World, form: Mapping[str, str]) -> NewEntry:
    """Judge the form as Twilio does, the first fault refuses it."""
    to, sender = form.get("To", ""), form.get("From", "")
    service = form.get("MessagingServiceSid")
    if not to:
        raise bad(21604, "A 'To' phone number is required.")
    if not sender and not service:
        raise bad(21603, "A 'From' phone number is required.")
    channel: MessagingChannel = "whatsapp" if to.startswith(_WHATSAPP) else "sms"
    if sender and sender.startswith(_WHATSAPP) != (channel == "whatsapp"):
        raise bad(21910, "Invalid From and To pair. From and To should be of the same channel")
    number, from_number = to.removeprefix(_WHATSAPP), sender.removeprefix(_WHATSAPP)
    _judge_numbers(world, number, from_number or str(service), bool(sender), channel)
    variables = _variables(form.get("ContentVariables", ""))
    content_sid = form.get("ContentSid")
    text, buttons = _text(world, form.get("Body", ""), content_sid, variables)
    callback = form.get("StatusCallback")
    if callback and not is_http_url(callback):
        raise bad(21609, f"The StatusCallback URL {callback} is not a valid URL.")
    _judge_validity(form.get("ValidityPeriod"))
    media = form.get("MediaUrl")
    if media and not (media.startswith("https://") and is_http_url(media)):
        raise bad(21620, f"Invalid media URL(s): {media}")
    error = None
    if channel == "whatsapp":
        error = _sender_trouble(world, from_number) or _outside_window(world, number, from_number, content_sid)
    query = httpx.URL(callback or "").params
    return NewEntry(
        provider="twilio",
        channel=channel,
        provider_id="SM" + secrets.token_hex(16),
        message_id=query.get("mid"),
        address=number,
        sender=from_number or str(service),
        status="accepted" if service else "queued",
        text=text,
        details={
            "status_callback": callback,
            "messaging_service_sid": service,
            "content_sid": content_sid,
            "content_variables": variables,
            "buttons": buttons,
            "media": [media] if media else _media(world, content_sid),
            "error_code": error or _error_to_come(world.people.at(number)),
        },
    )


def _media(world: World, content_sid: str | None) -> list[str]:
    template = world.templates.get(content_sid) if content_sid else None
    return template.media if template else []


def sender_block(world: World, sender: str) -> tuple[int, bool] | None:
    """Why messages from a sender do not get through, and whether they are refused at once; None if they do."""
    told = world.people.blocked("whatsapp_senders", "*", sender)
    if told is None:
        return None
    code, how = told.split(":")
    return int(code), how == "refused"


def _sender_trouble(world: World, sender: str) -> int | None:
    blocked = sender_block(world, sender)
    if blocked is None:
        return None
    code, at_once = blocked
    if at_once:
        raise bad(code, _FAILURES.get(code, "The sender is blocked"))
    return code


def _outside_window(world: World, number: str, sender: str, content_sid: str | None) -> int | None:
    """Why a message fails that is no approved template, when the person has not written within 24 hours."""
    template = world.templates.get(content_sid) if content_sid else None
    if template and template.status in _REFUSED_TEMPLATES:
        return _REFUSED_TEMPLATES[template.status]
    if content_sid and (template is None or template.status == "approved"):
        return None
    if template and CARD in template.types:
        # It must be approved inside the window too.
        return 63016
    since = datetime.now(UTC) - _WINDOW
    wrote = any(
        entry.direction == "inbound" and entry.channel == "whatsapp" and entry.sender == sender and entry.at > since
        for entry in world.ledger.of_provider("twilio", number)
    )
    return None if wrote else 63016


def is_http_url(text: str) -> bool:
    try:
        AnyHttpUrl(text)
        httpx.URL(text)
    except (ValidationError, httpx.InvalidURL):
        return False
    return True


def _judge_numbers(world: World, number: str, sender: str, sender_is_number: bool, channel: MessagingChannel) -> None:
    if not NUMBER.fullmatch(number):
        raise bad(21211, f"Invalid 'To' Phone Number: {number}")
    if sender_is_number and not _SENDER.fullmatch(sender):
        raise bad(
            21212,
            f"The 'From' number {sender} is not a valid phone number, shortcode, or alphanumeric sender ID.",
        )
    for magic, value in ((MAGIC_TO, number), (MAGIC_FROM, sender)):
        if value in magic:
            code, message = magic[value]
            raise bad(code, message.format(value))
    if channel == "sms" and world.people.blocked("twilio", number, sender):
        raise bad(21610, "Attempt to send to unsubscribed recipient")


def _variables(given: str) -> dict[str, str]:
    if not given:
        return {}
    try:
        variables = json.loads(given)
    except json.JSONDecodeError:
        variables = None
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise bad(21656, "The ContentVariables Parameter is invalid")
    return variables


def _text(
    world: World, body: str, content_sid: str | None, variables: dict[str, str]
) -> tuple[str, list[dict[str, str]]]:
    """What the person reads, and the buttons below it."""
    if content_sid:
        if not re.fullmatch(r"HX[0-9a-f]{32}", content_sid):
            raise bad(21655, "The ContentSid Parameter is invalid")
        template = world.templates.get(content_sid)
        if template and len(template.text(variables)) > _LONGEST_WHATSAPP_TEMPLATE:
            raise bad(21617, "The message body exceeds the 1024 character limit")
        if template:
            return template.text(variables), template.buttons(variables)
        # Made in Twilio's console and so unknown here: its variables are all there is to show.
        return "\n".join(variables.values()), []
    if not body:
        raise bad(21602, "Message body is required.")
    if len(body) > _LONGEST_BODY:
        raise bad(21617, "The concatenated message body exceeds the 1600 character limit")
    return body, []


def _judge_validity(given: str | None) -> None:
    if given is not None and not (given.isdecimal() and 1 <= int(given) <= 36000):
        raise bad(90007, "Invalid validity period value")


def _error_to_come(person: Person) -> int | None:
    match person.delivery:
        case "undelivered":
            return person.error_code or 30003
        case "failed":
            return person.error_code or 30006
        case _:
            return None


def _fate(world: World, entry: Entry, person: Person) -> list[Step]:
    """What becomes of a message, in realistic time."""

    def step(status: str, after: float) -> Step:
        return _status_step(world, entry, status, after)

    if entry.details["error_code"] and person.delivery == "delivered":
        return [step("queued", 0.1), step("failed", 0.6)]
    match person.delivery:
        case "never":
            return []
        case "undelivered":
            return [step("queued", 0.1), step("sent", 0.6), step("undelivered", 2.5)]
        case "failed":
            return [step("queued", 0.1), step("failed", 0.6)]
        case _:
            return [step("queued", 0.1), step("sent", 0.6), step("delivered", 2.5)]


def _status_step(world: World, entry: Entry, status: str, after: float) -> Step:
    form = {
        "MessageSid": entry.provider_id,
        "MessageStatus": status,
        "SmsSid": entry.provider_id,
        "SmsStatus": status,
        "AccountSid": world.configuration.twilio_account_sid,
        "ApiVersion": "2010-04-01",
        "From": _wire(entry.sender, entry.channel),
        "To": _wire(entry.address, entry.channel),
    }
    if entry.details["messaging_service_sid"]:
        form["MessagingServiceSid"] = entry.details["messaging_service_sid"]
    error = entry.details["error_code"]
    if error and status in ("undelivered", "failed"):
        form |= {"ErrorCode": str(error), "ErrorMessage": _FAILURES.get(error, "Unknown error")}
    if entry.channel == "whatsapp":
        form["ChannelPrefix"] = "whatsapp"
        form["ChannelToAddress"] = form["To"]
        if status == "read":
            form["EventType"] = "READ"
    return Step("twilio", entry.details["status_callback"], form, status, after)


def _resource(world: World, entry: Entry) -> dict[str, Any]:
    account = world.configuration.twilio_account_sid
    uri = f"/2010-04-01/Accounts/{account}/Messages/{entry.provider_id}"
    service = entry.details.get("messaging_service_sid")
    sent = next((step.at for step in entry.statuses if step.status == "sent"), None)
    failed = entry.status in ("undelivered", "failed")
    error = entry.details["error_code"] if failed else None
    ours, theirs = _wire(entry.sender, entry.channel), _wire(entry.address, entry.channel)
    inbound = entry.direction == "inbound"
    unknown_yet = service is not None and entry.status == "accepted"
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": entry.text,
        "date_created": format_datetime(entry.at),
        "date_sent": format_datetime(sent) if sent else None,
        "date_updated": format_datetime(entry.statuses[-1].at),
        "direction": {
            "outbound": "outbound-api",
            "inbound": "inbound",
            "automatic": "outbound-reply",
        }[entry.direction],
        "error_code": error,
        "error_message": _FAILURES.get(error, "Unknown error") if error else None,
        "from": theirs if inbound else None if unknown_yet else ours,
        "messaging_service_sid": service,
        "num_media": str(len(entry.details.get("media", []))),
        "num_segments": "0" if unknown_yet else str(segments(entry.text)),
        "price": _price(entry),
        "price_unit": "USD",
        "sid": entry.provider_id,
        "status": entry.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": ours if inbound else theirs,
        "uri": f"{uri}.json",
    }


def _price(entry: Entry) -> str | None:
    """What is charged for a message, known once it is delivered; a charge is negative."""
    if entry.direction != "outbound" or not entry.reached("delivered"):
        return None
    return "-0.00500" if entry.channel == "whatsapp" else f"-{0.0079 * segments(entry.text):.5f}"


def _messages_with(world: World, query: Mapping[str, str]) -> Iterator[Entry]:
    """The messages between two numbers if both are asked for, else all."""
    if "To" not in query or "From" not in query:
        yield from world.ledger.of_provider("twilio")
        return
    for number in {query[name].removeprefix(_WHATSAPP) for name in ("To", "From")}:
        yield from world.ledger.of_provider("twilio", number)


def _matches(world: World, entry: Entry, query: Mapping[str, str]) -> bool:
    resource_to, resource_from = (
        _wire(entry.address, entry.channel),
        _wire(entry.sender, entry.channel),
    )
    if entry.direction == "inbound":
        resource_to, resource_from = resource_from, resource_to
    wanted = query.get("To") in (None, resource_to) and query.get("From") in (None, resource_from)
    return wanted and all(
        earliest <= entry.at < latest
        for name, value in query.items()
        if name.startswith("DateSent")
        for earliest, latest in [_period(name, value)]
    )


def _period(name: str, value: str) -> tuple[datetime, datetime]:
    """The span a DateSent filter means: a whole UTC day, or from or until a moment."""
    whole_day = re.fullmatch(r"\d{4}-\d\d-\d\d", value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise bad(20001, f"Parameter '{name}' is not valid: a date or ISO 8601 time") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    beginning = datetime.combine(date(1970, 1, 1), datetime.min.time(), UTC)
    end = datetime.combine(date(9999, 1, 1), datetime.min.time(), UTC)
    match name:
        case "DateSent>":
            return moment, end
        case "DateSent<":
            return beginning, moment + (timedelta(days=1) if whole_day else timedelta())
        case _:
            return moment, moment + (timedelta(days=1) if whole_day else timedelta(seconds=1))


def _message(world: World, sid: str, request: Request) -> Entry:
    entry = world.ledger.by_provider_id("twilio", sid)
    if entry is None or entry.details.get("deleted"):
        raise not_found(request)
    return entry


def not_found(request: Request) -> ProviderError:
    return refusal(404, 20404, f"The requested resource {request.url.path} was not found")


def _wire(number: str, channel: str) -> str:
    return _WHATSAPP + number if channel == "whatsapp" else number
