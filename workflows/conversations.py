"""What is to be done about conversations: tell the operators' tool, send what operators answer."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain.conversations import Errand

WITHIN = {Errand.TELL: timedelta(hours=24), Errand.ANSWER: timedelta(hours=1)}
"""Wall time for which one thing is tried: what a tool has missed can be read over HTTP; an answer that late is none."""

_DOES = {Errand.TELL: "tell_operators", Errand.ANSWER: "send_answer"}
_GIVES_UP = {Errand.TELL: "not_told", Errand.ANSWER: "not_answered"}
_RETRIES = {
    Errand.TELL: RetryPolicy(initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=15)),
    Errand.ANSWER: RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)),
}
_OWN = RetryPolicy(maximum_interval=timedelta(minutes=1))
# Somebody waits for it.
_FIRST = Priority(priority_key=1)


@workflow.defn
class Converse:
    """Does one kind of errand for one conversation, in order, and ends when none is left; holds numbers only.

    Each kind has a run of its own: a tool that is away does not keep answers from leaving.
    """

    def __init__(self) -> None:
        self._more = False

    @workflow.run
    async def run(self, conversation: int, errand: Errand) -> None:
        """Do what is to be done."""
        while True:
            self._more = False
            numbers = await self._due(conversation, errand)
            for number in numbers:
                await self._do(errand, number)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(args=[conversation, errand])
            if not numbers and not self._more:
                return

    @workflow.signal
    def more(self) -> None:
        """There is something new to do: a run that is about to end looks once more."""
        self._more = True

    async def _due(self, conversation: int, errand: Errand) -> list[int]:
        numbers: list[int] = await workflow.execute_activity(
            "errands",
            args=[conversation, errand],
            result_type=list[int],
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_OWN,
            priority=_FIRST,
        )
        return numbers

    async def _do(self, errand: Errand, number: int) -> None:
        try:
            await workflow.execute_activity(
                _DOES[errand],
                number,
                start_to_close_timeout=timedelta(seconds=30),
                schedule_to_close_timeout=WITHIN[errand],
                retry_policy=_RETRIES[errand],
                priority=_FIRST,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await workflow.execute_activity(
                _GIVES_UP[errand],
                number,
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=_OWN,
                priority=_FIRST,
            )
