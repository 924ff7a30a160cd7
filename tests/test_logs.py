"""What is logged says where and what kind, and never repeats what a customer typed."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, structlog, uvicorn, logs
uvicorn.Config("api.app:create_app")
logs.configure()
log = structlog.get_logger()
log.info("working", journeys=["A"])
log.debug("too much")
def read(value):
    return int(value)
try:
    read("ada@example.com")
except ValueError:
    log.exception("failed")
    logging.getLogger("library").exception("library failed")
    logging.getLogger("uvicorn.error").exception("server failed")
logging.getLogger("uvicorn.access").warning('"GET /v1/customers/ada@example.com" 200')
logging.getLogger("library").info("to ada@example.com")
"""


def test_lines_are_json_and_hold_no_values() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert "ada@example.com" not in done.stderr
    assert done.stdout == ""
    working, failed, library, server = map(json.loads, done.stderr.splitlines())
    assert (working["event"], working["level"], working["journeys"]) == ("working", "info", ["A"])
    assert failed["error"] == library["error"] == server["error"] == "ValueError"
    assert failed["trace"][-1].endswith(" read")
    assert library["logger"] == "library"
