"""The embedded default: PostgreSQL, Temporal, the providers' sandbox, the API and workers on one machine.

Everything comes from wheels and runs as children of the process that entered `EmbeddedStack`.
"""

from cli.stack.errors import AlreadyRunning, PartDied, PortTaken, StackError
from cli.stack.ports import Ports
from cli.stack.services import Programs
from cli.stack.stack import ALL_PARTS, EmbeddedStack, Part

__all__ = [
    "ALL_PARTS",
    "AlreadyRunning",
    "EmbeddedStack",
    "Part",
    "PartDied",
    "PortTaken",
    "Ports",
    "Programs",
    "StackError",
]
