"""Has done what is to be done about conversations: each has a run while there is something."""

import contextlib

from temporalio.client import Client
from temporalio.service import RPCError

from dispatch.runs import ensure_running
from store import conversations
from store.database import Pool


async def hurry(client: Client, conversation: int) -> None:
    """Have it done at once; where Temporal is away, the reconciler's next look makes up for it."""
    with contextlib.suppress(RPCError):
        await _run(client, conversation)


async def run_conversations(pool: Pool, client: Client, *, tells: bool = True) -> None:
    """Have a run for every conversation about which something is to be done.

    Args:
        tells: Whether there is an operators' tool to be told.
    """
    async with pool.acquire() as connection:
        due = await conversations.due(connection, tells=tells)
    for conversation in due:
        await _run(client, conversation)


async def _run(client: Client, conversation: int) -> None:
    await ensure_running(
        client,
        "Converse",
        f"conversation-{conversation}",
        conversation,
        summary=f"Tells the operators' tool of conversation {conversation}, and sends what they answer",
    )
