"""Notices that the process was paused: by SIGSTOP, by a machine that slept, by a very long garbage collection."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BEATS_EVERY = 0.5
"""Wall seconds between two beats."""

A_PAUSE = 10.0
"""Wall seconds without a beat that are a pause; a busy process misses one for less."""

SETTLES_IN = 2.0
"""Wall seconds after a pause in which what arrives may have been sent before it, or during it."""


@dataclass
class Pulse:
    """A heart that beats while the process runs, and skips beats while it does not."""

    a_pause: float = A_PAUSE
    settles_in: float = SETTLES_IN
    _beat: float = field(default_factory=time.monotonic)
    _resumed: float = float("-inf")

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat while the context is open."""
        heart = asyncio.create_task(self._live())
        try:
            yield
        finally:
            heart.cancel()
            await asyncio.wait({heart})

    def was_just_paused(self) -> bool:
        """Whether nobody knows how old a task is that has just arrived."""
        now = time.monotonic()
        return now - self._beat > self.a_pause or now - self._resumed < self.settles_in

    async def _live(self) -> None:
        self._beat = time.monotonic()
        while True:
            await asyncio.sleep(BEATS_EVERY)
            now = time.monotonic()
            if now - self._beat > self.a_pause:
                self._resumed = now
            self._beat = now
