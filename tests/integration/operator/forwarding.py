"""Pulsar's admin REST behind a door of the test's own: to shut it, to answer 404, to keep functions elsewhere."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FUNCTION = re.compile(r"/admin/v3/functions/[^/]+/[^/]+/(?P<name>[^/]+)(?P<status>/status)?$")
HOP_BY_HOP = {"host", "accept-encoding", "connection"}
ANSWER_SECONDS = 60


class Door(ThreadingHTTPServer):
    """Forwards to an admin REST as long as it is open.

    With `own_functions` it is the function worker: it keeps configurations and says of every instance that it
    runs, as those of a cluster do on other machines. A hundred Python processes on this one would measure it,
    and not the operator.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, admin_url: str, *, own_functions: bool = False) -> None:
        self.behind, self.own_functions = urlsplit(admin_url), own_functions
        self.empty = False
        """Answers 404 to everything."""
        self.kept: dict[str, Any] = {}
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that end amid a request are what doors are shut for."""

    def shut(self) -> None:
        """From now on connections are refused, and those that there are end."""
        self.shutdown()
        self.server_close()
        for each in tuple(self._connections):
            each.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Door

    def setup(self) -> None:
        super().setup()
        behind = self.server.behind
        self.behind = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=ANSWER_SECONDS)

    def finish(self) -> None:
        self.behind.close()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = FUNCTION.fullmatch(self.path)
        if self.server.empty:
            self.answer(404, b'{"reason": "not here"}')
        elif self.server.own_functions and found:
            self.answer(*self.function(found["name"], found["status"], body))
        else:
            self.forward(body)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any

    def forward(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        self.behind.request(self.command, self.path, body, headers)
        response = self.behind.getresponse()
        kind = response.headers.get("Content-Type", "application/json")
        self.answer(response.status, response.read(), kind)

    def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def function(self, name: str, status: str | None, body: bytes) -> tuple[int, bytes]:
        kept = self.server.kept
        if self.command in {"POST", "PUT"}:
            start = body.index(b"\r\n\r\n", body.index(b'name="functionConfig"')) + 4
            kept[name] = json.loads(body[start : body.index(b"\r\n--", start)])
            return 204, b""
        if name not in kept:
            return 404, b'{"reason": "no such function"}'
        if self.command == "DELETE":
            del kept[name]
            return 204, b""
        if status:
            one = {"instanceId": 0, "status": {"running": True}}
            return 200, json.dumps({"numInstances": 1, "numRunning": 1, "instances": [one]}).encode()
        return 200, json.dumps(kept[name]).encode()


@contextmanager
def door(admin_url: str, *, own_functions: bool = False) -> Iterator[Door]:
    opened = Door(admin_url, own_functions=own_functions)
    try:
        yield opened
    finally:
        opened.shut()
