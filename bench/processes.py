"""Our own two processes, with the measured journey in place of those that ship.

``python -m bench.processes worker``, or ``api PORT``.
"""

import sys

import uvicorn

import worker
from api.app import create_app
from bench.story import Round

if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker.main([Round])
    else:
        uvicorn.run(create_app([Round]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
