"""A campaign in Temporal: one run, whatever the number of its recipients. How far it has come is in PostgreSQL."""

from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from domain.campaigns import MAY_BECOME, PRIORITY, CampaignRun, CampaignStatus, Planned, Progress
    from domain.enrolments import AUDITED

TASK_QUEUE = "campaigns"
"""Its own: however many campaigns there are, journeys have their workers' hands to themselves."""

LOW = Priority(priority_key=PRIORITY)

_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))

STRETCH_WITHIN = timedelta(minutes=5)
"""Wall time of one attempt, which hands back after some seconds unless the database is slow."""

HEARD_WITHIN = timedelta(minutes=1)
"""Wall time in which an attempt shows that it lives; longer than a provider's answer takes."""

LOOKS_AGAIN_AFTER = timedelta(minutes=10)
"""Wall time after which a campaign that waits looks into its own rows, which may have been changed beside it."""


def run_id(name: str) -> str:
    """Return the id of a campaign's run: there is one at a time."""
    return f"campaign-{name}"


@workflow.defn(name="Campaign")
class Campaign:
    """Plans, sends, waits and winds up; it can be ended and started again at any moment."""

    @workflow.init
    def __init__(self, start: CampaignRun) -> None:
        self._start = start
        self._status = CampaignStatus.RUNNING
        self._planned = 0
        self._progress: Progress | None = None
        self._changes = 0
        self._waits_until: datetime | None = None

    @workflow.run
    async def run(self, start: CampaignRun) -> str:
        await self._plan()
        while self._status is not CampaignStatus.STOPPED:
            await self._send()
            if self._progress and self._status is CampaignStatus.RUNNING and not self._progress.waiting:
                break
            await self._go_on_anew_if_long()
            due = self._progress.next_due if self._progress else None
            await self._wait(due if self._status is CampaignStatus.RUNNING else None)
        self._progress = await self._do("end_campaign", Progress)
        self._status = self._progress.status
        self._describe()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return f"{self._status}: {_told(self._progress)}"

    async def _plan(self) -> None:
        over = False
        while not over and self._status is not CampaignStatus.STOPPED:
            found: Planned = await self._do("plan_campaign", Planned)
            self._status, self._planned, over = found.status, found.planned, found.over
            self._describe()
            await self._go_on_anew_if_long()
            if found.not_before or self._status is CampaignStatus.PAUSED:
                await self._wait(found.not_before)

    async def _send(self) -> None:
        seen = self._changes
        self._progress = await self._do("send_campaign", Progress)
        if seen == self._changes:
            self._status = self._progress.status
        self._planned = self._progress.planned
        self._describe()

    async def _wait(self, due: datetime | None) -> None:
        """Wait, visibly, until a turn comes (wall time) or an operator changes something."""
        if self._status is CampaignStatus.STOPPED and workflow.patched("a stop is not waited out"):
            # An activity has seen it in the row, before the run was told.
            return
        seen, now = self._changes, workflow.now()
        until = min(due or now + LOOKS_AGAIN_AFTER, now + LOOKS_AGAIN_AFTER)
        if until <= now:
            return
        self._waits_until = due
        self._describe()
        try:
            await workflow.wait_condition(
                lambda: self._changes != seen,
                timeout=until - now,
                timeout_summary=f"waits until {due:%d %b %H:%M:%S} UTC, when the next turn comes"
                if due
                else f"is {self._status}",
            )
        except TimeoutError:
            pass
        finally:
            self._waits_until = None

    async def _go_on_anew_if_long(self) -> None:
        if workflow.info().is_continue_as_new_suggested():
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(self._start)

    async def _do(self, activity: str, result: type[Any], *arguments: Any) -> Any:
        return await workflow.execute_activity(
            activity,
            args=[self._start.campaign, *arguments],
            result_type=result,
            start_to_close_timeout=STRETCH_WITHIN,
            heartbeat_timeout=HEARD_WITHIN,
            retry_policy=_RETRIES,
            priority=LOW,
            summary=self._start.name,
        )

    # What an operator may do.

    @workflow.update
    async def pause(self) -> str:
        """Operator: start no message until `resume`."""
        return await self._change(CampaignStatus.PAUSED)

    @pause.validator
    def _may_pause(self) -> None:
        self._refuse_unless_may(CampaignStatus.PAUSED)

    @workflow.update
    async def resume(self) -> str:
        """Operator: go on after `pause`."""
        return await self._change(CampaignStatus.RUNNING)

    @resume.validator
    def _may_resume(self) -> None:
        self._refuse_unless_may(CampaignStatus.RUNNING)

    @workflow.update
    async def stop(self) -> str:
        """Operator: end it now; whoever still waits gets nothing."""
        return await self._change(CampaignStatus.STOPPED)

    @stop.validator
    def _may_stop(self) -> None:
        self._refuse_unless_may(CampaignStatus.STOPPED)

    def _refuse_unless_may(self, to: CampaignStatus) -> None:
        if self._status not in MAY_BECOME[to]:
            raise ApplicationError(f"the campaign is {self._status}", type="Refused")

    async def _change(self, to: CampaignStatus) -> str:
        update = workflow.current_update_info()
        # What came over HTTP is in the audit log already.
        unheard = (update.name, update.id) if update and not update.id.startswith(AUDITED) else (None, None)
        self._status = await self._do("change_campaign", CampaignStatus, to, *unheard)
        self._changes += 1
        self._describe()
        return self._status

    @workflow.query
    def standing(self) -> dict[str, Any]:
        """Return how far it has come."""
        return {
            "status": self._status,
            "planned": self._planned,
            "waiting": self._progress.waiting if self._progress else self._planned,
            "done": self._progress.done if self._progress else {},
            "next_due": self._waits_until.isoformat() if self._waits_until else None,
        }

    def _describe(self) -> None:
        """Tell in the Temporal UI, in words, how far it has come."""
        lines = [f"**{self._start.name}:** {self._status}"]
        if self._progress is None:
            lines.append(f"**Finding its recipients:** {self._planned:,} so far")
        else:
            lines.append(_told(self._progress))
        if self._waits_until:
            lines.append(f"**The next turn comes** {self._waits_until:%Y-%m-%d %H:%M:%S} UTC")
        workflow.set_current_details("\n\n".join(lines))


def _told(progress: Progress) -> str:
    done = sum(progress.done.values())
    share = f" ({done / progress.planned:.0%})" if progress.planned else ""
    parts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(progress.done.items()))
    return f"done with {done:,} of {progress.planned:,}{share}" + (f": {parts}" if parts else "")
