"""Child processes: started with a log of their own, ready when they answer, never outliving their parent."""

import asyncio
import json
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.stack.errors import PartDied, StackError, tail

PROJECT = Path(__file__).parents[2]

_READY_WITHIN = 90.0
_ASK_EVERY = 0.05
_LEASH = Path(__file__).with_name("leash.py")

# Settings of the person's own shell that would point a local stack at somebody's real accounts.
_FOREIGN_SETTINGS = (
    "APP_WEBHOOK_",
    "CALL_CENTRE_",
    "DATABASE_URL",
    "FCM_",
    "GOOGLE_",
    "JOURNEYS_",
    "PG",
    "SANDBOX_",
    "SENDGRID_",
    "TEMPORAL_",
    "TWILIO_",
    "WEB_PUSH_",
)
_WELCOME_SETTINGS = {"JOURNEYS_CONFIG", "JOURNEYS_LOG_LEVEL"}


@dataclass(frozen=True)
class Owner:
    """The user and group a child runs as."""

    uid: int
    gid: int


def clean_environment() -> dict[str, str]:
    """Return this process's environment without addresses and credentials of other installations."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _WELCOME_SETTINGS or not name.startswith(_FOREIGN_SETTINGS)
    }


class Child(ABC):
    """One part of the stack as an operating-system process.

    Start it from the main thread: the kernel's parent-death signal goes by the thread that forked.

    Attributes:
        name: Such as ``postgres`` or ``worker-1``.
        log: Where its output goes.
        on_death: Called when the process ends although neither `stop` nor `kill` was called.
    """

    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        grace: float = 10.0,
        owner: Owner | None = None,
    ) -> None:
        """Describe the process; nothing runs yet.

        Args:
            name: Its name in messages.
            command: Absolute path of the program and its arguments; no secrets, `ps` shows them.
            environment: All of its environment.
            log: File for its standard output and error, begun anew now.
            grace: Seconds it gets to end after its stop signal before it is killed.
            owner: Whom to run as instead of the present user.
        """
        self.name = name
        self.log = log
        self.on_death: Callable[[PartDied], None] = lambda death: None
        self._command = command
        self._environment = environment
        self._grace = grace
        self._owner = owner
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._meant_to_end = False
        log.unlink(missing_ok=True)

    @abstractmethod
    async def is_ready(self) -> bool:
        """Tell whether it does its work now."""

    def add_variables(self, variables: Mapping[str, str]) -> None:
        """Add variables to its environment, from its next start on."""
        self._environment = {**self._environment, **variables}

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            PartDied: It ended instead.
            StackError: It did not become ready in time.
        """
        self._meant_to_end = False
        self._process = await spawn(self._command, self._environment, self.log, self._owner, self.orphan_signal)
        await self._wait_until_ready(self._process)
        self._watch = asyncio.create_task(self._watch_for_death(self._process))

    async def stop(self) -> None:
        """Ask it to end, and kill it if it has not within its grace."""
        if (process := self._process) and process.returncode is None:
            self._meant_to_end = True
            process.send_signal(self.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self._grace)
            except TimeoutError:
                process.kill()
        await self._reap()

    async def kill(self) -> None:
        """Kill it without warning, as a crash would."""
        if (process := self._process) and process.returncode is None:
            self._meant_to_end = True
            process.kill()
        await self._reap()

    async def _reap(self) -> None:
        if self._process:
            await self._process.wait()
        if self._watch:
            await self._watch

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_WITHIN
        while not await self.is_ready():
            if process.returncode is not None:
                raise PartDied(self.name, process.returncode, self.log)
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(f"{self.name} is not ready after {_READY_WITHIN:.0f} s.\n{tail(self.log)}")
            await asyncio.sleep(_ASK_EVERY)
        # Somebody else may have answered in its place.
        if process.returncode is not None:
            raise PartDied(self.name, process.returncode, self.log)

    async def _watch_for_death(self, process: asyncio.subprocess.Process) -> None:
        returncode = await process.wait()
        if not self._meant_to_end:
            self.on_death(PartDied(self.name, returncode, self.log))


async def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    owner: Owner | None = None,
    orphan_signal: signal.Signals = signal.SIGKILL,
) -> asyncio.subprocess.Process:
    """Start a command that cannot outlive this process, out of reach of the terminal's Ctrl-C.

    Args:
        command: Absolute path of the program and its arguments.
        environment: All of its environment.
        log: File its output is appended to.
        owner: Whom to run as instead of the present user.
        orphan_signal: What it gets from the kernel when this process dies.
    """
    with open(log, "ab", opener=_private) as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(_LEASH), str(os.getpid()), str(int(orphan_signal))),
            f"{owner.uid}:{owner.gid}" if owner else "-",
            *command,
            env=environment,
            # The programs that change user cannot look into a private project directory.
            cwd="/" if owner else PROJECT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def run_to_end(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    owner: Owner | None = None,
) -> None:
    """Run a command that ends by itself.

    Raises:
        StackError: It failed; with the end of its log.
    """
    process = await spawn(command, environment, log, owner)
    try:
        returncode = await process.wait()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has started itself
        await process.wait()
        raise
    if returncode:
        raise StackError(f"{name} failed with exit code {returncode}.\n{tail(log)}")


class ProcessList:
    """The file that remembers which processes run, for a start after this process was killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, children: Sequence[Child]) -> None:
        """Remember the children that run now."""
        running = [process for child in children if child.pid and (process := _process(child.pid))]
        entries = [{"pid": process.pid, "created": process.create_time()} for process in running]
        self._path.write_text(json.dumps(entries))

    def end_leftovers(self) -> None:
        """Kill what the last stack left running, and wait until it is gone."""
        if not self._path.exists():
            return
        leftovers = [
            process
            for entry in json.loads(self._path.read_text() or "[]")
            # A number may belong to somebody else by now.
            if (process := _process(entry["pid"])) and process.create_time() == entry["created"]
        ]
        for process in leftovers:
            process.kill()
        psutil.wait_procs(leftovers)
        self._path.unlink()


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
