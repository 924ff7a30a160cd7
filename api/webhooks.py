"""Callbacks in: what became of messages, as their providers report it, and what customers wrote back.

Of each: proved, then kept under the provider's own id together with its effect, in one transaction
under the customer's lock. So a report that comes twice, late or out of order does no harm.
"""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from prometheus_client import Counter
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from api.context import Context, Ctx
from api.hearing import TEXTING, Written, hear
from api.problems import FieldError, Problem, documented
from api.signatures import Form, Signed, raw_body
from channels import twilio_voice
from channels.call_centre import RESULTS, WRONG_NUMBER
from channels.twilio import BLOCKED_SENDERS, STATUSES, TEMPLATE_STATUSES, failure, price_of
from channels.twilio_voice import CONNECT, HEARD_BY, ConnectSettings, connecting
from dispatch.conversations import hurry
from dispatch.progress import Report, move
from domain.conversations import Errand
from domain.messages import DEVICES, Channel, Status
from store import callbacks, consents, erasure, messages, whatsapp
from store.callbacks import Subject
from store.consents import ALL, Wish
from store.database import Connection

log = structlog.get_logger()
router = APIRouter(prefix="/webhooks", tags=["webhooks"])

CALLBACKS = Counter("journeys_callbacks_total", "Callbacks that were proved.", ["provider", "answer"])

SMALL = 64 * 1024
"""Bytes of a callback about one message."""
LARGE = 2 * 1024 * 1024
"""Bytes of a batch; SendGrid's are at most 768 kB."""
ID_LIMIT = 255

MOST_FILES = 10
"""With one text."""

NO_ANSWER = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""TwiML: write nothing back."""

STOP = {
    *("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out", "opt-out"),
    *("стоп", "отписка", "отписаться", "отпишись"),
}
"""Opt-out words: Twilio's (twilio.com/docs/messaging/tutorials/advanced-opt-out), those of 47 CFR 64.1200(a)(10), and
the Russian ones. They count as whole messages only, whatever punctuation is around them."""
START = {"start", "unstop"}
YES = "yes"
"""Undoes a STOP as START does, unless it answers a question of ours."""

_SENDGRID = {
    "processed": Status.ACCEPTED,
    "deferred": Status.ACCEPTED,
    "delivered": Status.DELIVERED,
    "bounce": Status.FAILED,
    "dropped": Status.FAILED,
    "open": Status.READ,
    "click": Status.CLICKED,
}

_WISHES = {"unsubscribe": False, "group_unsubscribe": False, "group_resubscribe": True}
"""What somebody did in their mail program or on a page of SendGrid's, and whether it gives consent."""

_DROPPED = {
    "Bounced Address": "dead",
    "Invalid": "dead",
    "Spam Reporting Address": "complained",
}
"""SendGrid's reasons for not even trying, and what each says of the address."""

_UNSUBSCRIBED = "Unsubscribed Address"
"""Another one: SendGrid keeps an unsubscribe that is not ours."""

_PUSH = {"received": Status.DELIVERED, "opened": Status.CLICKED, "dismissed": Status.READ}


class _Malformed(Exception):
    """A callback that breaks a rule; the field and the rule."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class _EmailEvent(BaseModel):
    """An event of SendGrid's event webhook, as far as we use it."""

    event: str = Field(min_length=1, max_length=100)
    timestamp: int = Field(ge=0, lt=2**33, description="Seconds since 1970.")
    email: str | None = Field(default=None, max_length=320)
    sg_event_id: str | None = Field(default=None, max_length=ID_LIMIT)
    sg_message_id: str | None = None
    message_id: object = None
    type: object = None
    status: object = None
    reason: object = None
    response: object = None
    sg_machine_open: object = None


class _CallResult(BaseModel):
    """How a call ended."""

    id: UUID
    result: Literal["answered", "no_answer", "busy", "declined", "wrong_number"]
    at: AwareDatetime


class _PushEvent(BaseModel):
    """What the app saw happen to a push."""

    message_id: UUID
    event: Literal["received", "opened", "dismissed"]
    at: AwareDatetime


