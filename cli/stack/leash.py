"""Becomes another program that cannot outlive its parent: run by path, imports nothing of ours.

A program of its own instead of code between fork and exec, which may deadlock in a process with threads.

Usage: leash.py PARENT_PID SIGNAL OWNER COMMAND...

SIGNAL is what the kernel sends the command when the parent dies (Linux only; elsewhere the next start
ends what is left over). OWNER is ``uid:gid`` to run as, or ``-`` to stay.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, death_signal: str, owner: str, *command: str) -> None:
    if owner != "-":
        uid, gid = map(int, owner.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which would clear it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent died before the leash was on")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
