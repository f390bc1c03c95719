"""A small HTTP/1.1 server, over the standard library's.

It has one thread for each connection, so it bounds what a client can take: connections, the bytes of a body, and the
time from waiting for a request to its last byte.
"""

import io
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

JSON = "application/json"
_MAX_BODY_BYTES = 64 * 2**20
_STOP_POLL_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


def error_answer(status: int, message: str) -> Answer:
    """An error in TensorFlow Serving's form."""
    return Answer(status, JSON, json.dumps({"error": message}).encode())


Respond = Callable[[str, str, bytes], Answer]
"""Answers a request of a method, a target and a body."""


class HttpServer:
    """Serves one port, in threads of its own.

    Args:
        address: host and port; port 0 takes a free one.
        respond: answers the requests; called in several threads at once.
        max_connections: above which a new connection is answered 503.
        timeout: seconds that a connection may wait for a request, and take over sending it.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self, address: tuple[str, int], respond: Respond, *, max_connections: int, timeout: float
    ) -> None:
        self._server = _Server(address, respond, max_connections, timeout)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOP_POLL_SECONDS,), name="http", daemon=True
        )
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Take no more connections, and wait up to `grace` seconds for the requests in progress."""
        self._server.stopping = True
        self._server.shutdown()
        self._server.server_close()
        self._server.drain(grace)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], respond: Respond, max_connections: int, timeout: float
    ) -> None:
        self.respond = respond
        self.timeout_seconds = timeout
        self.stopping = False
        self._slots = threading.BoundedSemaphore(max_connections)
        self._changed = threading.Condition()
        self._in_progress = 0
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(
            self
        )  # without HTTPServer's look-up of the host's name, which may hang
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(1.0)
        try:
            request.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        except OSError as error:
            _log.debug("refusing a connection: %s", error)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("connection from %s", client_address, exc_info=True)

    @contextmanager
    def request_in_progress(self) -> Iterator[None]:
        with self._changed:
            self._in_progress += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_progress -= 1
                self._changed.notify_all()

    def drain(self, grace: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._in_progress, timeout=grace)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "recpipe"
    sys_version = ""
    wbufsize = -1  # one write for headers and body
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._reader = _DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._reader.deadline = time.monotonic() + self.server.timeout_seconds
        super().handle_one_request()

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        refusal = self._refuse_body()
        if refusal is not None:
            self.close_connection = True  # its body is left unread
            self._send(refusal)
            return
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _refuse_body(self) -> Answer | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return error_answer(HTTPStatus.LENGTH_REQUIRED, "send the body's size in a Content-Length header")
        if int(length) > _MAX_BODY_BYTES:
            return error_answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a body of {length} bytes is over the limit of {_MAX_BODY_BYTES}",
            )
        if self.headers.get("Content-Encoding", "identity") != "identity":
            return error_answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without a Content-Encoding")
        return None

    def _serve(self, body: bytes) -> None:
        with self.server.request_in_progress():
            try:
                answer = self.server.respond(self.command, self.path, body)
            except Exception:  # a fault of ours must not end as a dropped connection
                _log.exception("%s %s", self.command, self.path)
                answer = error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.close_connection |= self.server.stopping
        self.connection.settimeout(self.server.timeout_seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline, however slowly the bytes come (a socket's own timeout is for each read)."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the request took too long to arrive")
        self._connection.settimeout(remaining)
        return self._connection.recv_into(buffer)
