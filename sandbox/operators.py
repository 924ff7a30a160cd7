"""The operators' tool: takes the product's signed webhook, and speaks its HTTP for whoever sits at the desk."""

import json
import uuid
from typing import Any

import httpx
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from sandbox.desk import Talk
from sandbox.faults import ProviderError
from sandbox.world import TheWorld, World

ERASED = "conversation.erased"

router = APIRouter(tags=["Operators' desk"])


class _Told(BaseModel):
    type: str
    data: dict[str, Any]


@router.post("/operators/webhooks", status_code=204)
async def told(request: Request, world: TheWorld) -> Response:
    """Take what the product tells. Told again, it is only what the desk knows already."""
    body = await request.body()
    secret = world.configuration.operators_secret
    try:
        Webhook(secret.get_secret_value() if secret else "").verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise HTTPException(401, "the signature is missing, wrong or older than five minutes") from None
    async with world.faults.around("operators", ["*"], request, _refuse):
        try:
            news = _Told.model_validate_json(body)
            number = news.data["conversation"]["id"]
            if news.type == ERASED:
                world.desk.erase(int(number))
            else:
                world.desk.put(Talk.model_validate(news.data["conversation"]), alert=bool(news.data.get("alert")))
        except (ValidationError, KeyError, TypeError) as error:
            raise HTTPException(422, f"not understood: {type(error).__name__}") from None
    return Response(status_code=204)


@router.get("/_sandbox/desk")
async def read_desk(world: TheWorld) -> list[Talk]:
    """What the desk has been told."""
    return [talk for talk, _ in world.desk.all()]


class Answer(BaseModel):
    """What somebody at the desk answers."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=1000)


@router.post("/_sandbox/desk/{number}/answers", status_code=202)
async def answer(number: int, given: Answer, world: TheWorld) -> None:
    """Answer a customer through the product; what it refuses is shown with its reason."""
    await _ask(world, "POST", f"/{number}/answers", {"id": str(uuid.uuid4()), "text": given.text})
    world.desk.seen(number)
    await _look(world, number)


@router.post("/_sandbox/desk/{number}/close", status_code=202)
async def close(number: int, world: TheWorld) -> None:
    """Say that the conversation is over."""
    await _ask(world, "POST", f"/{number}/close")
    world.desk.seen(number)
    await _look(world, number)


async def _look(world: World, number: int) -> None:
    world.desk.put(Talk.model_validate(await _ask(world, "GET", f"/{number}")))


async def _ask(world: World, method: str, path: str, body: Any = None) -> Any:
    key = world.configuration.operators_key
    if key is None:
        raise HTTPException(409, "the desk has no key of the product: SANDBOX_OPERATORS_KEY is not set")
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"}
    try:
        answer = await world.callbacks.client.request(
            method, world.product(f"/v1/conversations{path}"), json=body, headers=headers
        )
    except httpx.TransportError as error:
        raise HTTPException(502, f"the product did not answer: {type(error).__name__}") from None
    if answer.is_error:
        try:
            detail = answer.json()["message"]
        except (json.JSONDecodeError, KeyError):
            detail = f"the product answered {answer.status_code}"
        raise HTTPException(answer.status_code if answer.status_code < 500 else 502, detail)
    return answer.json()


def _refuse(status: int, retry_after: int) -> ProviderError:
    return ProviderError(JSONResponse({"detail": "not taken"}, status, headers={"Retry-After": str(retry_after)}))
