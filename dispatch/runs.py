"""Starts runs and signals them; says of a failure whether it is the event's or Temporal's."""

import contextlib
from collections.abc import Sequence
from datetime import timedelta

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

# What Temporal refuses for what it is; anything else passes.
_HOPELESS = {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.OUT_OF_RANGE}


class TemporalAway(Exception):
    """Temporal cannot be reached, or cannot do it now; to be tried again."""


class Undispatchable(Exception):
    """Temporal refuses this for good."""


async def perform(client: Client, actions: Sequence[StartRun | Signal]) -> None:
    """Perform actions in order; performing them again does nothing new.

    Raises:
        TemporalAway: To be tried again, all of them.
        Undispatchable: Trying again would not help.
    """
    for action in actions:
        try:
            if isinstance(action, StartRun):
                await _start(client, action)
            else:
                await _signal(client, action)
        except RPCError as error:
            if error.status in _HOPELESS:
                raise Undispatchable(f"Temporal refuses it: {error.status.name}") from error
            raise TemporalAway(error.status.name) from error


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


async def _signal(client: Client, action: Signal) -> None:
    try:
        await client.get_workflow_handle(action.workflow_id).signal(
            action.name, action.argument, rpc_timeout=RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        # The run is over; there is nobody left to tell.
