"""The call centre: takes signed orders to call, and reports how the calls ended."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from sandbox.callbacks import Step
from sandbox.faults import ProviderError
from sandbox.ledger import Entry, NewEntry
from sandbox.people import CallResult
from sandbox.world import TheWorld, World

_RINGING = 5.0  # seconds until a call of a person with a known `call_result` has ended

router = APIRouter(tags=["Call centre"])


class CallOrder(BaseModel):
    """What the product asks for."""

    id: str = Field(min_length=1)
    phone: str = Field(pattern=r"^\+[1-9]\d{6,14}$")
    locale: str
    topic: str
    script: str
    name: str | None = None


def _refusal(status: int, message: str, retry_after: int | None = None) -> ProviderError:
    return ProviderError(
        JSONResponse(
            {"error": message},
            status_code=status,
            headers=None if retry_after is None else {"Retry-After": str(retry_after)},
        )
    )


def _refuse(status: int, retry_after: int) -> ProviderError:
    return _refusal(status, "the call was not taken", retry_after)


@router.post("/call-centre/calls", status_code=202)
async def order_call(request: Request, world: TheWorld) -> JSONResponse:
    order = await _order(request, world)
    if world.ledger.by_provider_id("call_centre", order.id):
        return JSONResponse({"id": order.id, "error": "already taken"}, status_code=409)
    async with world.faults.around("call_centre", [order.phone], request, _refuse):
        entry = world.ledger.record(
            NewEntry(
                provider="call_centre",
                channel="call",
                provider_id=order.id,
                message_id=order.id,
                address=order.phone,
                sender="call-centre",
                status="accepted",
                subject=order.topic,
                text=order.script,
                details={"locale": order.locale, "name": order.name},
            )
        )
        person = world.people.at(order.phone)
        if person.call_result and person.delivery != "never":
            world.callbacks.plan(entry, [result_step(world, entry, person.call_result, _RINGING)])
        await world.callbacks.before_answer([entry])
    return JSONResponse({"id": order.id}, status_code=202)


@router.get("/call-centre/calls/{id}")
async def tell_of_call(id: str, request: Request, world: TheWorld) -> JSONResponse:
    """Whether an order was taken, and how its call ended."""
    _verify(request, b"", world)
    if request.headers["webhook-id"] != id:
        raise _refusal(422, "webhook-id: must be the call's id")
    entry = world.ledger.by_provider_id("call_centre", id)
    async with world.faults.around("call_centre", [entry.address if entry else ""], request, _refuse, "lookup"):
        if entry is None:
            return JSONResponse({"id": id, "status": "unknown"}, status_code=404)
        return JSONResponse({"id": id, "status": entry.status})


def result_step(world: World, entry: Entry, result: CallResult, after: float = 0.0) -> Step:
    """The report of how a call ended."""
    payload = {
        "id": entry.message_id,
        "result": "no_answer" if result == "machine" else result,
        "at": datetime.now(UTC).isoformat(),
    }
    return Step("call_centre", world.product("/webhooks/call-centre"), payload, result, after)


async def _order(request: Request, world: World) -> CallOrder:
    body = await request.body()
    _verify(request, body, world)
    try:
        order = CallOrder.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "body"
        raise _refusal(422, f"{place}: {fault['msg']}") from None
    if request.headers["webhook-id"] != order.id:
        raise _refusal(422, "webhook-id: must be the call's id")
    return order


def _verify(request: Request, body: bytes, world: World) -> None:
    secret = world.configuration.call_centre_secret.get_secret_value()
    try:
        Webhook(secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise _refusal(401, "the signature is missing, wrong or older than five minutes") from None
