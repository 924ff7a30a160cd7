"""Has providers erase what they hold of customers who were erased; what each answered is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.speechless import speechless
from channels.protocol import Eraser, NotProcessed, Refused, Uncertain
from store import erasure
from store.database import Pool

AT_ONCE = 200
"""Most requests a run has under way."""


@dataclass(frozen=True)
class Erase:
    """Asks providers to erase; made once per worker.

    Attributes:
        erasers: By the provider's name.
    """

    pool: Pool
    erasers: Mapping[str, Eraser]

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """All of them, for the worker."""
        return [self.erasures_to_ask_for, self.erase_at_provider, self.give_up_erasure]

    @activity.defn
    async def erasures_to_ask_for(self, customer: int) -> list[int]:
        """Return what providers are still to be asked; when nothing is left, the erasure is complete."""
        with speechless():
            async with self.pool.acquire() as connection:
                return await erasure.requests(connection, customer, AT_ONCE)

    @activity.defn
    async def erase_at_provider(self, number: int) -> None:
        """Ask a provider once, and keep its answer.

        Raises:
            ApplicationError: It is to be asked again.
        """
        with speechless():
            async with self.pool.acquire() as connection:
                request = await erasure.attempt(connection, number)
            if request is None:
                return
            eraser = self.erasers.get(request.provider)
            if eraser is None:
                # Calls went through Twilio once, and do not any more.
                await self._answered(number, "cannot: it is not configured any more", done=True)
                return
            try:
                answer = await eraser.erase(request.subject)
            except Refused as refused:
                await self._answered(number, f"refused: {refused.code}", done=True)
            except (NotProcessed, Uncertain) as error:
                await self._answered(number, f"not yet: {error.code}", done=False)
                raise ApplicationError(error.code, type="NotYet", next_retry_delay=_pause(error)) from None
            else:
                await self._answered(number, answer, done=True)

    @activity.defn
    async def give_up_erasure(self, number: int) -> None:
        """Ask no more; the provider's last answer stays to be seen."""
        with speechless():
            async with self.pool.acquire() as connection:
                await erasure.give_up(connection, number)

    async def _answered(self, number: int, answer: str, *, done: bool) -> None:
        async with self.pool.acquire() as connection:
            await erasure.answered(connection, number, answer, done=done)


def _pause(error: NotProcessed | Uncertain) -> timedelta | None:
    return error.retry_after if isinstance(error, NotProcessed) else None
