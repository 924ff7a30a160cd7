"""Journeys come first: whoever has time looks here whether they wait for anything."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from dispatch.runs import RPC_TIMEOUT, TASK_QUEUE
from store import events
from store.database import Pool

LATE = timedelta(seconds=1)
"""Wall time an event may wait for dispatch, or a journey's task for a worker, before others stand aside."""

HOPELESS = timedelta(minutes=5)
"""Wall time after which an event waits for something else than our time, such as somebody who mends its journey."""

LOOKS_EVERY = 0.5
"""Wall seconds for which an answer holds."""


@dataclass
class Courtesy:
    """Tells whether journeys wait; one for all who ask in a process."""

    pool: Pool
    client: Client
    _answer: bool = False
    _looked_at: float = field(default=float("-inf"))
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def journeys_wait(self) -> bool:
        """Whether an event waits for its dispatch, or a run or a message for a worker, for longer than is usual.

        They do as long as Temporal does not say.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at > LOOKS_EVERY:
                self._answer = await self._look()
                self._looked_at = time.monotonic()
            return self._answer

    async def _look(self) -> bool:
        async with self.pool.acquire() as connection:
            if await events.has_waited(connection, LATE, HOPELESS):
                return True
        kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
        try:
            ages = await asyncio.gather(*(self._backlog_age(kind) for kind in kinds))
        except RPCError:
            return True
        return max(ages) > LATE

    async def _backlog_age(self, kind: "TaskQueueType.ValueType") -> timedelta:
        """Return for how long the oldest task of journeys has waited for a worker."""
        request = DescribeTaskQueueRequest(
            namespace=self.client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE),
            task_queue_type=kind,
            report_stats=True,
        )
        answer = await self.client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        return answer.stats.approximate_backlog_age.ToTimedelta()
