"""One process of the workers: runs journeys and their activities, dispatches events, reconciles.

``python worker.py``; SIGTERM drains: what is under way is finished within 30 seconds.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.client import Client
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import logs
import settings
from activities.campaigns import Campaigns
from activities.conversations import Conversations
from activities.courtesy import Courtesy
from activities.deliver import Deliver
from activities.erase import Erase
from activities.outcomes import Outcomes
from activities.pulse import Pulse
from activities.resolve import Resolve
from activities.segments import Segments
from activities.templates import ReviewTemplates as TemplateReviews
from channels.operators import Operators, open_operators
from channels.protocol import Eraser, Templates
from channels.registry import ChannelsNotConfigured, open_channels
from channels.twilio_voice import TwilioVoice
from dispatch.codec import PayloadKeysWrong, data_converter
from dispatch.dispatcher import Dispatcher
from dispatch.reconciler import reconciling
from dispatch.runs import TASK_QUEUE
from dispatch.schedules import schedule_looks
from dispatch.segments import declare_segments
from dispatch.temporal import connect
from domain.links import Links
from domain.messages import Channel
from settings import ConfigurationError, Deployment, Settings
from store import contact, installation
from store.database import Pool, open_pool
from templates import TEXTS
from templates.renderer import BadTexts, Texts
from workflows.campaigns import TASK_QUEUE as CAMPAIGNS_QUEUE
from workflows.campaigns import Campaign
from workflows.catalog import Catalog
from workflows.conversations import Converse
from workflows.declaration import DeclarationError
from workflows.enabled import enabled, segments_of
from workflows.erasures import EraseAtProviders
from workflows.journey import Journey
from workflows.scans import TASK_QUEUE as SEGMENTS_QUEUE
from workflows.scans import SegmentLook, SegmentScan
from workflows.upkeep import ResolveSends, ReviewTemplates

DRAIN = timedelta(seconds=30)

OWN = (EraseAtProviders, ResolveSends, ReviewTemplates, Converse)
"""Workflows an installation runs for itself: no customer is in them."""

log = structlog.get_logger()

# Shared with the sandbox's copies of journey files: they hold no state of a run, and importing them
# anew for every run costs a third of its time.
_RUNNER = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "domain",
        "workflows.journey",
        "workflows.audience",
        "workflows.bot",
        "workflows.declaration",
        "workflows.drafts",
        "typing_extensions",
    )
)


def build_worker(
    client: Client, catalog: Catalog, deliver: Deliver, outcomes: Outcomes, operators: Operators | None = None
) -> Worker:
    """Put a worker together: every journey of the catalog, the upkeep, and the activities.

    Args:
        operators: The operators' tool; None where there is none.
    """
    ports = (*deliver.channels.values(), operators)
    erasers = {port.provider: port for port in ports if isinstance(port, Eraser)}
    reviewers = [port for port in deliver.channels.values() if isinstance(port, Templates)]
    resolve = Resolve(deliver.pool, catalog, deliver.channels, deliver.deployment)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[
            *(declaration.workflow for declaration in catalog.journeys.values()),
            *OWN,
        ],
        activities=[
            deliver.deliver,
            outcomes.record_outcome,
            outcomes.record_command,
            resolve.resolve_sends,
            *Erase(deliver.pool, erasers).activities,
            *(TemplateReviews(deliver.pool, port).review_templates for port in reviewers),
            *Conversations(deliver.pool, deliver, operators).activities,
        ],
        workflow_runner=_RUNNER,
        # Eager activities pass by the queue's limits and priorities.
        disable_eager_activity_execution=True,
        max_cached_workflows=2000,
        max_concurrent_activities=50,
        graceful_shutdown_timeout=DRAIN,
    )


def build_segments_worker(client: Client, pool: Pool, catalog: Catalog) -> Worker:
    """Put together what evaluates segments: few at a time, on a queue of its own, so that no journey waits for it."""
    return Worker(
        client,
        task_queue=SEGMENTS_QUEUE,
        workflows=[SegmentLook, SegmentScan],
        activities=Segments(pool, catalog).activities,
        workflow_runner=_RUNNER,
        disable_eager_activity_execution=True,
        max_concurrent_activities=2,
        graceful_shutdown_timeout=DRAIN,
    )


def build_campaigns_worker(client: Client, deliver: Deliver, pool: Pool) -> Worker:
    """Put together what sends campaigns: on a queue of its own, with few connections, so that journeys come first.

    Args:
        pool: Connections of its own; a campaign sends through them too.
    """
    return Worker(
        client,
        task_queue=CAMPAIGNS_QUEUE,
        workflows=[Campaign],
        activities=Campaigns(pool, replace(deliver, pool=pool), Courtesy(pool, client)).activities,
        workflow_runner=_RUNNER,
        disable_eager_activity_execution=True,
        max_concurrent_activities=3,
        graceful_shutdown_timeout=DRAIN,
    )


def build_replayer(workflows: Sequence[type[Journey[Any]]]) -> Replayer:
    """Put together what replays recorded runs just as a worker goes on with them: same runner, same payloads."""
    return Replayer(workflows=[*workflows, *OWN], workflow_runner=_RUNNER, data_converter=data_converter())


@contextlib.asynccontextmanager
async def delivering(
    pool: Pool, catalog: Catalog, configuration: Settings, deployment: Deployment
) -> AsyncIterator[Deliver]:
    """Open the channels and texts `deliver` joins."""
    texts = Texts.load(TEXTS, deployment.languages)
    catalog.check_texts(texts, texts.locales)
    pulse = Pulse()
    async with open_channels(configuration.base) as channels, pulse.beating():
        if isinstance(channels[Channel.CALL], TwilioVoice):
            check_spoken(texts)
        yield Deliver(
            pool=pool,
            catalog=catalog,
            channels=channels,
            texts=texts,
            links=Links(configuration.base, configuration.secret.get_secret_value().encode()),
            deployment=deployment,
            pulse=pulse,
        )


def check_spoken(texts: Texts) -> None:
    """Look whether a machine has something to say in every call: what is for people is not to be read out.

    Raises:
        BadTexts: A text of a call has no `spoken`.
    """
    mute = [
        f"{text.template}/call.{text.locale}.txt"
        for text in texts
        if text.channel is Channel.CALL and not text.is_spoken
    ]
    if mute:
        raise BadTexts(
            [f"{each}:1: header field 'spoken' is missing, which CALL_PROVIDER=twilio says" for each in mute]
        )


@contextlib.asynccontextmanager
async def observable(host: str, port: int) -> AsyncIterator[None]:
    """Serve `/metrics` and `/readyz` while the context is open: whoever gets an answer sees a worker at work."""

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def ready(_: Request) -> Response:
        return Response("ok")

    app = Starlette(routes=[Route("/metrics", metrics), Route("/readyz", ready)])
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_config=None, lifespan="off"))
    # The process's own handlers stop it; uvicorn's would replace them.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def work(workflows: Sequence[type[Journey[Any]]] | None = None) -> None:
    """Work until SIGINT or SIGTERM.

    Args:
        workflows: The journeys to run; those the deployment enables if None.

    Raises:
        ConfigurationError: Something is missing or wrong.
        DeclarationError: A journey is declared wrongly.
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
    deployment = deployment.holding_out(catalog.holdouts)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    client = await connect()
    async with (
        await open_pool(configuration.database_url, size=40) as pool,
        await open_pool(configuration.database_url, size=12) as campaigns_pool,
        delivering(pool, catalog, configuration, deployment) as deliver,
        open_operators() as operators,
    ):
        async with pool.acquire() as connection:
            clock = await installation.begin(connection, configuration.speed)
            await contact.remember_policy(
                connection, deployment.policy.version, deployment.policy.model_dump(mode="json")
            )
            await declare_segments(connection, segments_of(catalog), catalog)
        await schedule_looks(client, clock)
        async with (
            build_segments_worker(client, pool, catalog),
            build_campaigns_worker(client, deliver, campaigns_pool),
            build_worker(client, catalog, deliver, Outcomes(pool), operators) as worker,
            Dispatcher(pool, configuration.database_url, client, catalog).running(),
            reconciling(pool, client, tells=operators is not None),
            observable(configuration.metrics_host, configuration.metrics_port),
        ):
            log.info("working", journeys=sorted(catalog.journeys))
            await stopping.wait()
            log.info("draining")
            # Beside the dispatcher, so that both together take no longer than one of them may.
            draining = asyncio.create_task(worker.shutdown())
        await draining
    log.info("stopped")


def main(workflows: Sequence[type[Journey[Any]]] | None = None) -> None:
    """Run the process; what is missing is said in one line."""
    try:
        asyncio.run(work(workflows))
    except (
        ConfigurationError,
        BadTexts,
        ChannelsNotConfigured,
        DeclarationError,
        PayloadKeysWrong,
        installation.SpeedChanged,
    ) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
