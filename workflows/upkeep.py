"""Workflows that no customer is in: what an installation does for itself."""

from collections import Counter
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from domain.uncertain import Resolution, Round

RESOLVE_SENDS = "resolve-sends"
"""The one id of the workflow: there is never more than one."""

REVIEW_TEMPLATES = "review-templates"
"""The one id of the workflow."""

_SPOKEN = {
    Resolution.FOUND: "found at their providers",
    Resolution.NOT_TAKEN: "never taken by their providers",
    Resolution.SENT_AGAIN: "transactional and sent once more",
    Resolution.ASSUMED_SENT: "taken to have left, as nobody can tell",
}


@workflow.defn
class ResolveSends:
    """Settles the sends of which nobody knows whether they left; ends when none is due.

    Started when some are due, so an installation without any pays nothing. What is to be asked about
    later is left to the next start.
    """

    def __init__(self) -> None:
        self._looked = 0
        self._settled: Counter[Resolution] = Counter()

    @workflow.run
    async def run(self) -> Round:
        """Work round by round, and tell of it in the Temporal UI."""
        self._describe()
        while True:
            done: Round = await workflow.execute_activity(
                "resolve_sends",
                result_type=Round,
                start_to_close_timeout=timedelta(minutes=3),
                heartbeat_timeout=timedelta(minutes=1),
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
                summary="looks into uncertain sends",
            )
            self._looked += done.looked
            self._settled.update(done.settled)
            self._describe()
            if not done.more:
                return Round(looked=self._looked, settled=dict(self._settled), more=False)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new()

    def _describe(self) -> None:
        lines = [f"**Uncertain sends looked into:** {self._looked}"]
        lines += [f"**{count}** {_SPOKEN[by]}" for by, count in sorted(self._settled.items())]
        lines.append(
            f"**{self._looked - self._settled.total()}** settled by a callback meanwhile, or to be looked into again"
        )
        workflow.set_current_details("\n\n".join(lines))


@workflow.defn
class ReviewTemplates:
    """Has WhatsApp's templates reviewed and learns what became of them; ends when none is due.

    Started when some are due. What is to be asked about later is left to the next start.
    """

    @workflow.run
    async def run(self) -> int:
        """Go through them round by round; returns how many were looked at."""
        looked = 0
        while True:
            count: int = await workflow.execute_activity(
                "review_templates",
                result_type=int,
                start_to_close_timeout=timedelta(minutes=3),
                heartbeat_timeout=timedelta(minutes=1),
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
                summary="submits WhatsApp templates and asks about their review",
            )
            looked += count
            workflow.set_current_details(f"**Templates looked at:** {looked}")
            if count == 0:
                return looked
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new()
