"""What a request needs: the database, the enabled journeys, who is calling."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from temporalio.client import Client

from api import auditing
from api.intake import Terms
from api.keyring import Keyring
from api.live import Live
from api.problems import Problem
from domain.links import Links
from policy.configuration import Policy
from settings import Deployment, Settings
from store.customers import Tombstones
from store.database import Connection, Pool
from store.keys import Key, Scope
from storyboards.rehearsal import rehearse
from storyboards.story import Storyboard, storyboard
from templates.renderer import Texts
from workflows.catalog import Catalog
from workflows.declaration import Declaration


@dataclass
class Context:
    """Made once per process."""

    settings: Settings
    pool: Pool
    audit_pool: Pool
    catalog: Catalog
    temporal: Client
    links: Links
    tombstones: Tombstones
    deployment: Deployment
    texts: Texts
    keyring: Keyring
    live: Live
    boards: dict[str, Storyboard] = field(default_factory=dict)

    @property
    def default_locale(self) -> str:
        """Language of somebody who has told none."""
        return self.deployment.default_locale

    @property
    def policy(self) -> Policy:
        """The contact policy that holds."""
        return self.deployment.policy

    @property
    def terms(self) -> Terms:
        """What it takes to judge an event."""
        return Terms(self.catalog, self.policy, self.tombstones)

    async def board(self, declaration: Declaration) -> Storyboard:
        """Return a journey's story, rehearsed once per process: neither its code nor its parameters change."""
        if declaration.name not in self.boards:
            self.boards[declaration.name] = await asyncio.to_thread(lambda: storyboard(rehearse(declaration)))
        return self.boards[declaration.name]

    def run_url(self, workflow_id: str) -> str | None:
        """Address of a run in the Temporal UI, where it is known."""
        if self.settings.ui_url is None:
            return None
        base = str(self.settings.ui_url).rstrip("/")
        return f"{base}/namespaces/{self.temporal.namespace}/workflows/{workflow_id}"


def context(request: Request) -> Context:
    """The process's context."""
    found: Context = request.app.state.context
    return found


async def connection(request: Request) -> AsyncIterator[Connection]:
    """A connection for the request."""
    async with context(request).pool.acquire() as found:
        yield found


Ctx = Annotated[Context, Depends(context)]
Db = Annotated[Connection, Depends(connection)]

_BASIC = HTTPBasic(auto_error=False, scheme_name="writeKey", description="The write key as user name, no password.")
_PASSWORD = HTTPBasic(auto_error=False, scheme_name="pageKey", description="A key with the scope read, as password.")
BEARER = HTTPBearer(auto_error=False, scheme_name="bearerKey", description="A key with the scope of the operation.")


def _unauthorised(scheme: str) -> Problem:
    how = "as the user name of Basic authentication" if scheme.startswith("Basic") else "as a bearer token"
    return Problem(401, "unauthorized", f"a valid key is required, {how}", headers={"WWW-Authenticate": scheme})


async def write_key(request: Request, ctx: Ctx, given: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)]) -> Key:
    """The key of whoever sends events: Basic authentication, the write key as user name.

    Raises:
        Problem: 401 without a valid key, 403 without the scope, 429 above the key's rate.
    """
    key = await recognised(request, ctx, given.username if given else "")
    if key is None:
        raise _unauthorised('Basic realm="events"')
    if Scope.INGEST not in key.scopes:
        raise Problem(403, "forbidden", "the key lacks the scope ingest")
    return key


def allowed(*scopes: Scope) -> Callable[..., Awaitable[Key]]:
    """A dependency: the caller's bearer key must have one of some scopes.

    Whatever changes something is entered in the audit log before it is done, and so is whatever shows more than
    `READ` may see; an attempt without the scope is entered too. What is done with the scope `INGEST` or `INBOX`, where
    that is enough, is the customer's own deed, told by the backend or the site, and kept with the customer.

    Raises:
        Problem: 401 without a valid key, 403 without the scope, 429 above the key's rate.
    """
    revealing = Scope.READ not in scopes
    telling = set(scopes) & {Scope.INGEST, Scope.INBOX}

    async def check(
        request: Request, ctx: Ctx, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
    ) -> Key:
        key = await recognised(request, ctx, given.credentials if given else "")
        if key is None:
            raise _unauthorised("Bearer")
        if (revealing or request.method not in auditing.HARMLESS) and not key.scopes & telling:
            await auditing.enter(request, key)
        if not key.scopes & set(scopes):
            raise Problem(403, "forbidden", f"the key lacks the scope {' or '.join(scopes)}")
        return key

    return check


async def recognised(request: Request, ctx: Context, token: str) -> Key | None:
    """Return the key a token opens, and count the request.

    Raises:
        Problem: 429 above the key's rate, or where too many wrong tokens come from.
    """
    if not token:
        return None
    key = await ctx.keyring.recognise(token, request.client.host if request.client else None)
    if key:
        ctx.keyring.admit(key)
    return key


async def page_key(
    request: Request,
    ctx: Ctx,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_PASSWORD)],
) -> Key:
    """The key of whoever looks at a page: a browser asks for it by itself, as the password of Basic authentication.

    Raises:
        Problem: 401 without a valid key, 403 without the scope read or operate, 429 above the key's rate.
    """
    token = bearer.credentials if bearer else basic.password or basic.username if basic else ""
    key = await recognised(request, ctx, token)
    if key is None:
        raise Problem(
            401,
            "unauthorized",
            "a valid key is required, as the password, whatever the user name",
            headers={"WWW-Authenticate": 'Basic realm="journeys", charset="UTF-8"'},
        )
    if not key.scopes & {Scope.READ, Scope.OPERATE}:
        raise Problem(403, "forbidden", "the key lacks the scope read or operate")
    return key


WriteKey = Annotated[Key, Depends(write_key)]
PageReader = Annotated[Key, Depends(page_key)]
Reader = Annotated[Key, Depends(allowed(Scope.READ, Scope.OPERATE))]
Operator = Annotated[Key, Depends(allowed(Scope.OPERATE))]
inbox_reader = allowed(Scope.INBOX, Scope.OPERATE)
InboxReader = Annotated[Key, Depends(inbox_reader)]
