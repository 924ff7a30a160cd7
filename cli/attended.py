"""Runs something on the embedded stack for as long as all of the stack lives."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cli.stack import EmbeddedStack

T = TypeVar("T")


async def while_whole(stack: "EmbeddedStack", main: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns, unless a part of the stack ends meanwhile.

    Raises:
        PartDied: Which one; the coroutine has been cancelled.
    """
    task = asyncio.ensure_future(main)
    death = asyncio.ensure_future(stack.failure())
    try:
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise death.result()
        return task.result()
    finally:
        for each in (task, death):
            each.cancel()
        await asyncio.wait({task, death})