B = TypeVar("B", bound=BaseModel)


def _form(example: dict[str, str]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
                    "example": example,
                }
            },
        }
    }


def _json(schema: dict[str, Any], example: object) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


_ERRORS = documented(400, 403, 413, 503)

Mid = Annotated[str, Query(max_length=36, description="Our id of the message.")]


@router.post(
    "/twilio/status",
    status_code=204,
    responses=_ERRORS,
    openapi_extra=_form({"MessageSid": "SM0123", "MessageStatus": "delivered", "To": "+14155550123"}),
)
async def twilio_status(
    request: Request,
    ctx: Ctx,
    signed: Signed,
    mid: Annotated[str, Query(max_length=36, description="Our id of the message.")] = "",
) -> None:
    """Learn what became of an SMS or a WhatsApp message. Signed by Twilio: `X-Twilio-Signature`."""
    form = signed.twilio(request, await raw_body(request, SMALL))
    sid, status = _field(form, "MessageSid"), _field(form, "MessageStatus")
    failed = failure(error) if (error := _value(form, "ErrorCode")) else None
    message, callback_id = _uuid(mid), f"{sid}:{status}"
    _, number = _number(_value(form, "To"))
    async with ctx.pool.acquire() as connection, connection.transaction():
        if failed:
            await consents.lock(connection, message=message, address=number)
        about = await callbacks.subject(connection, message, TEXTING)
        new = await _is_new(connection, "twilio", callback_id, _body(form), message, about, address=number)
        if not new or about is None or status not in STATUSES:
            return
        reason = failed.code if failed else None
        report = Report("twilio", callback_id, datetime.now(UTC), provider_id=sid, reason=reason)
        await move(connection, about.message, STATUSES[status], report)
        if price := price_of(_value(form, "Price"), _value(form, "PriceUnit")):
            await messages.priced(connection, about.message, price.amount, price.currency)
        if failed and about.channel is Channel.WHATSAPP:
            await _about_us(connection, about, failed.code, _number(_value(form, "From"))[1])
        if about.erased:
            await erasure.look_again(connection, about.customer)
        # Of an erased customer the message does not know the number any more; what is kept is its hash.
        address, source = about.recipient or number, f"twilio:{reason}"
        if failed and failed.opted_out and address:
            await consents.opted_out(
                connection,
                customer=about.customer,
                channel=about.channel,
                address=address,
                source=source,
                proof={"sid": sid},
            )
        elif failed and failed.recipient_is_dead and address:
            await messages.suppress(connection, about.channel, address, "dead", source)


async def _about_us(connection: Connection, about: Subject, code: str, sender: str) -> None:
    """Learn from a failed WhatsApp message what is wrong with the sender it went out from, or with its template."""
    if code in BLOCKED_SENDERS and sender:
        await whatsapp.block_sender(connection, sender, code, BLOCKED_SENDERS[code], about.message)
    template = (about.content or {}).get("template")
    if code in TEMPLATE_STATUSES and template:
        await whatsapp.judged(connection, template["sid"], TEMPLATE_STATUSES[code], f"twilio:{code}")


