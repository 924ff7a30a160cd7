"""Our own two processes, with the measured journeys in place of those that ship.

``python -m bench.processes worker``, or ``api PORT``; ``bench.processes:create_app`` is the API too.
"""

import sys

import uvicorn
from fastapi import FastAPI

import api.app
import worker
from bench.story import Prompt, Round

MEASURED = (Round, Prompt)


def create_app() -> FastAPI:
    """Build the API."""
    return api.app.create_app(MEASURED)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker.main(MEASURED)
    else:
        uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
