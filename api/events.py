"""Events in: Segment's HTTP tracking API, so that the libraries backends already have work unchanged."""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
import structlog
from fastapi import APIRouter, Query, Request
from prometheus_client import Counter
from pydantic import BaseModel, Field

from api.context import Context, Ctx, Db, Operator, Reader, WriteKey
from api.intake import Accepted, Answer, Duplicate, Erased, accept
from api.problems import FieldError, Problem, database_away, documented
from api.segment import BATCH_LIMIT, DEPTH_LIMIT, EVENT_LIMIT, Invalid, batch_context, read_call
from domain.calls import Call, Rejection
from store import rejected
from store.database import AWAY
from store.rejected import UNSTORABLE

log = structlog.get_logger()
router = APIRouter(tags=["events"])

RECEIVED = Counter("journeys_events_received_total", "Calls received.", ["answer"])

MOST_CALLS = 2500
"""Calls in one batch; the size limit allows no more of any sensible size."""

_UNWRITABLE = re.compile("[\\0\ud800-\udfff]")
"""Characters neither a text of PostgreSQL nor an answer in UTF-8 can hold."""


class Received(BaseModel):
    """The call is kept, or was before."""

    success: Literal[True] = True
    duplicate: bool = Field(default=False, description="A call with this messageId was accepted before.")


class BatchReceived(BaseModel):
    """What became of a batch; the rejected are kept to be mended and sent again."""

    success: Literal[True] = True
    accepted: int = Field(examples=[99])
    duplicate: int = Field(examples=[0])
    rejected: list[Rejection] = Field(description="Each call that was not accepted, with the rule it breaks.")


class RejectedEvent(BaseModel):
    """A call of a batch that was not accepted."""

    id: int
    source: str
    received_at: datetime
    message_id: str | None
    field: str
    rule: str
    body: Any
    resent_at: datetime | None


_PACKED: dict[str, Any] = {
    "parameters": [
        {
            "name": "Content-Encoding",
            "in": "header",
            "description": "Of a body that is packed.",
            "schema": {"type": "string", "enum": ["gzip"]},
        }
    ]
}

_EVENT: dict[str, Any] = {
    "messageId": "6f1c2f0e-0001",
    "userId": "client-4711",
    "event": "credit_application_started",
    "timestamp": "2026-11-22T10:00:00Z",
    "properties": {"application_id": "A-1", "filled": 4, "total": 40},
}


def _call(*, required: bool = True, **example: Any) -> dict[str, Any]:
    """Document the body of a call."""
    return {
        **_PACKED,
        "requestBody": {
            "required": required,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["messageId"],
                        "properties": {
                            "messageId": {"type": "string", "minLength": 1, "maxLength": 255},
                            "userId": {"type": "string", "description": "userId or anonymousId is required."},
                            "anonymousId": {"type": "string"},
                            "timestamp": {"type": "string", "format": "date-time"},
                            "sentAt": {"type": "string", "format": "date-time"},
                            "event": {"type": "string", "description": "track: the event's name."},
                            "properties": {"type": "object"},
                            "traits": {"type": "object"},
                            "context": {"type": "object"},
                            "previousId": {"type": "string", "description": "alias: the former id."},
                        },
                    },
                    "example": {"messageId": "6f1c2f0e-0001", "userId": "client-4711", **example},
                }
            },
        },
    }


_ERRORS = documented(410)


async def body_of(request: Request, limit: int) -> object:
    """Read a JSON body, gzip or not, of at most `limit` bytes when unpacked.

    Returns:
        Python values, among which NaN, infinity and halves of surrogate pairs are for `read_call` to refuse.

    Raises:
        Problem: 413 or 400.
    """
    packed = request.headers.get("content-encoding", "").lower() == "gzip"
    unpack = zlib.decompressobj(wbits=31)
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += unpack.decompress(chunk, limit + 1 - len(raw)) if packed else chunk
            if len(raw) > limit:
                raise Problem(413, "too_large", f"the body must not be larger than {limit // 1024} kB, unpacked")
        if packed and not unpack.eof:
            raise Problem(400, "invalid_body", "the gzip body is cut off")
        return _parsed(bytes(raw))
    except zlib.error:
        raise Problem(400, "invalid_body", "the body is not gzip, as its Content-Encoding says") from None
    except ValueError:
        raise Problem(400, "invalid_body", "the body must be JSON in UTF-8") from None
    except RecursionError:
        raise Problem(400, "invalid_body", f"calls must not be nested deeper than {DEPTH_LIMIT} levels") from None


