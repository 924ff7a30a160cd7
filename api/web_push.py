"""Browsers that take pushes: what a page subscribes with, and the subscription it got."""

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.context import Ctx
from api.customers import TEXT, UserId, locked
from api.problems import FieldError, Problem, documented
from api.segment import browser_of
from api.visitors import AVisitor
from channels.web_push import ENDPOINT_LIMIT, NotASubscription, PushServices, WebPushSettings, subscription_of
from settings import ConfigurationError
from store import customers

log = structlog.get_logger()
router = APIRouter(tags=["web push"])


class Key(BaseModel):
    """What pages subscribe with."""

    public_key: str = Field(description="For `applicationServerKey`: base64url of an uncompressed point of P-256.")


class BrowserKeys(BaseModel):
    """What is encrypted to."""

    p256dh: str = Field(
        examples=["BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"]
    )
    auth: str = Field(examples=["BTBZMqHH6r4Tts7J_aSIgg"])


class BrowserSubscription(BaseModel):
    """A `PushSubscription`, as its `toJSON()` writes it; what it holds besides is left alone."""

    model_config = ConfigDict(extra="allow")

    endpoint: str = Field(
        min_length=1, max_length=ENDPOINT_LIMIT, pattern=TEXT, examples=["https://fcm.googleapis.com/fcm/send/c1"]
    )
    keys: BrowserKeys


class Unsubscribed(BaseModel):
    """A browser that takes no pushes any more."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = Field(min_length=1, max_length=ENDPOINT_LIMIT, pattern=TEXT)


_ERRORS = documented(401, 403, 404, 410, 422, 503)


def check() -> None:
    """Look at the settings at start.

    Raises:
        ConfigurationError: ``WEB_PUSH_SERVICES`` is wrong.
    """
    try:
        PushServices()
    except ValidationError as error:
        rule = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"WEB_PUSH_SERVICES: {rule}") from None


@router.get("/v1/web-push/key", responses=documented(404))
async def read_web_push_key() -> Key:
    """Return the public key pages subscribe with. It is no secret: every subscription shows it."""
    try:
        return Key(public_key=WebPushSettings().public_key)
    except ValidationError:
        raise Problem(404, "not_configured", "WEB_PUSH_PRIVATE_KEY and WEB_PUSH_CONTACT are not set here") from None


@router.post("/v1/customers/{user_id}/web-push/subscribe", status_code=204, responses=_ERRORS)
async def subscribe_browser(user_id: UserId, body: BrowserSubscription, caller: AVisitor, ctx: Ctx) -> None:
    """Keep a browser's subscription: the customer gets pushes there. Keeping it again changes nothing.

    A customer may have several browsers; a browser belongs to whoever subscribed in it last. Calls of the tracking API
    may bring the same under `context.device.subscription`.
    """
    try:
        subscription = subscription_of(body.model_dump())
    except NotASubscription as error:
        raise Problem(422, "invalid_request", str(error), [FieldError(field=error.field, rule=error.rule)]) from None
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = caller.may_see(await locked(ctx, connection, user_id))
        await customers.add_device(connection, customer, browser_of(subscription))


@router.post("/v1/customers/{user_id}/web-push/unsubscribe", status_code=204, responses=_ERRORS)
async def unsubscribe_browser(user_id: UserId, body: Unsubscribed, caller: AVisitor, ctx: Ctx) -> None:
    """Push to a browser no more; nothing changes if nobody does."""
    async with ctx.pool.acquire() as connection, connection.transaction():
        customer = caller.may_see(await locked(ctx, connection, user_id))
        await customers.forget_device(connection, customer, body.endpoint)
