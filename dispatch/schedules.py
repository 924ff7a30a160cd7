"""What Temporal begins by itself, and what is begun beside it: looks at customers' segments, and scans of all."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from dispatch.runs import RPC_TIMEOUT
from domain.clock import Clock
from domain.segments import Scan
from workflows.scans import LOW, TASK_QUEUE, scan_id

LOOKS = "segment-looks"
"""Id of the schedule."""

LOOK_EVERY = timedelta(minutes=1)
"""Journey time."""

MOST_OFTEN = timedelta(seconds=5)
"""Wall time between two looks at the least, however fast journey time runs."""


async def schedule_looks(client: Client, clock: Clock) -> None:
    """Have customers looked at for as long as the installation lives; doing it again changes nothing.

    Raises:
        RPCError: Temporal cannot do it now.
    """
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            "SegmentLook",
            id="segment-look",
            task_queue=TASK_QUEUE,
            priority=LOW,
            static_summary="customers who may have entered or left a segment",
        ),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=max(clock.wall_duration(LOOK_EVERY), MOST_OFTEN))],
        ),
        # One look at a time, and one after an absence finds all there is.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)),
    )
    try:
        await client.create_schedule(LOOKS, schedule, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(LOOKS).update(
            lambda known: _with_state(known, schedule), rpc_timeout=RPC_TIMEOUT
        )


def _with_state(known: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    """Keep what operators may have changed: that it is paused, and why."""
    wanted.state = known.description.schedule.state
    return ScheduleUpdate(wanted)


async def begin_scan(client: Client, segment: str, asked_by: str) -> str | None:
    """Have everybody looked at by a segment.

    Returns:
        The id of the run; None if one is under way.

    Raises:
        RPCError: Temporal cannot do it now.
    """
    try:
        await client.start_workflow(
            "SegmentScan",
            Scan(segment=segment, asked_by=asked_by),
            id=scan_id(segment),
            task_queue=TASK_QUEUE,
            priority=LOW,
            static_summary=f"everybody by the segment {segment}",
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return None
    return scan_id(segment)
