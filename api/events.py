"""Events in: Segment's HTTP tracking API, so that the libraries backends already have work unchanged."""

import zlib
from collections.abc import Sequence
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
from api.segment import BATCH_LIMIT, EVENT_LIMIT, Invalid, read_call
from domain.calls import Call, Rejection
from store import rejected
from store.database import AWAY

log = structlog.get_logger()
router = APIRouter(tags=["events"])

RECEIVED = Counter("journeys_events_received_total", "Calls received.", ["answer"])

MOST_CALLS = 2500
"""Calls in one batch; the size limit allows no more of any sensible size."""


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


_JSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
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
                "example": {
                    "messageId": "6f1c2f0e-0001",
                    "userId": "client-4711",
                    "event": "credit_application_started",
                    "timestamp": "2026-11-22T10:00:00Z",
                    "properties": {"application_id": "A-1", "filled": 4, "total": 40},
                },
            }
        },
    }
}

_ERRORS = documented(400, 401, 410, 413, 503)


async def body_of(request: Request, limit: int) -> object:
    """Read a JSON body, gzip or not, of at most `limit` bytes when unpacked.

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
        return orjson.loads(bytes(raw))
    except zlib.error:
        raise Problem(400, "invalid_body", "the body is not gzip, as its Content-Encoding says") from None
    except orjson.JSONDecodeError:
        raise Problem(400, "invalid_body", "the body must be JSON in UTF-8") from None


async def _one(request: Request, ctx: Context, key: WriteKey, type: str) -> Received:
    """Accept one call."""
    received_at = datetime.now(UTC)
    body = await body_of(request, EVENT_LIMIT + 4096)
    try:
        call = read_call(body, received_at, type=type)
    except Invalid as error:
        RECEIVED.labels("rejected").inc()
        raise Problem(400, "invalid_event", str(error), [FieldError(field=error.field, rule=error.rule)]) from None
    answer = (await _accept(ctx, key.name, [call], received_at))[0]
    if isinstance(answer, Erased):
        raise Problem(410, "customer_erased", "this customer was erased; nothing about them is kept any more")
    return Received(duplicate=isinstance(answer, Duplicate))


async def _accept(ctx: Context, source: str, calls: Sequence[Call], received_at: datetime) -> list[Answer]:
    try:
        async with ctx.pool.acquire() as connection:
            answers = await accept(connection, ctx.catalog, ctx.tombstones, source, calls, received_at)
    except AWAY as error:
        log.error("events not accepted", error=type(error).__name__, calls=len(calls))
        RECEIVED.labels("unavailable").inc(len(calls))
        raise database_away() from None
    for answer in answers:
        RECEIVED.labels(type(answer).__name__.lower()).inc()
    return answers


@router.post("/v1/identify", responses=_ERRORS, openapi_extra=_JSON_BODY)
async def identify(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell who a customer is: email, phone, timezone, locale, device, any other traits."""
    return await _one(request, ctx, key, "identify")


@router.post("/v1/track", responses=_ERRORS, openapi_extra=_JSON_BODY)
async def track(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell what a customer did. An event no journey knows is kept and starts nothing."""
    return await _one(request, ctx, key, "track")


@router.post("/v1/page", responses=_ERRORS, openapi_extra=_JSON_BODY)
async def page(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell which page a customer viewed: the event `page_viewed`."""
    return await _one(request, ctx, key, "page")


@router.post("/v1/screen", responses=_ERRORS, openapi_extra=_JSON_BODY)
async def screen(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell which screen of the app a customer viewed: the event `screen_viewed`."""
    return await _one(request, ctx, key, "screen")


@router.post("/v1/group", responses=_ERRORS, openapi_extra=_JSON_BODY)
async def group(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell which group a customer belongs to: the event `customer_grouped`."""
    return await _one(request, ctx, key, "group")


@router.post("/v1/alias", responses=_ERRORS, openapi_extra=_JSON_BODY)
async def alias(request: Request, ctx: Ctx, key: WriteKey) -> Received:
    """Tell that two ids are one customer: they are merged, with their journeys."""
    return await _one(request, ctx, key, "alias")


@router.post(
    "/v1/batch",
    responses=documented(400, 401, 413, 503),
    openapi_extra={
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
        }
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
    defaults = body.get("context") if isinstance(body.get("context"), dict) else {}
    calls: list[Call] = []
    places: list[int] = []
    rejections: list[Rejection] = []
    for index, raw in enumerate(raws):
        try:
            calls.append(read_call(raw, received_at, sent_at=body.get("sentAt"), defaults=defaults))
            places.append(index)
        except Invalid as error:
            rejections.append(_rejection(index, raw, error.field, error.rule))
    if rejections:
        await _keep_rejected(ctx, key.name, rejections, raws)
        RECEIVED.labels("rejected").inc(len(rejections))
    answers = await _accept(ctx, key.name, calls, received_at) if calls else []
    for place, answer in zip(places, answers, strict=True):
        if isinstance(answer, Erased):
            rejections.append(_rejection(place, raws[place], "userId", "the customer was erased; nothing is kept"))
    return BatchReceived(
        accepted=sum(isinstance(answer, Accepted) for answer in answers),
        duplicate=sum(isinstance(answer, Duplicate) for answer in answers),
        rejected=sorted(rejections, key=lambda each: each.index),
    )


def _rejection(index: int, raw: object, field: str, rule: str) -> Rejection:
    given = raw.get("messageId") if isinstance(raw, dict) else None
    return Rejection(index=index, message_id=given[:255] if isinstance(given, str) else None, field=field, rule=rule)


async def _keep_rejected(ctx: Context, source: str, rejections: Sequence[Rejection], raws: Sequence[object]) -> None:
    try:
        async with ctx.pool.acquire() as connection:
            await rejected.keep(connection, source, rejections, [raws[each.index] for each in rejections])
    except AWAY as error:
        log.error("rejected events not kept", error=type(error).__name__)
        raise database_away() from None


@router.get("/v1/events/rejected", responses=documented(401, 403, 422, 503))
async def list_rejected(
    _: Reader,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[RejectedEvent]:
    """List the calls of batches that were not accepted, the newest first."""
    return [RejectedEvent.model_validate(dict(row)) for row in await rejected.page(db, before, limit)]


@router.post("/v1/events/rejected/{id}/resend", responses=documented(400, 401, 403, 404, 410, 413, 422, 503))
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
            answer = (await accept(connection, ctx.catalog, ctx.tombstones, row["source"], [call], received_at))[0]
            await rejected.mark_resent(connection, id)
    if isinstance(answer, Erased):
        raise Problem(410, "customer_erased", "this customer was erased; nothing about them is kept any more")
    log.info("rejected event sent again", rejected=id, by=key.name)
    return Received(duplicate=isinstance(answer, Duplicate))
