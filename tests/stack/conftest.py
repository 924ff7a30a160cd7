"""Stacks of the two parts that need nothing of the product, in data directories of their own."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cli.stack import EmbeddedStack, Part

PROJECT = Path(__file__).parents[2]


@dataclass
class Kept:
    """A stack kept by a process of its own."""

    process: subprocess.Popen[str]
    pids: dict[str, int]
    database_url: str

    def everything(self) -> list[psutil.Process]:
        """Return the parts and all that they have started."""
        parts = [psutil.Process(pid) for pid in self.pids.values()]
        return [*parts, *(child for part in parts for child in part.children(recursive=True))]


Keep = Callable[[Path], Kept]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    async with EmbeddedStack(tmp_path / "data", parts={Part.POSTGRES}, durable=False) as stack:
        yield stack


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Start keepers, and end at last those that still run."""
    kept: list[Kept] = []

    def start(data: Path) -> Kept:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.keeper", str(data)],
            cwd=PROJECT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told = json.loads(line)
        kept.append(Kept(process, told["pids"], told["url"]))
        return kept[-1]

    yield start
    for one in kept:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
        one.process.communicate()
