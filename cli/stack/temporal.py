"""Temporal's development server with its web interface, from a wheel."""

import shutil
import sysconfig
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli.stack.errors import StackError
from cli.stack.ports import HOST, free_port
from cli.stack.processes import Child, clean_environment

NAMESPACE = "default"

# What an operator can search running journeys by.
SEARCH_ATTRIBUTES = {"JourneyName": "Keyword", "CustomerNumber": "Keyword"}

SETTINGS = {
    # From how many failures in a row a run is listed as stuck (TemporalReportedProblems).
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute": "2",
}


class Temporal(Child):
    """The server and its web interface, on the loopback interface only.

    Attributes:
        address: Of its gRPC service, ``host:port``.
    """

    def __init__(
        self,
        *,
        port: int,
        ui_port: int,
        database: Path | None,
        dynamic_config: Mapping[str, str],
        codec_endpoint: str | None,
        log: Path,
    ) -> None:
        """Describe the server; nothing runs yet.

        Args:
            port: Of its gRPC service.
            ui_port: Of its web interface.
            database: File that keeps its runs; None keeps them in memory, which is several times faster.
            dynamic_config: Server settings by key, values as JSON, such as
                ``{"frontend.WorkflowTimeSkippingEnabled": "true"}``.
            codec_endpoint: Where its web interface has payloads decoded; None: they are not encrypted.
            log: File for its output.
        """
        self.address = f"{HOST}:{port}"
        self._client: Client | None = None
        super().__init__(
            "temporal",
            [
                program(),
                *("--disable-config-file", "--disable-config-env", "server", "start-dev"),
                *("--ip", HOST, "--port", str(port), "--ui-port", str(ui_port), "--ui-disable-news-fetch"),
                *(["--ui-codec-endpoint", codec_endpoint] if codec_endpoint else []),
                *("--http-port", str(free_port()), "--metrics-port", str(free_port())),
                *("--log-level", "warn", *(["--db-filename", str(database)] if database else [])),
                *(part for pair in SEARCH_ATTRIBUTES.items() for part in ("--search-attribute", "=".join(pair))),
                *(
                    part
                    for pair in {**SETTINGS, **dynamic_config}.items()
                    for part in ("--dynamic-config-value", "=".join(pair))
                ),
            ],
            environment={**clean_environment(), "TEMPORAL_VERSION_CHECK_DISABLED": "1"},
            log=log,
        )

    async def is_ready(self) -> bool:
        """Tell whether it serves its namespace with our search attributes."""
        try:
            self._client = self._client or await Client.connect(self.address, namespace=NAMESPACE, lazy=True)
            known = await self._client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=NAMESPACE), timeout=timedelta(seconds=2)
            )
        except (RPCError, RuntimeError):  # RuntimeError: not even a connection
            return False
        return SEARCH_ATTRIBUTES.keys() <= known.custom_attributes.keys()


def program() -> str:
    """Return the path of the `temporal` command."""
    program = shutil.which("temporal", path=sysconfig.get_path("scripts"))
    if program is None:
        raise StackError("Temporal's wheel is not installed; `make setup` installs it.")
    return program