def _parsed(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # NaN, half an emoji or a byte of another encoding in one call must not take the whole batch
        # with it. Such a byte becomes half a surrogate pair.
        return json.loads(raw.decode(errors="surrogateescape"), parse_int=_integer)


def _integer(digits: str) -> int | float:
    """Read an integer as orjson does: one of more than 64 bits is a float."""
    return int(digits) if len(digits) < 20 else float(digits)


async def _one(request: Request, ctx: Context, key: WriteKey, type: str) -> Received:
    """Accept one call."""
    received_at = datetime.now(UTC)
    body = await body_of(request, EVENT_LIMIT + 4096)
    try:
        call = read_call(body, received_at, type=type)
        (answer,) = await _accept(ctx, key.name, [call], received_at)
    except Invalid as error:
        RECEIVED.labels("rejected").inc()
        raise Problem(400, "invalid_event", str(error), [FieldError(field=error.field, rule=error.rule)]) from None
    if isinstance(answer, Erased):
        raise Problem(410, "customer_erased", "this customer was erased; nothing about them is kept any more")
    return Received(duplicate=isinstance(answer, Duplicate))


async def _accept(ctx: Context, source: str, calls: Sequence[Call], received_at: datetime) -> list[Answer]:
    """Accept calls, all or none.

    Raises:
        Invalid: PostgreSQL refuses a value in one of them, and always will.
        Problem: 503, the database is away.
    """
    try:
        async with ctx.pool.acquire() as connection:
            answers = await accept(connection, ctx.terms, source, calls, received_at)
    except UNSTORABLE as error:
        log.error("events refused by the database", error=type(error).__name__, calls=len(calls))
        raise Invalid("event", "holds a value that cannot be stored") from None
    except AWAY as error:
        log.error("events not accepted", error=type(error).__name__, calls=len(calls))
        RECEIVED.labels("unavailable").inc(len(calls))
        raise database_away() from None
    for answer in answers:
        RECEIVED.labels(type(answer).__name__.lower()).inc()
    return answers


async def _accept_all_but(
    ctx: Context, source: str, calls: Mapping[int, Call], received_at: datetime
) -> dict[int, Answer | Invalid]:
    """Accept calls by their place in the batch; those PostgreSQL refuses are found by halving."""
    if not calls:
        return {}
    try:
        answers = await _accept(ctx, source, list(calls.values()), received_at)
    except Invalid as error:
        if len(calls) == 1:
            return dict.fromkeys(calls, error)
        places = list(calls)
        halves = places[: len(places) // 2], places[len(places) // 2 :]
        first, second = ({place: calls[place] for place in half} for half in halves)
        # One after the other: the order of a customer's events is the order of the batch.
        return {
            **await _accept_all_but(ctx, source, first, received_at),
            **await _accept_all_but(ctx, source, second, received_at),
        }
    return dict(zip(calls, answers, strict=True))


@router.post(
    "/v1/identify",
    responses=_ERRORS,
    openapi_extra=_call(traits={"first_name": "Ada", "email": "ada@example.com", "phone": "+14155550123"}),
)
async def identify(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell who a customer is: email, phone, timezone, locale, device, any other traits."""
    return await _one(request, ctx, key, "identify")


@router.post("/v1/track", responses=_ERRORS, openapi_extra=_call(**_EVENT))
async def track(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell what a customer did. An event no journey knows is kept and starts nothing."""
    return await _one(request, ctx, key, "track")


@router.post(
    "/v1/page", responses=_ERRORS, openapi_extra=_call(name="Form", properties={"url": "https://example.com/form"})
)
async def page(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell which page a customer viewed: the event `page_viewed`."""
    return await _one(request, ctx, key, "page")


@router.post("/v1/screen", responses=_ERRORS, openapi_extra=_call(name="Form"))
async def screen(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell which screen of the app a customer viewed: the event `screen_viewed`."""
    return await _one(request, ctx, key, "screen")


@router.post("/v1/group", responses=_ERRORS, openapi_extra=_call(groupId="employer-1", traits={"name": "Acme"}))
async def group(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell which group a customer belongs to: the event `customer_grouped`."""
    return await _one(request, ctx, key, "group")


@router.post("/v1/alias", responses=_ERRORS, openapi_extra=_call(previousId="visitor-17"))
async def alias(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell that two ids are one customer: they are merged, with their journeys."""
    return await _one(request, ctx, key, "alias")


@router.post(
    "/v1/batch",
    openapi_extra={
        **_PACKED,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["batch"],
                        "properties": {
                            "batch": {"type": "array", "items": {"type": "object"}, "maxItems": MOST_CALLS},
                            "sentAt": {"type": "string", "format": "date-time"},
                            "context": {"type": "object"},
                        },
                    },
                    "example": {
                        "batch": [{"type": "track", "messageId": "m-1", "userId": "u-1", "event": "car_viewed"}]
                    },
                }
            },
        },
    },
)
async def batch(request: Request, ctx: Ctx, key: WriteKey) -> BatchReceived:
    """Accept many calls at once. A bad one does not take its neighbours with it; it is kept aside."""
    received_at = datetime.now(UTC)
    body = await body_of(request, BATCH_LIMIT)
    if not isinstance(body, dict) or not isinstance(body.get("batch"), list):
        raise Problem(400, "invalid_batch", "batch: must be a list", [FieldError(field="batch", rule="must be a list")])
    raws: list[object] = body["batch"]
    if len(raws) > MOST_CALLS:
        raise Problem(413, "too_large", f"batch: must not hold more than {MOST_CALLS} calls")
    ctx.keyring.charge(key, len(raws) - 1)
    calls, rejections = _read(body, raws, received_at)
    answers = await _accept_all_but(ctx, key.name, calls, received_at)
    rejections += [
        _rejection(place, raws[place], answer) for place, answer in answers.items() if isinstance(answer, Invalid)
    ]
    if rejections:
        await _keep_rejected(ctx, key.name, rejections, raws)
        RECEIVED.labels("rejected").inc(len(rejections))
    erased = Invalid("userId", "the customer was erased; nothing is kept")
    rejections += [
        _rejection(place, raws[place], erased) for place, answer in answers.items() if isinstance(answer, Erased)
    ]
    return BatchReceived(
        accepted=sum(isinstance(answer, Accepted) for answer in answers.values()),
        duplicate=sum(isinstance(answer, Duplicate) for answer in answers.values()),
        rejected=sorted(rejections, key=lambda each: each.index),
    )


def _read(
    body: Mapping[str, Any], raws: Sequence[object], received_at: datetime
) -> tuple[dict[int, Call], list[Rejection]]:
    """Read the calls of a batch, by their place in it."""
    calls: dict[int, Call] = {}
    rejections: list[Rejection] = []
    try:
        defaults = batch_context(body.get("context"))
    except Invalid as error:
        return {}, [_rejection(index, raw, error) for index, raw in enumerate(raws)]
    for index, raw in enumerate(raws):
        try:
            calls[index] = read_call(raw, received_at, sent_at=body.get("sentAt"), defaults=defaults)
        except Invalid as error:
            rejections.append(_rejection(index, raw, error))
    return calls, rejections


def _rejection(index: int, raw: object, error: Invalid) -> Rejection:
    given = raw.get("messageId") if isinstance(raw, dict) else None
    message_id = _UNWRITABLE.sub("\ufffd", given)[:255] if isinstance(given, str) else None
    return Rejection(index=index, message_id=message_id, field=error.field, rule=error.rule)


async def _keep_rejected(ctx: Context, source: str, rejections: Sequence[Rejection], raws: Sequence[object]) -> None:
    try:
        async with ctx.pool.acquire() as connection:
            await rejected.keep(connection, source, rejections, [raws[each.index] for each in rejections])
    except AWAY as error:
        log.error("rejected events not kept", error=type(error).__name__)
        raise database_away() from None


@router.get("/v1/events/rejected", responses=documented(422))
async def list_rejected(
    _: Reader,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[RejectedEvent]:
    """List the calls of batches that were not accepted, the newest first."""
    return [RejectedEvent.model_validate(dict(row)) for row in await rejected.page(db, before, limit)]


@router.post(
    "/v1/events/rejected/{id}/resend",
    responses=documented(404, 410, 422),
    openapi_extra=_call(type="track", **_EVENT, required=False),
)
async def resend(id: Annotated[int, Field(ge=1, le=2**63 - 1)], request: Request, ctx: Ctx, key: Operator) -> Received:
    """Send a rejected call again, mended by the body given, or as it was if there is none."""
    received_at = datetime.now(UTC)
    given = await body_of(request, EVENT_LIMIT + 4096) if await request.body() else None
    async with ctx.pool.acquire() as connection:
        row = await rejected.find(connection, id)
        if row is None:
            raise Problem(404, "not_found", "there is no such rejected event")
        try:
            call = read_call(given if given is not None else row["body"], received_at)
        except Invalid as error:
            raise Problem(400, "invalid_event", str(error), [FieldError(field=error.field, rule=error.rule)]) from None
        async with connection.transaction():
            answer = (await accept(connection, ctx.terms, row["source"], [call], received_at))[0]
            await rejected.mark_resent(connection, id)
    if isinstance(answer, Erased):
        raise Problem(410, "customer_erased", "this customer was erased; nothing about them is kept any more")
    log.info("rejected event sent again", rejected=id, by=key.name)
    return Received(duplicate=isinstance(answer, Duplicate))
