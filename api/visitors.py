"""Browsers and apps of customers: the passes they come with.

A pass is asked for by the client's backend, with its key, for one customer, and handed to their page. It opens that
customer's inbox, placements and web push, for an hour at the most, and nothing else.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.codec import origin_of
from api.context import BEARER, Context, Ctx, Db, InboxReader, inbox_reader
from api.customers import UserId, existing
from api.problems import Problem, documented
from api.rates import Rates
from domain.passes import PREFIX, BadPass, Pass, Passes
from store.keys import Rate

router = APIRouter(tags=["inbox"])

LONGEST = 3600
"""Wall seconds a pass may last: who signs out, or is erased, must not go on reading for long."""

OF_A_VISITOR = Rate(per_second=5, burst=50)
"""Requests one customer's browsers may make with passes."""

BROWSERS_ASK = re.compile(
    r"/v1/(customers/[^/]+/(inbox|inbox/live|placements|web-push/\w+)|inbox/[^/]+/\w+|web-push/key)"
)

_PASS = HTTPBearer(auto_error=False, scheme_name="customerPass", description="A pass of the customer.")
_IN_ADDRESS = APIKeyQuery(
    name="pass",
    auto_error=False,
    scheme_name="passInAddress",
    description="A pass of the customer, for a browser's EventSource, which can send no headers.",
)

_spent = Rates()


@dataclass(frozen=True)
class Visitor:
    """Who asks about a customer.

    Attributes:
        key: Name of their key, or of the key their pass was asked for with.
        held: Their pass; None: they have the key itself, and may see everybody.
    """

    key: str
    held: Pass | None = None

    def may_see(self, customer: int) -> int:
        """Return a customer's number. Raises `Problem` (403) if it is not the pass's."""
        if self.held is not None and self.held.customer != customer:
            raise Problem(403, "forbidden", "the pass is another customer's")
        return customer


class PassWanted(BaseModel):
    """For how long a pass is asked for."""

    model_config = ConfigDict(extra="forbid")

    lasts: int = Field(default=900, ge=60, le=LONGEST, description="Wall seconds.")


class PassGiven(BaseModel):
    """A pass."""

    token: str = Field(description="Hand it to the customer's page, and nobody else.")
    expires_at: datetime


async def visitor(
    request: Request,
    ctx: Ctx,
    key: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_PASS)],
) -> Visitor:
    """Whoever has a key with the scope inbox or operate, or a pass.

    Raises:
        Problem: 401, 403, 429.
    """
    if given and given.credentials.startswith(PREFIX):
        return _with_pass(ctx, given.credentials)
    found = await inbox_reader(request, ctx, key)
    return Visitor(found.name)


async def watcher(
    request: Request,
    ctx: Ctx,
    key: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_PASS)],
    in_address: Annotated[str | None, Depends(_IN_ADDRESS)],
) -> Visitor:
    """The same, whose pass may be in the address."""
    return _with_pass(ctx, in_address) if in_address else await visitor(request, ctx, key, given)


AVisitor = Annotated[Visitor, Depends(visitor)]
AWatcher = Annotated[Visitor, Depends(watcher)]


def _with_pass(ctx: Context, written: str) -> Visitor:
    try:
        held = _passes(ctx).read(written, datetime.now(UTC))
    except BadPass:
        raise Problem(
            401, "unauthorized", "the pass is over, or is none: ask for another", headers={"WWW-Authenticate": "Bearer"}
        ) from None
    if wait := _spent.admit(str(held.customer), OF_A_VISITOR):
        raise later("too_many_requests", f"a customer may ask {OF_A_VISITOR.per_second:g} times a second", wait)
    return Visitor(held.key, held)


def _passes(ctx: Context) -> Passes:
    return Passes(ctx.settings.secret.get_secret_value().encode())


def later(code: str, message: str, wait: float) -> Problem:
    return Problem(429, code, message, headers={"Retry-After": str(math.ceil(wait))})


_ERRORS = documented(401, 403, 404, 410, 422, 503)


@router.post("/v1/customers/{user_id}/pass", responses=_ERRORS)
async def give_pass(user_id: UserId, ctx: Ctx, db: Db, key: InboxReader, body: PassWanted | None = None) -> PassGiven:
    """Give the customer's page a pass, with which it reads this inbox itself; the key stays in the backend."""
    customer = await existing(ctx, db, user_id)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=(body or PassWanted()).lasts)
    return PassGiven(token=_passes(ctx).write(Pass(customer, until, key.name)), expires_at=until)


class Cors:
    """ASGI middleware: lets pages of the client's own site, and no others, ask with a pass."""

    def __init__(self, app: ASGIApp, *, site: str) -> None:
        self._app = app
        self._site = CORSMiddleware(
            app,
            allow_origins=[origin_of(site)],
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and BROWSERS_ASK.fullmatch(scope["path"])
        await (self._site if asked else self._app)(scope, receive, send)
