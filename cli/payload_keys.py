"""`journeys payload-keys`: which of the keys that encrypt Temporal's payloads are still needed."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.service import RPCError

from cli.commands import fail
from dispatch.codec import PayloadKeysWrong, key_id_of, payload_codec
from dispatch.temporal import connect

WHERE = "Speaks to Temporal as a worker does: TEMPORAL_ADDRESS and so on, and JOURNEYS_PAYLOAD_KEYS."

AT_ONCE = 20
"""Histories fetched at the same time."""

console = Console()


def payload_keys() -> None:
    """List the keys that encrypt what Temporal keeps, and how many runs under way need each.

    A key that no run under way needs, and that is not the first, can be removed from JOURNEYS_PAYLOAD_KEYS; of runs
    that are over, what it encrypted can then not be read any more.

    Example: journeys payload-keys
    """
    try:
        codec = payload_codec()
        needed = asyncio.run(_needed())
    except PayloadKeysWrong as error:
        fail(str(error))
    except (RPCError, RuntimeError) as error:
        fail(f"Temporal does not answer: {type(error).__name__}")
    known = codec.key_ids if codec else []
    table = Table()
    for column in ("key", "is", "runs under way that need it"):
        table.add_column(column)
    for place, key_id in enumerate(known):
        table.add_row(key_id, "encrypts and decrypts" if place == 0 else "decrypts", str(needed[key_id]))
    for key_id in sorted(needed.keys() - set(known)):
        table.add_row(key_id, "[red]missing[/red]", str(needed[key_id]))
    console.print(table)
    if needed.keys() - set(known):
        raise typer.Exit(1)


async def _needed() -> Counter[str]:
    """Count the runs under way by the keys in their histories."""
    client = await connect()
    room, counted = asyncio.Semaphore(AT_ONCE), Counter[str]()

    async def count(run: Any) -> None:
        async with room:
            counted.update(await _keys_in(client, run.id, run.run_id))

    async with asyncio.TaskGroup() as group:
        async for run in client.list_workflows("ExecutionStatus = 'Running'"):
            group.create_task(count(run))
    return counted


async def _keys_in(client: Client, workflow_id: str, run_id: str) -> set[str]:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    return {
        key_id
        async for event in handle.fetch_history_events()
        for payload in payloads_of(event)
        if (key_id := key_id_of(payload)) is not None
    }


def payloads_of(message: Message) -> Iterator[Payload]:
    """Yield every payload in a message of Temporal's, wherever it is in it."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = [each for each in value.values() if isinstance(each, Message)]
        else:
            values = list(value) if field.is_repeated else [value]
        for each in values:
            yield from payloads_of(each)
