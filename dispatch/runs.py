"""Starts runs and signals them; says of a failure whether it is the event's or Temporal's."""

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from dispatch.plan import Signal, StartRun

TASK_QUEUE = "journeys"
RPC_TIMEOUT = timedelta(seconds=5)

JOURNEY = SearchAttributeKey.for_keyword("JourneyName")
CUSTOMER = SearchAttributeKey.for_keyword("CustomerNumber")

# What Temporal refuses for what it is.
_HOPELESS = {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE}
_AWAY = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED}


class TemporalAway(Exception):
    """Temporal cannot be reached: nobody's events can be forwarded now."""


class NotNow(Exception):
    """Temporal cannot do this now; to be tried again, while other customers' events go on."""


class Undispatchable(Exception):
    """Temporal refuses this for good."""


async def perform(client: Client, actions: Sequence[StartRun | Signal]) -> list[Signal]:
    """Perform actions in order; performing them again does nothing new.

    Returns:
        The signals there was no run for: it is over, or was never started.

    Raises:
        TemporalAway, NotNow: To be tried again, all of them.
        Undispatchable: Trying again would not help.
    """
    unheard = []
    for action in actions:
        try:
            if isinstance(action, StartRun):
                await _start(client, action)
            elif not await _signal(client, action):
                unheard.append(action)
        except RPCError as error:
            if error.status in _HOPELESS:
                raise Undispatchable(f"Temporal refuses it: {error.status.name}") from error
            if error.status in _AWAY:
                raise TemporalAway(error.status.name) from error
            raise NotNow(error.status.name) from error
    return unheard


async def ensure_running(
    client: Client, workflow: str, workflow_id: str, *arguments: Any, summary: str, signal: str | None = None
) -> None:
    """Start a run of the installation's own upkeep, unless one is under way under this id.

    Args:
        workflow: Its name.
        signal: What the run is told, whether it is new or under way; so one that is about to end does not miss it.

    Raises:
        RPCError: Temporal does not do it now; the next look tries again.
    """
    await client.start_workflow(
        workflow,
        args=arguments,
        id=workflow_id,
        task_queue=TASK_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=summary,
        start_signal=signal,
        rpc_timeout=RPC_TIMEOUT,
    )


async def _start(client: Client, action: StartRun) -> None:
    start = action.start
    # It may have been started by an earlier try whose answer was lost.
    with contextlib.suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            action.declaration.name,
            start,
            id=action.workflow_id,
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            static_summary=f"{action.declaration.name} of customer {start.customer}, since {start.trigger.name}",
            static_details=action.declaration.story,
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(JOURNEY, action.declaration.name),
                    SearchAttributePair(CUSTOMER, str(start.customer)),
                ]
            ),
            rpc_timeout=RPC_TIMEOUT,
        )


async def _signal(client: Client, action: Signal) -> bool:
    try:
        await client.get_workflow_handle(action.workflow_id).signal(
            action.name, action.argument, rpc_timeout=RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True
