"""The HTTP server: uvicorn on this process's loop, with bounds on what it leaves unbounded."""

import logging
from asyncio import TimerHandle, Transport
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recpipe_gateway.intake import MAX_BODY_BYTES

log = logging.getLogger(__name__)

CONNECTIONS: Final = 4_096
HEAD_SECONDS: Final = 10.0
HEAD_BYTES: Final = 65_536
IDLE_SECONDS: Final = 75
DRAIN_SECONDS: Final = 10
_START_SECONDS: Final = 10.0


class BoundedHttp(HttpToolsProtocol):
    """Also gives a request's head a deadline and a size, which uvicorn does not.

    A client that sends its head byte by byte would else hold its connection for ever.
    """

    _deadline: TimerHandle | None = None
    _head_bytes = 0
    _in_body = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES + MAX_BODY_BYTES:
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._forget_deadline()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
