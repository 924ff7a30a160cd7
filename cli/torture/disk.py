"""A disk of PostgreSQL's own that can be full: writes fail with the kernel's own ENOSPC."""

import contextlib
import os
import pwd
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from cli.stack.postgres import home_of, system_home
from cli.torture.errors import NotPossibleHere

_SIZE = 2 * 1024**3
"""Bytes; memory is used only for what is written."""


class SmallDisk:
    """A file system of some size, in memory, on which PostgreSQL keeps all it has."""

    def __init__(self, mounted: Path) -> None:
        self.mounted = mounted

    def fill(self) -> int:
        """Leave no free byte, as a quota that is used up; returns how many are used."""
        stats = os.statvfs(self.mounted)
        used = (stats.f_blocks - stats.f_bfree) * stats.f_frsize
        self._resize(used)
        return used

    def free(self) -> None:
        """Give it its whole size back."""
        self._resize(_SIZE)

    def _resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", str(self.mounted))


@contextlib.contextmanager
def small_disk(data: Path, *, keep: bool) -> Iterator[SmallDisk]:
    """Mount the disk where a stack of that data directory will look for its cluster; unmount it at the end.

    Args:
        data: The stack's data directory; nothing runs there.
        keep: Copy the cluster to the real disk at the end, where the stack finds it when it is started again.

    Raises:
        NotPossibleHere: This user may not mount, or this is no Linux.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NotPossibleHere("a full disk needs Linux and root, to mount a file system of limited size")
    _unmount_abandoned()
    mounted = system_home() / f"disk-{os.getpid()}-{secrets.token_hex(4)}"
    mounted.mkdir()
    nobody = pwd.getpwnam("nobody")  # root's PostgreSQL runs as this user
    try:
        _mount(
            *("-t", "tmpfs", "-o", f"size={_SIZE},mode=0700,uid={nobody.pw_uid},gid={nobody.pw_gid}"),
            *("journeys", str(mounted)),
        )
    except NotPossibleHere:
        mounted.rmdir()
        raise
    anchor = data.absolute() / "postgres"
    try:
        anchor.symlink_to(mounted)
        yield SmallDisk(mounted)
    finally:
        anchor.unlink(missing_ok=True)
        if keep:
            subprocess.run(["cp", "-a", f"{mounted}/.", str(home_of(data))], check=True)
        _unmount(mounted)


def _unmount_abandoned() -> None:
    """Unmount what a killed run has left."""
    for mounted in system_home().glob("disk-*"):
        if not psutil.pid_exists(int(mounted.name.split("-")[1])):
            _unmount(mounted)


def _unmount(mounted: Path) -> None:
    if mounted.is_mount():
        subprocess.run(["umount", str(mounted)], check=True)
    mounted.rmdir()


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotPossibleHere("a full disk needs the program mount") from None
    except subprocess.CalledProcessError as error:
        raise NotPossibleHere(f"mounting is not permitted: {error.stderr.strip()}") from None