@router.post(
    "/twilio/inbound",
    responses={**_ERRORS, 200: {"description": "Empty TwiML.", "content": {"text/xml": {"example": NO_ANSWER}}}},
    response_class=Response,
    openapi_extra=_form(
        {"MessageSid": "SM0456", "From": "whatsapp:+14155550123", "To": "whatsapp:+14155550100", "Body": "1"},
    ),
)
async def twilio_inbound(request: Request, ctx: Ctx, signed: Signed, background: BackgroundTasks) -> Response:
    """Take what a customer wrote: an answer to a message of ours, a word to people of ours, STOP, or START.

    STOP ends everything to that number by that channel and withdraws consent; START undoes both. Twilio's
    `OptOutType` (Advanced Opt-Out) is believed where it is sent. Signed by Twilio: `X-Twilio-Signature`.
    """
    form = signed.twilio(request, await raw_body(request, SMALL))
    sid, (channel, number) = _field(form, "MessageSid"), _number(_field(form, "From"))
    written = Written(
        channel,
        number,
        text=_value(form, "Body"),
        along=_along(form),
        button=_value(form, "ButtonPayload"),
        title=_value(form, "ButtonText"),
        quotes=bool(_value(form, "OriginalRepliedMessageSid")),
        sid=sid,
    )
    conversation: int | None = None
    async with ctx.pool.acquire() as connection, connection.transaction():
        message = await callbacks.answered(
            connection, channel, number, _value(form, "OriginalRepliedMessageSid") or None
        )
        await consents.lock(connection, message=message, address=number)
        about = await callbacks.subject(connection, message, TEXTING)
        if await _is_new(connection, "twilio", sid, _body(form), message, about, address=number):
            if channel is Channel.WHATSAPP:
                # The customer-service window of the number they wrote to begins anew.
                await whatsapp.heard(connection, number, _number(_value(form, "To"))[1])
            await messages.heard_from(connection, channel, number)
            suppression = (await consents.suppressed(connection, {channel: number})).get(channel)
            keyword = _keyword(
                _value(form, "OptOutType"),
                written.word,
                stopped=suppression is not None and suppression.reason == "opted_out",
                asked=about is not None and about.asks,
            )
            if keyword in _OPTS:
                await _OPTS[keyword](
                    connection,
                    customer=about.customer if about else None,
                    channel=channel,
                    address=number,
                    source=f"twilio:{keyword.lower()}",
                    proof={"sid": sid},
                )
            elif keyword is None:
                conversation = await hear(connection, ctx.terms, written, about)
    if conversation is not None:
        background.add_task(hurry, ctx.temporal, conversation, Errand.TELL)
    return Response(NO_ANSWER, media_type="text/xml")


def _along(form: Form) -> list[str]:
    """Return what came beside the words (twilio.com/docs/messaging/guides/webhook-request): Twilio keeps the files."""
    given = _value(form, "NumMedia")
    files = [
        f"{_value(form, f'MediaContentType{number}') or 'file'}: {_value(form, f'MediaUrl{number}')}"
        for number in range(min(int(given), MOST_FILES) if given.isascii() and given.isdecimal() else 0)
    ]
    place = ", ".join(filter(None, (_value(form, name) for name in ("Latitude", "Longitude", "Label", "Address"))))
    return [*files, f"place: {place}"] if place else files


_OPTS = {"STOP": consents.opted_out, "START": consents.opted_in}


def _keyword(opt_out_type: str, word: str, *, stopped: bool, asked: bool) -> str | None:
    """Return STOP, START or HELP, if a text is one of them and no answer; HELP is answered by Twilio."""
    if word == YES and asked:
        return None
    if opt_out_type.upper() in ("STOP", "START", "HELP"):
        return opt_out_type.upper()
    if word in STOP:
        return "STOP"
    return "START" if word in START or (word == YES and stopped) else None


@router.post(
    "/twilio/voice/status",
    status_code=204,
    responses=_ERRORS,
    openapi_extra=_form({"CallSid": "CA0123", "CallStatus": "completed", "To": "+14155550123", "CallDuration": "31"}),
)
async def twilio_voice_status(request: Request, ctx: Ctx, signed: Signed, mid: Mid = "") -> None:
    """Learn what became of a call by a machine. Signed by Twilio: `X-Twilio-Signature`."""
    form = signed.twilio(request, await raw_body(request, SMALL))
    sid, status = _field(form, "CallSid"), _field(form, "CallStatus")
    reached = twilio_voice.STATUSES.get(status)
    await _called(ctx, form, mid, f"{sid}:{status}", reached, status if reached is Status.FAILED else None)


@router.post(
    "/twilio/voice/answered-by",
    status_code=204,
    responses=_ERRORS,
    openapi_extra=_form({"CallSid": "CA0123", "AnsweredBy": "human", "MachineDetectionDuration": "2700"}),
)
async def twilio_voice_answered_by(request: Request, ctx: Ctx, signed: Signed, mid: Mid = "") -> None:
    """Learn whether a person took a call by a machine: then it is `read`. Signed by Twilio: `X-Twilio-Signature`."""
    form = signed.twilio(request, await raw_body(request, SMALL))
    sid, answered_by = _field(form, "CallSid"), _field(form, "AnsweredBy")
    reached = Status.READ if answered_by in HEARD_BY else Status.DELIVERED
    await _called(ctx, form, mid, f"{sid}:answered_by", reached, None if reached is Status.READ else "machine")


@router.post(
    "/twilio/voice/key",
    responses={**_ERRORS, 200: {"description": "TwiML.", "content": {"text/xml": {"example": NO_ANSWER}}}},
    response_class=Response,
    openapi_extra=_form({"CallSid": "CA0123", "Digits": "1", "From": "+14155550100", "To": "+14155550123"}),
)
async def twilio_voice_key(request: Request, ctx: Ctx, signed: Signed, mid: Mid = "") -> Response:
    """Connect whoever pressed 1 in a call by a machine: `replied`. Signed by Twilio: `X-Twilio-Signature`."""
    form = signed.twilio(request, await raw_body(request, SMALL))
    sid, key = _field(form, "CallSid"), _value(form, "Digits")
    if key == CONNECT:
        await _called(ctx, form, mid, f"{sid}:key", Status.REPLIED, None)
    number = ConnectSettings().connect_to if key == CONNECT else None
    return Response(connecting(number), media_type="text/xml")


async def _called(
    ctx: Context, form: Form, mid: str, callback_id: str, reached: Status | None, reason: str | None
) -> None:
    """Keep a report about a call by a machine, with its effect."""
    sid, message = _field(form, "CallSid"), _uuid(mid)
    async with ctx.pool.acquire() as connection, connection.transaction():
        about = await callbacks.subject(connection, message, (Channel.CALL,))
        number = _value(form, "To") or None
        new = await _is_new(
            connection, "twilio_voice", _limited("CallSid", callback_id), _body(form), message, about, address=number
        )
        if not new or about is None or reached is None:
            return
        choice = CONNECT if reached is Status.REPLIED else None
        report = Report("twilio_voice", callback_id, datetime.now(UTC), provider_id=sid, reason=reason, choice=choice)
        await move(connection, about.message, reached, report)
        if about.erased:
            await erasure.look_again(connection, about.customer)


@router.post(
    "/sendgrid",
    status_code=204,
    responses=_ERRORS,
    openapi_extra=_json(
        {"type": "array", "items": _EmailEvent.model_json_schema()},
        [
            {
                "event": "delivered",
                "email": "ada@example.com",
                "timestamp": 1795341600,
                "sg_event_id": "ZGVsaXZlcmVk",
                "message_id": "0b9d7a4e-3f52-5c1e-9d2f-1f0e6a7b8c9d",
            }
        ],
    ),
)
async def sendgrid(request: Request, ctx: Ctx, signed: Signed) -> None:
    """Learn what became of emails, in batches.

    Signed by SendGrid: `X-Twilio-Email-Event-Webhook-Signature` and `-Timestamp`. A malformed event
    is answered with 400; its neighbours are accepted all the same.
    """
    body = await raw_body(request, LARGE)
    signed.sendgrid(request.headers, body, datetime.now(UTC))
    raws = _parsed(body)
    if not isinstance(raws, list):
        raise _problem([_Malformed("body", "must be a list of events")])
    malformed: list[_Malformed] = []
    async with ctx.pool.acquire() as connection:
        for index, raw in enumerate(raws):
            try:
                event = _read(_EmailEvent, raw, place=f"{index}.")
            except _Malformed as error:
                malformed.append(error)
                continue
            async with connection.transaction():
                await _email_event(connection, event, raw)
    if malformed:
        # Only now: SendGrid sends the whole batch again, and its good events have been taken.
        raise _problem(malformed)


