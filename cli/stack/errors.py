"""What can keep the embedded stack from running, in words for whoever started it."""

import signal
from pathlib import Path

_TAIL_LINES = 20


class StackError(Exception):
    """The stack cannot start or go on; the message says why and what to do."""


class PortTaken(StackError):
    """Somebody else listens on a port the stack was told to use."""


class AlreadyRunning(StackError):
    """Another stack holds the data directory."""


class PartDied(StackError):
    """A part ended although nobody stopped it.

    Attributes:
        part: Its name, such as ``worker-1``.
        log: Its log file; the message ends with its last lines.
    """

    def __init__(self, part: str, returncode: int, log: Path) -> None:
        self.part = part
        self.log = log
        how = f"exit code {returncode}" if returncode >= 0 else signal.Signals(-returncode).name
        super().__init__(f"{part} ended unexpectedly ({how}).\n{tail(log)}")


def tail(log: Path) -> str:
    """Return the last lines of a log with a heading that names the file."""
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if log.exists() else []
    return f"The end of {log}:\n" + ("\n".join(f"  {line}" for line in lines) or "  (empty)")
