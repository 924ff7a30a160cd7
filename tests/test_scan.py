"""`make check` says whether a dependency has a known vulnerability, and never that it has none without having asked."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.stack.ports import free_port

PROJECT = Path(__file__).parents[1]
SCAN = PROJECT / ".ci" / "scan.py"
PINNED = "idna==3.10 \\\n    --hash=sha256:{0}\nsniffio==1.3.1 \\\n    --hash=sha256:{0}\n".format("0" * 64)


class Database:
    """Answers as OSV does; `vulnerable` are the packages it warns of."""

    def __init__(self) -> None:
        self.vulnerable: set[str] = set()
        self.asked: list[str] = []
        database = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
                database.asked.append(name)
                body = json.dumps(database.answer(name)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/query"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, name: str) -> dict[str, Any]:
        if name not in self.vulnerable:
            return {}
        fixed = {"events": [{"introduced": "0"}, {"fixed": "9.9"}], "type": "ECOSYSTEM"}
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [fixed], "versions": ["1.3.1"]}]
        return {
            "vulns": [{"id": "PYSEC-2026-1", "summary": "It leaks.", "affected": affected, "modified": "2026-01-01"}]
        }

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def database() -> Iterator[Database]:
    """A database of vulnerabilities on this machine."""
    database = Database()
    yield database
    database.close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Two dependencies."""
    file = tmp_path / "requirements.lock"
    file.write_text(f"# what is pinned\n{PINNED}")
    return file


async def scan(url: str, *files: Path, required: bool = False) -> tuple[int, str]:
    environment = {**os.environ, "JOURNEYS_REQUIRE_SCAN": "1" if required else ""}
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCAN), "--osv-url", url, *map(str, files)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await run.communicate()
    assert run.returncode is not None
    return run.returncode, said.decode()


async def test_dependencies_without_known_vulnerabilities_pass(database: Database, lock: Path) -> None:
    code, said = await scan(database.url, lock, required=True)
    assert (code, said) == (0, "Scanned 2 dependencies, found 0 vulnerabilities.\n")
    assert {"idna", "sniffio"} <= set(database.asked)


async def test_a_known_vulnerability_fails_the_check_and_is_named(database: Database, lock: Path) -> None:
    database.vulnerable.add("sniffio")
    code, said = await scan(database.url, lock)
    assert code == 1
    assert "VULNERABLE: sniffio 1.3.1: PYSEC-2026-1" in said


@pytest.mark.parametrize("required", [False, True])
async def test_where_nobody_can_be_asked_nothing_is_pretended(lock: Path, required: bool) -> None:
    code, said = await scan(f"http://127.0.0.1:{free_port()}/v1/query", lock, required=required)
    assert code == int(required)
    assert "NOT SCANNED" in said
    assert "found 0" not in said


async def test_both_locks_of_the_project_are_scanned(database: Database) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    locks = [PROJECT / "requirements.lock", PROJECT / "requirements-dev.lock"]
    assert f".ci/scan.py {' '.join(lock.name for lock in locks)}" in makefile
    database.vulnerable.add("asyncpg")
    code, said = await scan(database.url, *locks)
    assert code == 1
    assert "VULNERABLE: asyncpg" in said
    assert "pytest" in database.asked
