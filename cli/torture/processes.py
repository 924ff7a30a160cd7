"""Our own two programs with the journeys of the torture beside those that ship.

``python -m cli.torture.processes`` is the worker; ``cli.torture.processes:create_app`` is the API.
"""

from fastapi import FastAPI

import api.app
import worker
from cli.torture.journeys import JOURNEYS
from workflows.enabled import JOURNEYS as SHIPPED

ALL = (*SHIPPED, *JOURNEYS)


def create_app() -> FastAPI:
    """Build the API."""
    return api.app.create_app(ALL)


if __name__ == "__main__":
    worker.main(ALL)
