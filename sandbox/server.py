"""The HTTP server, with the one thing ASGI cannot say: reset this connection."""

import asyncio
import socket
import struct

import uvicorn
from fastapi import FastAPI, Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_transports: dict[tuple[str, int], asyncio.Transport] = {}


class _ResettableConnection(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            _transports[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client:
            _transports.pop(self.client, None)
        super().connection_lost(exc)


def hang_up(request: Request) -> None:
    """Reset the request's TCP connection; the client sees a reset, not an orderly end."""
    assert request.client is not None
    transport = _transports[(request.client.host, request.client.port)]
    connection = transport.get_extra_info("socket")
    # Lingering for zero seconds makes the kernel send RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def serve(app: FastAPI, port: int) -> None:
    """Serve on the loopback until SIGINT or SIGTERM; held answers do not delay the end."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        http=_ResettableConnection,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
