"""The HTTP server: uvicorn on this process's loop, with bounds on what it leaves unbounded."""

import asyncio
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recpipe_gateway.intake import MAX_BODY_BYTES

CONNECTIONS: Final = 4_096
HEAD_SECONDS: Final = 10.0
HEAD_BYTES: Final = 65_536
IDLE_SECONDS: Final = 75
DRAIN_SECONDS: Final = 10


class JoinedWrites:
    """A transport that sends at once what one turn of the loop writes: uvicorn writes a head and its body apart."""

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def flush(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHttp(HttpToolsProtocol):
    """Also gives a request's head a deadline and a size, which uvicorn does not.

    A client that sends its head byte by byte would else hold its connection for ever.
    """

    _in_head = True
    _deadline: TimerHandle | None = None
    """Set while the rest of a head is awaited."""
    _head_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._writes = JoinedWrites(transport, self.loop)
        super().connection_made(self._writes)  # type: ignore[arg-type]
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self.transport.close()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_awaiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._writes.flush()
        super().on_response_complete()

    def _stop_awaiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's (recpipe.process), not the server's."""
        yield


async def serve(
    app: ASGIApp, listener: socket.socket, stop: asyncio.Event, started: Callable[[], None] = lambda: None
) -> None:
    """Serves until `stop`, then finishes what is under way, ten seconds at most.

    Args:
        app: an ASGI application.
        listener: a bound socket; closed with the server.
        stop: ends it.
        started: called once requests are taken.
    """
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="websockets-sansio",
        ws_max_size=MAX_BODY_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="warning",  # its info lines hold URLs, and a URL may hold a key
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config, started)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving
