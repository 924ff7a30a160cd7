"""The reconciler: notices runs that were cancelled, terminated or timed out from outside, and runs that are stuck.

It also starts what an installation does for itself, when there is something to do: so an idle one pays nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from prometheus_client import Gauge
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from dispatch.campaigns import run_campaigns
from dispatch.conversations import run_conversations
from dispatch.dispatcher import cancelled
from dispatch.runs import ensure_running
from domain.enrolments import Outcome
from store import enrolments, erasure, installation, messages, uncertain, whatsapp
from store.database import AWAY, Pool
from workflows.upkeep import RESOLVE_SENDS, REVIEW_TEMPLATES

LOOK_EVERY = timedelta(seconds=5)

OVERLAP = timedelta(minutes=10)
"""Visibility is slow by design: each look goes back this much further than the last one came."""

log = structlog.get_logger()

STUCK = Gauge("journeys_stuck_runs", "Runs whose steps fail again and again; they wait for a release that mends them.")
UNRESOLVED = Gauge("journeys_unresolved_sends", "Sends of which nobody knows whether they left, not decided yet.")

_OUTCOMES = {
    WorkflowExecutionStatus.CANCELED: Outcome.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: Outcome.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: Outcome.TIMED_OUT,
    WorkflowExecutionStatus.FAILED: Outcome.FAILED,
}

STUCK_QUERY = "JourneyName IS NOT NULL AND ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL"


async def reconcile(pool: Pool, client: Client) -> int:
    """Close the enrolments whose runs were closed from outside since the last look.

    Returns:
        How many were closed.
    """
    async with pool.acquire() as connection:
        since = await installation.closed_runs_seen(connection)
    looked_at = datetime.now(UTC)
    query = "JourneyName IS NOT NULL AND ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut', 'Failed')"
    if since:
        query += f" AND CloseTime > '{(since - OVERLAP).isoformat()}'"
    closed = 0
    async for run in client.list_workflows(query):
        outcome = _OUTCOMES[run.status] if run.status else Outcome.FAILED
        if (await client.get_workflow_handle(run.id).describe()).status is WorkflowExecutionStatus.RUNNING:
            continue  # Reset: a newer run goes on under the same id.
        async with pool.acquire() as connection:
            if await enrolments.record_closed_run(connection, run.id, outcome):
                closed += 1
                log.warning("a run was closed from outside", run=run.id, outcome=outcome)
    async with pool.acquire() as connection:
        await installation.saw_closed_runs(connection, looked_at)
    return closed


async def ask_providers_to_erase(pool: Pool, client: Client) -> None:
    """Have providers asked to erase what they hold of customers who were erased."""
    async with pool.acquire() as connection:
        customers = await erasure.due(connection)
    for customer in customers:
        await ensure_running(
            client,
            "EraseAtProviders",
            f"erasure-{customer}",
            customer,
            summary=f"Has providers erase what they hold of customer {customer}",
        )
        async with pool.acquire() as connection:
            await erasure.being_asked(connection, customer)


async def settle_uncertain_sends(pool: Pool, client: Client) -> bool:
    """Settle rows nobody comes back to, and have uncertain sends that are due looked into; False if none is."""
    async with pool.acquire() as connection:
        await messages.settle_abandoned(connection)
        UNRESOLVED.set(await uncertain.unresolved(connection))
        if not await uncertain.due(connection):
            return False
    await ensure_running(
        client,
        "ResolveSends",
        RESOLVE_SENDS,
        summary="Settles sends of which nobody knows whether they left",
    )
    return True


async def review_templates(pool: Pool, client: Client) -> bool:
    """Have Twilio told of WhatsApp templates, and asked about them, where that is due; False if it is not."""
    async with pool.acquire() as connection:
        if not await whatsapp.due(connection):
            return False
    await ensure_running(
        client,
        "ReviewTemplates",
        REVIEW_TEMPLATES,
        summary="Has WhatsApp templates reviewed",
    )
    return True


async def count_stuck_runs(_: Pool, client: Client) -> None:
    """Tell how many runs wait for a release that mends them."""
    STUCK.set((await client.count_workflows(STUCK_QUERY)).count)


def _name(duty: Any) -> str:
    return str(getattr(duty, "func", duty).__name__)


@contextlib.asynccontextmanager
async def reconciling(pool: Pool, client: Client, *, tells: bool = False) -> AsyncIterator[None]:
    """Look every few seconds while the context is open.

    Args:
        tells: Whether there is an operators' tool to be told of conversations.
    """
    duties = (
        partial(run_conversations, tells=tells),
        reconcile,
        settle_uncertain_sends,
        ask_providers_to_erase,
        run_campaigns,
        review_templates,
        count_stuck_runs,
    )

    async def look() -> None:
        while True:
            for duty in duties:
                try:
                    await duty(pool, client)
                except (RPCError, *AWAY) as error:
                    log.warning("cannot reconcile now", duty=_name(duty), error=type(error).__name__)
                except Exception:
                    log.exception("reconciling failed unexpectedly", duty=_name(duty))
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        await cancelled(looking)
