"""The HTTP application."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import logs
import settings
from api import (
    advertising,
    audit,
    campaigns,
    codec,
    content_plan,
    conversations,
    customers,
    events,
    gallery,
    inbox,
    journeys,
    links,
    policy,
    preferences,
    problems,
    reference,
    reports,
    segments,
    silences,
    streams,
    subscriptions,
    texts,
    timeline,
    visitors,
    web_push,
    webhooks,
    whatsapp,
)
from api.context import Context, Ctx, Reader
from api.edge import Edge, documented_body
from api.keyring import Keyring
from api.live import Live
from dispatch.segments import declare_segments
from dispatch.temporal import connect, is_reachable
from domain.links import Links
from store import contact, installation
from store.customers import Tombstones
from store.database import open_pool
from templates import TEXTS
from templates.renderer import Texts
from workflows.catalog import Catalog
from workflows.enabled import enabled, segments_of
from workflows.journey import Journey

DESCRIPTION = """\
Tell it what your customers do; it runs their journeys.

Events speak Segment's tracking API (Basic authentication, the write key as user name). Everything
else takes a bearer key with the scope of the operation. Errors are problem details (RFC 9457).
"""


def create_app(workflows: Sequence[type[Journey[Any]]] | None = None) -> FastAPI:
    """Build the application from the environment.

    Args:
        workflows: The journeys to know; those the deployment enables if None.

    Raises:
        ConfigurationError: Something is missing or wrong.
        BadTexts: A text is broken.
        DeclarationError: A journey is declared wrongly, or names a text there is not.
    """
    configuration = settings.load()
    logs.configure(configuration.log_level)
    deployment = configuration.deployment()
    catalog = Catalog.of(
        workflows or enabled(deployment.enabled),
        deployment.parameters,
        topics=deployment.policy.topics,
        held_out=deployment.policy.holdouts,
    )
    web_push.check()
    deployment = deployment.holding_out(catalog.holdouts)
    files = Texts.load(TEXTS, deployment.languages)
    catalog.check_texts(files, files.locales)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        secret = configuration.secret.get_secret_value().encode()
        async with (
            await open_pool(configuration.database_url, size=20) as pool,
            await open_pool(configuration.database_url, size=4) as audit_pool,
        ):
            async with pool.acquire() as connection:
                await installation.begin(connection, configuration.speed)
                await contact.remember_policy(
                    connection, deployment.policy.version, deployment.policy.model_dump(mode="json")
                )
                await declare_segments(connection, segments_of(catalog), catalog)
            app.state.context = Context(
                settings=configuration,
                pool=pool,
                audit_pool=audit_pool,
                catalog=catalog,
                temporal=await connect(lazy=True),
                links=Links(configuration.base, secret),
                tombstones=Tombstones(secret),
                deployment=deployment,
                texts=files,
                keyring=Keyring(pool, configuration.database_url),
                live=Live(configuration.database_url),
            )
            async with app.state.context.keyring.running(), app.state.context.live.running():
                yield

    app = FastAPI(
        title="Journeys",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(documented_body)],
        # By which the audit log names what was done.
        generate_unique_id_function=lambda route: route.name,
        # FastAPI's own pages load their programs from somebody else's servers.
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
    )
    if configuration.ui_url:
        app.add_middleware(codec.Cors, ui_url=str(configuration.ui_url))
    app.add_middleware(visitors.Cors, site=str(deployment.site))
    app.add_middleware(Edge, https=configuration.public_url.scheme == "https")
    problems.install(app)
    reference.install(app)
    for room in (
        events,
        gallery,
        journeys,
        customers,
        timeline,
        policy,
        segments,
        advertising,
        # Before campaigns, of which any might be called `plan`.
        content_plan,
        campaigns,
        silences,
        conversations,
        subscriptions,
        texts,
        inbox,
        streams,
        visitors,
        web_push,
        reports,
        webhooks,
        links,
        preferences,
        audit,
        codec,
        whatsapp,
    ):
        app.include_router(room.router)
    _add_operations(app)
    return app


def _add_operations(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @app.get(
        "/readyz",
        tags=["operations"],
        responses={503: {"description": "PostgreSQL does not answer.", "content": {"application/json": {}}}},
    )
    async def readyz(ctx: Ctx) -> JSONResponse:
        """Events can be accepted: PostgreSQL answers. Temporal may be away, events wait for it."""
        try:
            async with ctx.pool.acquire(timeout=2) as connection:
                await connection.fetchval("select 1", timeout=2)
            database = True
        except Exception:
            database = False
        temporal = await is_reachable(ctx.temporal)
        body = {"postgresql": "ok" if database else "away", "temporal": "ok" if temporal else "away"}
        return JSONResponse(body, 200 if database else 503)

    @app.get(
        "/metrics",
        tags=["operations"],
        response_class=Response,
        responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}},
    )
    async def metrics(_: Reader) -> Response:
        """Prometheus metrics of this process."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
