"""Has done what is to be done about conversations: each kind of errand has a run while there is one."""

import contextlib

from temporalio.client import Client
from temporalio.service import RPCError

from dispatch.runs import ensure_running
from domain.conversations import Errand
from store import conversations
from store.database import Pool

_SPOKEN = {
    Errand.TELL: "Tells the operators' tool of conversation {}",
    Errand.ANSWER: "Sends what operators answer in conversation {}",
}


async def hurry(client: Client, conversation: int, *errands: Errand) -> None:
    """Have errands done at once; where Temporal is away, the reconciler's next look makes up for it."""
    with contextlib.suppress(RPCError):
        for errand in errands:
            await _run(client, conversation, errand, signal="more")


async def run_conversations(pool: Pool, client: Client, *, tells: bool = True) -> None:
    """Have a run for every errand that is to be done.

    Args:
        tells: Whether there is an operators' tool to be told.
    """
    async with pool.acquire() as connection:
        due = await conversations.due(connection, tells=tells)
    for conversation, errand in due:
        # Without a signal: one that is tried again for hours is not to hear of it every few seconds.
        await _run(client, conversation, errand)


async def _run(client: Client, conversation: int, errand: Errand, *, signal: str | None = None) -> None:
    await ensure_running(
        client,
        "Converse",
        f"conversation-{conversation}-{errand}",
        conversation,
        errand,
        summary=_SPOKEN[errand].format(conversation),
        signal=signal,
    )
