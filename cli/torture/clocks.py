"""Wall clocks that go wrong: every process of ours reads its own, and it can jump while the process runs."""

import asyncio
import contextlib
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from cli.torture.errors import NotPossibleHere

_SOURCE = Path(__file__).with_name("clock.c")
_PROBE_SKEW = 3600.0


class Clocks:
    """Every part's clock, right until it is set.

    Attributes:
        environment: Variables that give a process its own clock; ``{part}`` in them is the part's name.
    """

    def __init__(self, directory: Path, library: Path) -> None:
        self._directory = directory
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "SKEWED_CLOCK": str(directory / "{part}"),
        }
        self._skewed: dict[str, float] = {}
        self.worst: dict[str, float] = {}

    def set(self, part: str, seconds: float) -> None:
        """Let a part's wall clock be wrong by some seconds from now on; it jumps."""
        file = self._directory / part
        if not file.exists():
            file.write_bytes(bytes(8))
        with file.open("r+b") as clock:
            clock.write(struct.pack("q", int(seconds * 1e9)))
        self._skewed[part] = seconds
        self.worst[part] = max(self.worst.get(part, 0.0), abs(seconds))

    def right(self) -> None:
        """Set every clock right again."""
        for part in self._skewed:
            self.set(part, 0)


@contextlib.asynccontextmanager
async def open_clocks(*parts: str) -> AsyncIterator[Clocks]:
    """Build the clocks of some parts, and prove that they can be wrong.

    Raises:
        NotPossibleHere: There is no C compiler, or this platform does not let it stand before its own library.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        raise NotPossibleHere("skewed clocks need Linux and a C compiler (cc)")
    # Not in the stack's directory: a root run's PostgreSQL is nobody, who may not look in there.
    with tempfile.TemporaryDirectory(prefix="journeys-clocks-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        library = directory / "clock.so"
        await _run(compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl")
        library.chmod(0o755)
        clocks = Clocks(directory, library)
        await _prove(clocks)
        for part in parts:
            clocks.set(part, 0)
        yield clocks


async def _prove(clocks: Clocks) -> None:
    clocks.set("probe", _PROBE_SKEW)
    environment = {name: value.format(part="probe") for name, value in clocks.environment.items()}
    told = await _run(sys.executable, "-I", "-c", "import time; print(time.time())", **environment)
    if abs(float(told) - time.time() - _PROBE_SKEW) > _PROBE_SKEW / 2:
        raise NotPossibleHere("this Python does not read its clock through the C library")


async def _run(*command: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment or None, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise NotPossibleHere(f"{Path(command[0]).name} failed: {errors.decode(errors='replace').strip()[-200:]}")
    return output.decode()
