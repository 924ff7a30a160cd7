"""Our own processes: the API, the workers, the sandbox."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.stack.ports import HOST
from cli.stack.processes import Child, clean_environment


class Service(Child):
    """A Python process of this project that tells over HTTP when it is ready."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        *,
        readiness: str,
        environment: Mapping[str, str],
        log: Path,
        grace: float = 10.0,
    ) -> None:
        """Describe the process; nothing runs yet.

        Args:
            name: Its name in messages.
            arguments: For the Python interpreter.
            readiness: Address that answers 200 when it is ready.
            environment: What it is configured by, besides the plain environment.
            log: File for its output.
            grace: Seconds it gets to end after SIGTERM.
        """
        self._readiness = readiness
        super().__init__(
            name,
            [sys.executable, *arguments],
            environment={**clean_environment(), "PYTHONUNBUFFERED": "1", **environment},
            log=log,
            grace=grace,
        )

    async def is_ready(self) -> bool:
        """Tell whether its readiness address answers 200."""
        try:
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as client:
                return (await client.get(self._readiness)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


@dataclass(frozen=True)
class Programs:
    """What runs as the API and as a worker: those that ship, or others with journeys of their own.

    Attributes:
        api: Factory of the ASGI application, ``module:function``.
        worker: Arguments for the Python interpreter.
    """

    api: str = "api.app:create_app"
    worker: tuple[str, ...] = ("worker.py",)


def api(program: str, port: int, environment: Mapping[str, str], log: Path) -> Service:
    """Describe the product's HTTP API on a port."""
    return Service(
        "api",
        [
            *("-m", "uvicorn", program, "--factory", "--host", HOST, "--port", str(port)),
            # Its access log would hold links that act for a customer.
            *("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5"),
            # Holds a request's line and headers to 64 kB; uvicorn's faster parser takes any size from anybody.
            *("--http", "h11", "--no-server-header"),
        ],
        readiness=f"http://{HOST}:{port}/readyz",
        environment=environment,
        log=log,
    )


def worker(
    program: Sequence[str], number: int, metrics_port: int, environment: Mapping[str, str], log: Path
) -> Service:
    """Describe one worker process; it drains for up to 30 s when it is stopped."""
    return Service(
        f"worker-{number}",
        list(program),
        readiness=f"http://{HOST}:{metrics_port}/readyz",
        environment={**environment, "JOURNEYS_METRICS_PORT": str(metrics_port)},
        log=log,
        grace=35.0,
    )


def sandbox(port: int, environment: Mapping[str, str], log: Path) -> Service:
    """Describe the providers' sandbox on a port."""
    return Service(
        "sandbox",
        ["-m", "sandbox"],
        readiness=f"http://{HOST}:{port}/_sandbox/counts",
        environment={**environment, "SANDBOX_PORT": str(port)},
        log=log,
    )
