"""Ports of the loopback interface: those asked for, or free ones."""

import errno
import random
import socket
from dataclasses import dataclass

from cli.stack.errors import PortTaken, StackError

HOST = "127.0.0.1"

# Below the range from which the kernel serves outgoing connections: between finding a port free and
# listening on it, no connection of another process can take it.
_FREE_RANGE = range(15_000, 32_000)

_handed_out: set[int] = set()


@dataclass(frozen=True)
class Ports:
    """Where the parts people look at are found; None asks for a free port.

    Attributes:
        api: The product's HTTP API.
        ui: Temporal's web interface.
        sandbox: The providers' sandbox and its pages.
    """

    api: int | None = None
    ui: int | None = None
    sandbox: int | None = None


def choose(wanted: int | None, what: str, setting: str) -> int:
    """Return the wanted port if it can be listened on, or a free one if none is wanted.

    Args:
        wanted: The port asked for, or None.
        what: Whose port it is, for the error.
        setting: The option or variable that moves it, for the error.

    Raises:
        PortTaken: Somebody listens there.
        StackError: This user may not listen there.
    """
    if wanted is None:
        return free_port()
    error = _obstacle(wanted)
    if error == errno.EADDRINUSE:
        raise PortTaken(f"Port {wanted}, wanted for {what}, is taken. Choose another with {setting}.")
    if error is not None:
        raise StackError(
            f"Port {wanted}, wanted for {what}, cannot be listened on ({errno.errorcode[error]}). "
            f"Choose another with {setting}."
        )
    # It is free only until its owner has started: nobody else is to be given it before.
    _handed_out.add(wanted)
    return wanted


def free_port() -> int:
    """Return a port nobody listens on and this process has not been given before."""
    while True:
        port = random.choice(_FREE_RANGE)
        if port not in _handed_out and _obstacle(port) is None:
            _handed_out.add(port)
            return port


def _obstacle(port: int) -> int | None:
    with socket.socket() as probe:
        # As servers do, so that connections of a predecessor still in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            return error.errno or errno.EADDRINUSE
    return None
