"""Our own two programs with the journeys of the torture beside those that ship.

``python -m cli.torture.processes`` is the worker; ``cli.torture.processes:create_app`` is the API.

With ``TORTURE_HASTY`` set, uncertain sends are settled in a quarter of the time: for the short form among the tests,
where providers are the sandbox, which calls back and answers at once.
"""

import os
from datetime import timedelta

from fastapi import FastAPI

import api.app
import worker
from activities import resolve
from cli.torture.journeys import JOURNEYS
from workflows.enabled import JOURNEYS as SHIPPED

ALL = (*SHIPPED, *JOURNEYS)


def create_app() -> FastAPI:
    """Build the API."""
    return api.app.create_app(ALL)


def hurry() -> None:
    """Have patience with providers as the sandbox needs it, not as real ones do."""
    # Still longer than the call of the slowest provider of the storm may be under way.
    resolve.ABSENT_AFTER = resolve.CALLBACK_WITHIN = timedelta(seconds=15)
    # Still longer than asking and handing over together.
    resolve.LEASE = timedelta(seconds=32)


if __name__ == "__main__":
    if os.environ.get("TORTURE_HASTY"):
        hurry()
    worker.main(ALL)
