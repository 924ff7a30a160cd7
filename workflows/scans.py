"""Segments in Temporal: a look every minute at whoever may have moved, and scans of everybody."""

import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from domain.segments import Look, Scan, ScanProgress

TASK_QUEUE = "segments"
"""Its own: whatever segments ask for, journeys have their workers' hands to themselves."""

LOW = Priority(priority_key=5)

_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))

STRETCH_WITHIN = timedelta(minutes=10)
"""Wall time of one attempt, which hands back after some seconds unless dispatch or the database is slow."""

HEARD_WITHIN = timedelta(seconds=20)
"""Wall time in which an attempt shows that it lives; longer than a statement takes."""

BASIS_WITHIN = timedelta(minutes=15)


def scan_id(segment: str) -> str:
    """Return the id of a segment's scan: there is one at a time."""
    return f"segment-scan-{segment}"


@workflow.defn(name="SegmentLook")
class SegmentLook:
    """Looks at everybody to whom something happened, and for whom time alone may have changed a segment."""

    @workflow.run
    async def run(self) -> None:
        examined, more = 0, True
        while more and not workflow.info().is_continue_as_new_suggested():
            look = await workflow.execute_activity(
                "look_at_touched",
                result_type=Look,
                start_to_close_timeout=STRETCH_WITHIN,
                heartbeat_timeout=HEARD_WITHIN,
                retry_policy=_RETRIES,
                priority=LOW,
                summary="customers something happened to, or time may have moved",
            )
            examined, more = examined + look.examined, look.more
            workflow.set_current_details(f"**Looked at:** {examined:,} customers")
            for segment in look.to_scan:
                await self._scan(segment)

    async def _scan(self, segment: str) -> None:
        """Have everybody looked at, beside this and after its end."""
        # Where one is under way by an older definition, it ends, and the next look begins another.
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await workflow.start_child_workflow(
                "SegmentScan",
                Scan(segment=segment),
                id=scan_id(segment),
                parent_close_policy=ParentClosePolicy.ABANDON,
                priority=LOW,
                static_summary=f"everybody by the segment {segment}",
            )


@workflow.defn(name="SegmentScan")
class SegmentScan:
    """Looks at everybody by one segment. How far it has come is kept in PostgreSQL."""

    @workflow.run
    async def run(self, scan: Scan) -> str:
        evaluation = scan.evaluation or await workflow.execute_activity(
            "begin_segment_scan",
            scan,
            result_type=int,
            start_to_close_timeout=BASIS_WITHIN,
            retry_policy=_RETRIES,
            priority=LOW,
            summary=scan.segment,
        )
        if not evaluation:
            return f"there is no segment {scan.segment}"
        while True:
            progress = await workflow.execute_activity(
                "scan_segment",
                evaluation,
                result_type=ScanProgress,
                start_to_close_timeout=STRETCH_WITHIN,
                heartbeat_timeout=HEARD_WITHIN,
                retry_policy=_RETRIES,
                priority=LOW,
                summary=scan.segment,
            )
            told = (
                f"{progress.examined:,} customers looked at, {progress.entered:,} entered, {progress.departed:,} left"
            )
            workflow.set_current_details(f"**{scan.segment}:** {told}")
            if progress.over:
                return told
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(scan.model_copy(update={"evaluation": evaluation}))
