"""SendGrid: mail send and the events that follow.

Shapes: docs.sendgrid.com, "v3 Mail Send" and its errors page; "Event Webhook reference";
"Recipients' Data Erasure API".
"""

import base64
import hmac
import json
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from sandbox.callbacks import Step
from sandbox.faults import ProviderError
from sandbox.ledger import Entry, NewEntry
from sandbox.people import Person
from sandbox.world import TheWorld, World

_LARGEST_MAIL = 30 * 1024 * 1024  # bytes, attachments and all
_MOST_RECIPIENTS = 1000
_MOST_CATEGORIES = 10
_LARGEST_CUSTOM_ARGS = 10_000  # bytes
_MOST_ERASED = 5000
_UNVERIFIED = "@unverified.example"  # the sandbox's magic sender for the 403
_RESERVED_HEADERS = {
    "x-sg-id",
    "x-sg-eid",
    "received",
    "dkim-signature",
    "content-type",
    "content-transfer-encoding",
    "to",
    "from",
    "subject",
    "reply-to",
    "cc",
    "bcc",
}
_ERRORS_PAGE = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;.]+(\.[^@\s<>,;.]+)*")

router = APIRouter(tags=["SendGrid"])


def _refusal(
    status: int,
    message: str,
    field: str | None = None,
    anchor: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProviderError:
    help_page = f"{_ERRORS_PAGE}#{anchor}" if anchor else None
    return ProviderError(
        JSONResponse(
            {"errors": [{"message": message, "field": field, "help": help_page}]},
            status_code=status,
            headers=dict(headers) if headers else None,
        )
    )


def _refuse(status: int, retry_after: int) -> ProviderError:
    match status:
        case 429:
            return _refusal(
                429,
                "too many requests",
                headers={
                    "X-RateLimit-Limit": "600",
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": str(int(time.time()) + retry_after),
                    "Retry-After": str(retry_after),
                },
            )
        case 503:
            return _refusal(503, "service unavailable", headers={"Retry-After": str(retry_after)})
        case _:
            return _refusal(status, "internal server error")


@router.post("/v3/mail/send", status_code=202)
async def send_mail(request: Request, world: TheWorld) -> Response:
    _authenticate(request, world)
    mail = await _mail(request)
    _judge(mail)
    if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
        return Response(status_code=200)
    letters = _letters(mail)
    async with world.faults.around("sendgrid", [letter.address for letter in letters], request, _refuse):
        entries = [world.ledger.record(letter) for letter in letters]
        for entry in entries:
            world.callbacks.plan(entry, _fate(world, entry, world.people.at(entry.address)))
        await world.callbacks.before_answer(entries)
    return Response(status_code=202, headers={"X-Message-Id": letters[0].provider_id})


@router.post("/v3/recipients/erasejob", status_code=202)
async def erase_recipients(request: Request, world: TheWorld) -> JSONResponse:
    """Forget what was sent to some addresses: texts, subjects and names; the rows stay."""
    _authenticate(request, world)
    addresses = (await _json_body(request)).get("email_addresses")
    if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
        raise _refusal(400, "email_addresses must be a list of valid email addresses", "email_addresses")
    if not 0 < len(set(addresses)) == len(addresses) <= _MOST_ERASED:
        raise _refusal(400, "email_addresses must hold 1 to 5000 unique addresses", "email_addresses")
    async with world.faults.around("sendgrid", addresses, request, _refuse):
        world.ledger.redact_addresses("sendgrid", addresses)
    return JSONResponse({"job_id": secrets.token_urlsafe(16)}, status_code=202)


def event_step(world: World, entry: Entry, event: str, after: float = 0.0, **fields: object) -> Step:
    """An event of the webhook; custom arguments stand at its top level, as SendGrid has it."""
    payload = {
        **entry.details["custom_args"],
        "email": entry.address,
        "event": event,
        "sg_event_id": base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
        "sg_message_id": f"{entry.provider_id}.recvd-{entry.id:010d}-1-0.0",
        "smtp-id": entry.details["smtp_id"],
        **fields,
    }
    if entry.details["categories"]:
        payload["category"] = entry.details["categories"]
    return Step("sendgrid", world.product("/webhooks/sendgrid"), payload, event, after)


def suppress(world: World, address: str, reason: str) -> None:
    """SendGrid drops everything further to this address."""
    world.people.block("sendgrid", address, "*", reason)


def _authenticate(request: Request, world: World) -> None:
    given = request.headers.get("Authorization")
    if not given:
        raise _refusal(401, "Authorization required", "authorization")
    expected = f"Bearer {world.configuration.sendgrid_api_key.get_secret_value()}"
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise _refusal(401, "The provided authorization grant is invalid, expired, or revoked")


async def _json_body(request: Request) -> dict[str, Any]:
    if request.headers.get("Content-Type", "").split(";")[0].strip() != "application/json":
        raise _refusal(415, "Content-Type should be application/json.")
    body = await request.body()
    if len(body) > _LARGEST_MAIL:
        # The proxy in front of SendGrid answers this one, hence no JSON.
        raise ProviderError(
            HTMLResponse(
                "<html><head><title>413 Request Entity Too Large</title></head>"
                "<body><center><h1>413 Request Entity Too Large</h1></center></body></html>",
                status_code=413,
            )
        )
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _refusal(400, "Bad Request")
    return found


async def _mail(request: Request) -> dict[str, Any]:
    mail = await _json_body(request)
    for field in ("headers", "custom_args", "mail_settings", "tracking_settings"):
        _judge_is_object(mail, field, field)
    return mail


def _judge_is_object(holder: dict[str, Any], name: str, field: str) -> None:
    if not isinstance(holder.get(name, {}), dict):
        raise _refusal(400, f"Invalid type. Expected: object, given: {name}.", field)


def _judge(mail: dict[str, Any]) -> None:
    """Judge the mail as SendGrid does; the first fault refuses it."""
    _judge_recipients(mail.get("personalizations"))
    sender = mail.get("from")
    if not isinstance(sender, dict) or not _is_address(sender.get("email")):
        raise _refusal(
            400,
            "The from object must be provided for every email send. It is an object that "
            "requires the email parameter, but may also contain a name parameter.",
            "from.email",
            "message.from",
        )
    if str(sender["email"]).endswith(_UNVERIFIED):
        raise _refusal(
            403,
            "The from address does not match a verified Sender Identity. "
            "Mail cannot be sent until this error is resolved.",
            "from",
        )
    _judge_content(mail)
    categories = mail.get("categories", [])
    if len(categories) > _MOST_CATEGORIES or len(set(categories)) != len(categories):
        raise _refusal(400, "At most 10 categories are allowed, each once.", "categories", "message.categories")


def _judge_recipients(personalizations: object) -> None:
    if not isinstance(personalizations, list) or not personalizations:
        raise _refusal(
            400,
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
            "-Personalizations-Errors",
        )
    if len(personalizations) > _MOST_RECIPIENTS:
        raise _refusal(400, "No more than 1000 personalizations are allowed.", "personalizations")
    for index, personalization in enumerate(personalizations):
        place = f"personalizations.{index}"
        to = personalization.get("to") if isinstance(personalization, dict) else None
        if not isinstance(to, list) or not to:
            raise _refusal(
                400,
                "The to array is required for all personalization objects, and must have at "
                "least one email object with a valid email address.",
                f"{place}.to",
                "message.personalizations.to",
            )
        for name in ("headers", "custom_args"):
            _judge_is_object(personalization, name, f"{place}.{name}")
        for number, recipient in enumerate(to):
            if not isinstance(recipient, dict) or not _is_address(recipient.get("email")):
                raise _refusal(
                    400,
                    "Does not contain a valid address.",
                    f"{place}.to.{number}.email",
                    "message.personalizations.to",
                )


def _judge_content(mail: dict[str, Any]) -> None:
    if mail.get("template_id"):
        return
    if not mail.get("subject") and not all(
        personalization.get("subject") for personalization in mail["personalizations"]
    ):
        raise _refusal(
            400,
            "The subject is required. You can get around this requirement if you use a template "
            "with a subject defined or if every personalization has a subject defined.",
            "subject",
            "message.subject",
        )
    contents = mail.get("content")
    if not isinstance(contents, list) or not contents:
        raise _refusal(
            400,
            "Unless a valid template_id is provided, the content parameter is required. "
            "There must be at least one defined content block.",
            "content",
            "message.content",
        )
    for index, content in enumerate(contents):
        if not isinstance(content, dict) or not content.get("value") or not content.get("type"):
            raise _refusal(
                400,
                "The content value must be a string at least one character in length.",
                f"content.{index}.value",
                "message.content.value",
            )
    types = [content["type"] for content in contents]
    order = {"text/plain": 0, "text/html": 1}
    if types != sorted(types, key=lambda each: order.get(each, 2)):
        raise _refusal(
            400,
            "If present, text/plain content must be first, followed by text/html, followed by any other content.",
            "content",
            "message.content",
        )


def _letters(mail: dict[str, Any]) -> list[NewEntry]:
    """One letter per recipient; all share the X-Message-Id."""
    provider_id = secrets.token_urlsafe(16).replace(".", "-")
    contents = {content["type"]: content["value"] for content in mail.get("content", [])}
    sender = mail["from"]
    letters = []
    for index, personalization in enumerate(mail["personalizations"]):
        headers = {**mail.get("headers", {}), **personalization.get("headers", {})}
        custom_args = {**mail.get("custom_args", {}), **personalization.get("custom_args", {})}
        _judge_headers(headers)
        if len(json.dumps(custom_args).encode()) > _LARGEST_CUSTOM_ARGS:
            raise _refusal(
                400,
                "The custom_args may not exceed 10000 bytes.",
                f"personalizations.{index}.custom_args",
                "message.custom_args",
            )
        for recipient in personalization["to"]:
            letters.append(
                NewEntry(
                    provider="sendgrid",
                    channel="email",
                    provider_id=provider_id,
                    message_id=custom_args.get("message_id"),
                    address=recipient["email"],
                    sender=sender["email"],
                    status="accepted",
                    subject=personalization.get("subject") or mail.get("subject"),
                    text=contents.get("text/plain", ""),
                    html=contents.get("text/html"),
                    details={
                        "from_name": sender.get("name"),
                        "headers": headers,
                        "custom_args": {key: str(value) for key, value in custom_args.items()},
                        "categories": mail.get("categories", []),
                        "smtp_id": f"<{secrets.token_urlsafe(16)}@geopod-ismtpd-sandbox>",
                        "tracks_opens": _tracks(mail, "open_tracking"),
                        "tracks_clicks": _tracks(mail, "click_tracking"),
                    },
                )
            )
    return letters


def _judge_headers(headers: Mapping[str, object]) -> None:
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS or not isinstance(value, str):
            raise _refusal(
                400,
                f"The header {name} is reserved or its value is not a string.",
                f"headers.{name}",
                "message.headers",
            )


def _tracks(mail: dict[str, Any], setting: str) -> bool:
    return bool(mail.get("tracking_settings", {}).get(setting, {}).get("enable", True))


def _fate(world: World, entry: Entry, person: Person) -> list[Step]:
    """What becomes of a letter, in realistic time."""

    def step(event: str, after: float, **fields: object) -> Step:
        return event_step(world, entry, event, after, **fields)

    suppressed = world.people.blocked("sendgrid", entry.address, entry.sender)
    if suppressed or person.delivery == "dropped":
        return [step("dropped", 0.5, reason=suppressed or "Bounced Address", status="5.0.0")]
    processed = step("processed", 0.5)
    delivered = {"response": "250 2.0.0 OK", "ip": "127.0.0.1", "tls": 1}
    match person.delivery:
        case "never":
            return []
        case "bounced":
            suppress(world, entry.address, "Bounced Address")
            reason = "550 5.1.1 The email account that you tried to reach does not exist."
            return [
                processed,
                step(
                    "bounce",
                    2.0,
                    reason=reason,
                    status="5.1.1",
                    type="bounce",
                    bounce_classification="Invalid Address",
                    tls=1,
                    ip="127.0.0.1",
                ),
            ]
        case "deferred":
            response = "451 4.7.1 Greylisted, please try again later"
            return [
                processed,
                step("deferred", 2.0, response=response, attempt="1"),
                step("delivered", 8.0, **delivered),
            ]
        case _:
            return [processed, step("delivered", 2.0, **delivered)]


def _is_address(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= 320
        and parseaddr(value)[1] == value
        and _ADDRESS.fullmatch(value) is not None
    )
