"""The sandbox as one application: the providers, its own HTTP and its pages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from sandbox import (
    call_centre,
    content,
    control,
    fcm,
    operators,
    pages,
    reviews,
    sendgrid,
    site,
    twilio,
    voice,
    web_push,
)
from sandbox.configuration import Configuration
from sandbox.faults import ConnectionReset, ProviderError
from sandbox.gestures import Impossible
from sandbox.world import World


def create_app(configuration: Configuration) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        world = World(configuration)
        app.state.world = world
        courier = asyncio.create_task(world.callbacks.run())
        courier.add_done_callback(_fail_loudly)
        yield
        courier.cancel()
        with suppress(asyncio.CancelledError):
            await courier

    app = FastAPI(title="Sandbox of the providers", lifespan=lifespan, docs_url="/_sandbox/docs")
    for room in (
        *(voice, twilio, content, sendgrid, fcm, web_push, call_centre, operators),
        *(control, reviews, site, pages),
    ):
        app.include_router(room.router)
    app.mount("/static", pages.static_files)

    @app.exception_handler(ProviderError)
    async def refuse(_: Request, error: ProviderError) -> Response:
        return error.response

    @app.exception_handler(ConnectionReset)
    async def nobody_listens(_: Request, __: ConnectionReset) -> Response:
        return Response(status_code=500)

    @app.exception_handler(Impossible)
    async def impossible(_: Request, error: Impossible) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=409)

    return app


def _fail_loudly(courier: asyncio.Task[None]) -> None:
    """Without its courier the sandbox would fall silent; better it ends."""
    if not courier.cancelled() and (error := courier.exception()):
        raise SystemExit(f"the sandbox can no longer call back: {error!r}")
