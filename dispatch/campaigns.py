"""Campaigns' runs: each that has begun and not ended has one; what is lost on the way is made up for here."""

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from dispatch.runs import RPC_TIMEOUT
from domain.campaigns import CampaignRun
from store import campaigns
from store.campaigns import Kept
from store.database import Pool
from workflows.campaigns import LOW, TASK_QUEUE, run_id


async def run_campaign(client: Client, campaign: Kept) -> None:
    """Start a campaign's run, unless one is under way.

    Raises:
        RPCError: Temporal does not do it now; the next look tries again.
    """
    await client.start_workflow(
        "Campaign",
        CampaignRun(campaign=campaign.id, name=campaign.form.name),
        id=run_id(campaign.form.name),
        task_queue=TASK_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        priority=LOW,
        static_summary=f"The campaign {campaign.form.name}, to the segment {campaign.form.segment}",
        rpc_timeout=RPC_TIMEOUT,
    )


async def run_campaigns(pool: Pool, client: Client) -> None:
    """Have every campaign run that has begun and not ended: its run may never have started, or been terminated."""
    async with pool.acquire() as connection:
        running = await campaigns.with_work_left(connection)
    for campaign in running:
        await run_campaign(client, campaign)
