"""After an erasure: every provider that was used is asked to erase what it holds. One run for each customer."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

ASKED_FOR = timedelta(days=30)
"""Wall time for which a provider is asked that does not do it: the law gives a month (GDPR, article 12, 3)."""

_OWN = RetryPolicy(maximum_interval=timedelta(minutes=1))
_PROVIDERS = RetryPolicy(initial_interval=timedelta(minutes=1), maximum_interval=timedelta(days=1))
# Nobody waits for it, and customers wait for their messages.
_LAST = Priority(priority_key=5)


@workflow.defn
class EraseAtProviders:
    """Asks providers until nothing is left to ask, and gives up what none does in a month."""

    @workflow.run
    async def run(self, customer: int) -> None:
        """Ask for everything they hold of an erased customer."""
        while numbers := await self._to_ask_for(customer):
            await asyncio.gather(*(self._ask(number) for number in numbers))

    async def _to_ask_for(self, customer: int) -> list[int]:
        numbers: list[int] = await workflow.execute_activity(
            "erasures_to_ask_for",
            customer,
            result_type=list[int],
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=_OWN,
            priority=_LAST,
        )
        return numbers

    async def _ask(self, number: int) -> None:
        try:
            await workflow.execute_activity(
                "erase_at_provider",
                number,
                start_to_close_timeout=timedelta(seconds=30),
                schedule_to_close_timeout=ASKED_FOR,
                retry_policy=_PROVIDERS,
                priority=_LAST,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await workflow.execute_activity(
                "give_up_erasure",
                number,
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=_OWN,
                priority=_LAST,
            )
