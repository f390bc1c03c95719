"""The HTTP server: uvicorn on this process's loop, with bounds on what it leaves unbounded."""

import asyncio
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recpipe_gateway.intake import MAX_BODY_BYTES

CONNECTIONS: Final = 4_096
HEAD_SECONDS: Final = 10.0
HEAD_BYTES: Final = 65_536
IDLE_SECONDS: Final = 75
DRAIN_SECONDS: Final = 10
POLL_SECONDS: Final = 0.02


class BoundedHttp(HttpToolsProtocol):
    """Also gives a request's head a deadline and a size, which uvicorn does not.

    A client that sends its head byte by byte would else hold its connection for ever.
    """

    _deadline: TimerHandle | None = None
    """Set while a head is awaited."""
    _head_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._deadline else 0
        if self._head_bytes > HEAD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_awaiting()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._stop_awaiting()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_awaiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's (recpipe.process), not the server's."""
        yield


async def serve(
    app: ASGIApp, bind: str, port: int, stop: asyncio.Event, ready_file: Path | None = None
) -> None:
    """Serves until `stop`, then finishes what is under way, ten seconds at most.

    Writes its URL to `ready_file` once it listens (port 0 is any free one). Raises OSError where the
    address cannot be had.
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
    with socket.create_server((bind, port), backlog=config.backlog) as listener:
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(POLL_SECONDS)
            if ready_file and server.started:
                _announce(ready_file, f"http://{bind}:{listener.getsockname()[1]}\n")
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
        finally:
            server.should_exit = True
            await serving


def _announce(file: Path, text: str) -> None:
    """Whole or not at all, for whoever waits for the file."""
    beside = file.with_name(file.name + ".new")
    beside.write_text(text)
    beside.replace(file)
