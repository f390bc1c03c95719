"""Requests to the admin REST, against a small HTTP server that answers as brokers do."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from recpipe.pulsar import rest
from recpipe.pulsar.credentials import Credentials
from recpipe.pulsar.errors import (
    AdminError,
    ConflictError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from recpipe.pulsar.rest import Rest


class Answer(NamedTuple):
    status: int
    body: str = ""
    location: str = ""


class Server:
    """Gives `answers` one after the other, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                token = self.headers.get("authorization", "")
                server.asked.append((self.command, self.path, content, token))
                answer = server.answers.pop(0)
                self.send_response(answer.status)
                if answer.location:
                    self.send_header("location", answer.location)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body.encode())

            do_GET = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(rest, "FIRST_PAUSE_SECONDS", 0.001)
    server = Server()
    yield server
    server.close()


@pytest.fixture
async def client(server: Server, tmp_path: Path) -> AsyncIterator[Rest]:
    (tmp_path / "token").write_text("secret\n")
    client = Rest(server.url, Credentials(tmp_path))
    yield client
    await client.close()


async def test_a_busy_cluster_is_asked_again(server: Server, client: Rest) -> None:
    server.answers = [Answer(503), Answer(500), Answer(429), Answer(200, '["public"]')]
    assert await client.get("v2/tenants") == ["public"]
    assert {request[:2] for request in server.asked} == {("GET", "/admin/v2/tenants")}


async def test_asking_again_has_an_end(server: Server, client: Rest) -> None:
    server.answers = [Answer(503, '{"reason": "Leader not yet ready"}')] * rest.ATTEMPTS
    with pytest.raises(UnavailableError, match="GET v2/tenants: 503: Leader not yet ready"):
        await client.get("v2/tenants")
    assert server.answers == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedError),
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (404, NotFoundError),
        (409, ConflictError),
        (412, RefusedError),
        (422, RefusedError),
    ],
)
async def test_a_refusal_is_not_repeated(
    server: Server, client: Rest, status: int, kind: type[AdminError]
) -> None:
    server.answers = [Answer(status, '{"reason": "why"}')]
    with pytest.raises(kind) as caught:
        await client.put("v2/tenants/shop", {})
    assert (caught.value.status, caught.value.reason) == (status, "why")
    assert len(server.asked) == 1


async def test_a_redirect_to_the_owning_broker_keeps_method_body_and_token(
    server: Server, client: Rest
) -> None:
    owner = Server()
    owner.answers = [Answer(204)]
    server.answers = [Answer(307, location=f"{owner.url}/admin/v2/persistent/a/b/c/partitions?x=1")]
    assert await client.put("v2/persistent/a/b/c/partitions", 4) is None
    owner.close()
    assert owner.asked == [("PUT", "/admin/v2/persistent/a/b/c/partitions?x=1", "4", "Bearer secret")]


async def test_redirects_that_never_end_are_left(server: Server, client: Rest) -> None:
    server.answers = [Answer(307, location="/admin/v2/tenants")] * (rest.REDIRECTS + 1)
    with pytest.raises(RefusedError, match="307"):
        await client.get("v2/tenants")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"reason": "No such thing"}),
        "<html><head><title>No such thing</title></head><body><h2>...</h2></body></html>",
        json.dumps({"reason": "\n --- An error ---\n\nMessage: No such thing\n\nStacktrace:\n\njava..."}),
        "No such thing",
    ],
)
async def test_the_brokers_words_are_found_in_every_form_of_answer(
    server: Server, client: Rest, body: str
) -> None:
    server.answers = [Answer(404, body)]
    with pytest.raises(NotFoundError) as caught:
        await client.get("v2/tenants/none")
    assert caught.value.reason == "No such thing"
