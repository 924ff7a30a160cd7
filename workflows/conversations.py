"""What is to be done about one conversation: tell the operators' tool, send what operators answer."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain.conversations import Work

TOLD_FOR = timedelta(hours=24)
"""Wall time for which a tool is told again that does not answer; what it missed can be read over HTTP."""

ANSWERED_FOR = timedelta(hours=1)
"""Wall time for which an answer is tried that certainly has not left."""

_OWN = RetryPolicy(maximum_interval=timedelta(minutes=1))
_TOOL = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=15))
_PROVIDER = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))
# Somebody waits for it.
_FIRST = Priority(priority_key=1)


@workflow.defn
class Converse:
    """Works off what is to be done, each in its order, and ends when nothing is; holds numbers only."""

    @workflow.run
    async def run(self, conversation: int) -> None:
        """Tell and answer until nothing is left."""
        while (work := await self._work(conversation)).notices or work.answers:
            # A tool that is away does not keep answers from leaving.
            await asyncio.gather(
                self._each("tell_operators", work.notices, TOLD_FOR, _TOOL, "not_told"),
                self._each("send_answer", work.answers, ANSWERED_FOR, _PROVIDER, "not_answered"),
            )

    async def _work(self, conversation: int) -> Work:
        work: Work = await workflow.execute_activity(
            "conversation_work",
            conversation,
            result_type=Work,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_OWN,
            priority=_FIRST,
        )
        return work

    async def _each(
        self, activity: str, numbers: Sequence[Any], within: timedelta, retry: RetryPolicy, otherwise: str
    ) -> None:
        for number in numbers:
            try:
                await workflow.execute_activity(
                    activity,
                    number,
                    start_to_close_timeout=timedelta(seconds=30),
                    schedule_to_close_timeout=within,
                    retry_policy=retry,
                    priority=_FIRST,
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                await workflow.execute_activity(
                    otherwise, number, start_to_close_timeout=timedelta(seconds=10), retry_policy=_OWN, priority=_FIRST
                )