async def _email_event(connection: Connection, event: _EmailEvent, raw: object) -> None:
    message = _uuid(event.message_id)
    callback_id = event.sg_event_id or _derived_id(raw)
    reason, suppression, given = _email_meaning(event)
    if suppression or given is not None:
        await consents.lock(connection, message=message, address=event.email)
    about = await callbacks.subject(connection, message, (Channel.EMAIL,))
    # Once a customer was erased, only the report itself still knows where their message went.
    address = (about.recipient if about else None) or event.email
    if about is None:
        await consents.lock(connection, address=address)
    if not await _is_new(connection, "sendgrid", callback_id, raw, message, about, address=address):
        return
    # What a mail program fetches ahead of the reader nobody has read yet.
    opened_by_machine = event.event == "open" and event.sg_machine_open is True
    if about and event.event in _SENDGRID and not opened_by_machine:
        at = datetime.fromtimestamp(event.timestamp, UTC)
        report = Report("sendgrid", callback_id, at, provider_id=_first_id(event), reason=reason)
        await move(connection, about.message, _SENDGRID[event.event], report)
    if about and event.event == "deferred":
        await messages.explain(connection, about.message, _code("deferred", str(event.response)[:3]))
    source = f"sendgrid:{event.event}"
    if suppression and address:
        await messages.suppress(connection, Channel.EMAIL, address, suppression, source)
    if given is not None and address:
        at = min(datetime.fromtimestamp(event.timestamp, UTC), datetime.now(UTC))
        wish = Wish(Channel.EMAIL, ALL, given=given, source=source, proof={"sg_event_id": callback_id}, at=at)
        await consents.record(connection, wish, customer=about.customer if about else None, address=address)


def _email_meaning(event: _EmailEvent) -> tuple[str | None, str | None, bool | None]:
    """Return why an email did not arrive, as a code; why its address is to be used no more; a wish of its reader."""
    match event.event:
        case "bounce" if event.type == "blocked":
            # Refused this time: a full mailbox, a block list. The address may be good.
            return _code("blocked", event.status), None, None
        case "bounce":
            return _code("bounce", event.status), "dead", None
        case "dropped" if event.reason == _UNSUBSCRIBED:
            return "dropped:unsubscribed", None, False
        case "dropped":
            suppression = _DROPPED.get(str(event.reason))
            return f"dropped:{suppression}" if suppression else "dropped", suppression, None
        case "spamreport":
            return None, "complained", False
    return None, None, _WISHES.get(event.event)


@router.post(
    "/call-centre",
    status_code=204,
    responses=_ERRORS,
    openapi_extra=_json(
        _CallResult.model_json_schema(),
        {"id": "0b9d7a4e-3f52-5c1e-9d2f-1f0e6a7b8c9d", "result": "answered", "at": "2026-11-22T10:00:00Z"},
    ),
)
async def call_centre(request: Request, ctx: Ctx, signed: Signed) -> None:
    """Learn how a call ended.

    Signed as Standard Webhooks: `webhook-id`, `webhook-timestamp` (at most five minutes old), `webhook-signature`.
    """
    body = await raw_body(request, SMALL)
    callback_id = _limited("webhook-id", signed.call_centre(request.headers, body))
    raw = _parsed(body)
    call = _valid(_CallResult, raw)
    async with ctx.pool.acquire() as connection, connection.transaction():
        if call.result == WRONG_NUMBER:
            await consents.lock(connection, message=call.id)
        about = await callbacks.subject(connection, call.id, (Channel.CALL,))
        if await _is_new(connection, "call_centre", callback_id, raw, call.id, about) and about:
            status = RESULTS[call.result]
            report = Report("call_centre", callback_id, call.at, reason=call.result)
            await move(connection, about.message, status, report)
            if call.result == WRONG_NUMBER and about.recipient:
                await messages.suppress(
                    connection, Channel.CALL, about.recipient, "wrong_number", f"call_centre:{call.result}"
                )


