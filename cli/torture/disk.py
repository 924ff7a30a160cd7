"""Disks in memory: PostgreSQL's, which can be full, and Temporal's, which is quick.

A full disk fails writes with the kernel's own ENOSPC. The one server Temporal is here keeps its runs in one SQLite
file; on a slow disk that would be most of what a storm measures. A kill finds the same file as on any disk.
"""

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
        while True:
            stats = os.statvfs(self.mounted)
            used = (stats.f_blocks - stats.f_bfree) * stats.f_frsize
            with contextlib.suppress(NotPossibleHere):  # more was written meanwhile than it would hold
                self._resize(used)
                return used

    def free(self) -> None:
        """Give it its whole size back."""
        self._resize(_SIZE)

    def _resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", str(self.mounted))


@contextlib.contextmanager
def postgres_disk(data: Path, *, keep: bool) -> Iterator[SmallDisk]:
    """Mount a disk where a stack of that data directory will look for its cluster; unmount it at the end.

    Args:
        data: The stack's data directory; nothing runs there.
        keep: Copy the cluster to the real disk at the end, where the stack finds it when it is started again.

    Raises:
        NotPossibleHere: This user may not mount, or this is no Linux.
    """
    _must_be_root()
    _unmount_abandoned()
    mounted = system_home() / f"disk-{os.getpid()}-{secrets.token_hex(4)}"
    mounted.mkdir()
    nobody = pwd.getpwnam("nobody")  # root's PostgreSQL runs as this user
    try:
        _mount_memory(mounted, f"uid={nobody.pw_uid},gid={nobody.pw_gid}")
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
            _copy(mounted, home_of(data))
        unmount(mounted)
        mounted.rmdir()


@contextlib.contextmanager
def temporal_disk(data: Path, *, keep: bool) -> Iterator[None]:
    """Mount a disk for the file in which Temporal keeps its runs, as `postgres_disk` does for the cluster.

    Raises:
        NotPossibleHere: This user may not mount, or this is no Linux.
    """
    _must_be_root()
    mounted = data / "temporal"
    mounted.mkdir()
    _mount_memory(mounted)
    try:
        yield
    finally:
        kept = data / "temporal.kept"
        if keep:
            kept.mkdir()
            _copy(mounted, kept)
        unmount(mounted)
        mounted.rmdir()
        if keep:
            kept.rename(mounted)


def unmount(directory: Path) -> None:
    """Unmount what is mounted on a directory, if anything is."""
    if directory.is_mount():
        subprocess.run(["umount", str(directory)], check=True)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)


def _must_be_root() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NotPossibleHere("a full disk needs Linux and root, to mount a file system of limited size")


def _unmount_abandoned() -> None:
    """Unmount what a killed run has left."""
    for mounted in system_home().glob("disk-*"):
        if not psutil.pid_exists(int(mounted.name.split("-")[1])):
            unmount(mounted)
            mounted.rmdir()


def _mount_memory(directory: Path, *options: str) -> None:
    _mount("-t", "tmpfs", "-o", ",".join((f"size={_SIZE}", "mode=0700", *options)), "journeys", str(directory))


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotPossibleHere("a full disk needs the program mount") from None
    except subprocess.CalledProcessError as error:
        raise NotPossibleHere(f"mounting is not permitted: {error.stderr.strip()}") from None