@router.post(
    "/push",
    status_code=204,
    responses=_ERRORS,
    openapi_extra=_json(
        _PushEvent.model_json_schema(),
        {"message_id": "0b9d7a4e-3f52-5c1e-9d2f-1f0e6a7b8c9d", "event": "opened", "at": "2026-11-22T10:00:00Z"},
    ),
)
async def push(request: Request, ctx: Ctx, signed: Signed) -> None:
    """Learn from the app, or from a page's service worker by way of its backend, what happened to a push.

    Signed as Standard Webhooks: `webhook-id`, `webhook-timestamp` (at most five minutes old), `webhook-signature`.
    """
    body = await raw_body(request, SMALL)
    callback_id = _limited("webhook-id", signed.app(request.headers, body))
    raw = _parsed(body)
    seen = _valid(_PushEvent, raw)
    async with ctx.pool.acquire() as connection, connection.transaction():
        about = await callbacks.subject(connection, seen.message_id, tuple(DEVICES))
        if await _is_new(connection, "push", callback_id, raw, seen.message_id, about) and about:
            await move(connection, about.message, _PUSH[seen.event], Report("push", callback_id, seen.at))
            if seen.event == "dismissed":
                await messages.dismiss(connection, about.message, min(seen.at, datetime.now(UTC)))


async def _is_new(
    connection: Connection,
    provider: str,
    callback_id: str,
    body: object,
    message: UUID | None,
    about: Subject | None,
    *,
    address: str | None = None,
) -> bool:
    """Keep a callback; False if it was taken before."""
    new = await callbacks.keep(connection, provider, callback_id, body, message=message, about=about, address=address)
    CALLBACKS.labels(provider, "duplicate" if not new else "taken" if about else "unknown_message").inc()
    return new


def _value(form: Form, field: str) -> str:
    # PostgreSQL cannot hold U+0000, and a text must not be lost for it.
    return form.get(field, "").replace("\0", "")


def _field(form: Form, field: str) -> str:
    value = _value(form, field)
    if not value:
        raise _problem([_Malformed(field, "is required")])
    return _limited(field, value)


def _limited(field: str, value: str) -> str:
    if len(value) > ID_LIMIT:
        raise _problem([_Malformed(field, f"must not be longer than {ID_LIMIT} characters")])
    return value


def _body(form: Form) -> dict[str, list[str]]:
    """The form as it came: a field may be there more than once."""
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        fields.setdefault(name.replace("\0", ""), []).append(value.replace("\0", ""))
    return fields


def _number(address: str) -> tuple[Channel, str]:
    channel = Channel.WHATSAPP if address.startswith("whatsapp:") else Channel.SMS
    return channel, address.removeprefix("whatsapp:")


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _code(kind: str, detail: object) -> str:
    """A reason in words of ours: a provider's own may quote the address."""
    return f"{kind}:{detail}" if re.fullmatch(r"\d[\d.]{0,14}", str(detail)) else kind


def _first_id(event: _EmailEvent) -> str | None:
    """The X-Message-Id of our request, which SendGrid adds to."""
    return event.sg_message_id.split(".")[0][:ID_LIMIT] if event.sg_message_id else None


def _derived_id(raw: object) -> str:
    """An id for an event that came without: the same event has the same."""
    return f"sha256:{sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _problem([_Malformed("body", "must be JSON in UTF-8")]) from None


def _read(model: type[B], raw: object, place: str = "") -> B:
    """Read one callback that can also be kept.

    Raises:
        _Malformed: With the field and the rule, never the value.
    """
    try:
        if b"\\u0000" in orjson.dumps(raw):
            raise _Malformed(f"{place}body", "must not contain the character U+0000")
        return model.model_validate(raw)
    except orjson.JSONEncodeError:
        raise _Malformed(f"{place}body", "must not be nested so deep") from None
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        raise _Malformed(place + (".".join(map(str, wrong["loc"])) or "body"), wrong["msg"]) from None


def _valid(model: type[B], raw: object) -> B:
    try:
        return _read(model, raw)
    except _Malformed as error:
        raise _problem([error]) from None


def _problem(malformed: list[_Malformed]) -> Problem:
    log.warning("malformed callback", fields=[each.field for each in malformed])
    return Problem(
        400,
        "invalid_callback",
        "; ".join(map(str, malformed)),
        [FieldError(field=each.field, rule=each.rule) for each in malformed],
    )
