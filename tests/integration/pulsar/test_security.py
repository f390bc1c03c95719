"""TLS, tokens and OAuth 2.0 client credentials, with a broker that asks for them."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from recpipe.bus import BusUnavailableError, Message
from recpipe.bus.pulsar import PulsarBus
from recpipe.pulsar import Admin, Credentials, TopicName
from recpipe.pulsar.errors import UnauthorizedError, UnavailableError
from recpipe.schema import ITEM
from recpipe.spec import Pulsar
from recpipe.store import Keys
from recpipe.store import connect as connect_store
from recpipe.topics import Topic

FORGED = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def folder(secure_broker: Any, tmp_path: Path) -> Path:
    """A copy of the client's credentials, to be changed."""
    return Path(shutil.copytree(secure_broker.settings["PULSAR_CREDENTIALS"], tmp_path / "credentials"))


@pytest.fixture
def settings(secure_broker: Any) -> Pulsar:
    return Pulsar(
        service_url=secure_broker.settings["PULSAR_URL"], admin_url=secure_broker.settings["PULSAR_ADMIN_URL"]
    )


class Issuer:
    """A token endpoint that knows one client, and gives what `tokens` holds, the last one for ever."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.asked = tokens, 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, {"token_endpoint": f"{issuer.url}/token"})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                issuer.asked += 1
                if (form["client_id"], form["client_secret"]) != (["shop"], ["s3cret"]):
                    return self.answer(401, {"error": "invalid_client"})
                given = issuer.tokens.pop(0) if len(issuer.tokens) > 1 else issuer.tokens[0]
                return self.answer(200, {"access_token": given, "expires_in": 3600})

            def answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer(folder: Path) -> Iterator[Issuer]:
    """Replaces the token in the credentials by a client of an issuer."""
    issuer = Issuer([(folder / "token").read_text()])
    (folder / "token").unlink()
    enrol(folder, issuer, "s3cret")
    yield issuer
    issuer.close()


def enrol(folder: Path, issuer: Issuer, secret: str) -> None:
    client = {"issuer_url": issuer.url, "client_id": "shop", "client_secret": secret}
    (folder / "oauth2.json").write_text(json.dumps(client))


async def sends_and_receives(settings: Pulsar, folder: Path, valkey_url: str) -> bool:
    credentials = Credentials(folder)
    topic = Topic(f"{folder.parent.name}-items", ITEM, 1)
    async with Admin(settings.admin_url, credentials) as admin:
        await admin.topics.create(TopicName(settings.tenant, settings.namespace, topic.name), 1)
    bus = PulsarBus.connect(settings, connect_store(valkey_url), Keys("t"), credentials)
    try:
        sent = ITEM.encode({"item_id": "one", "timestamp": 1})
        await bus.publish(topic, [Message("key", sent)])
        records = await (await bus.subscribe([topic], "learner")).receive(1, 10)
        return [record.value for record in records] == [sent]
    finally:
        await bus.close()


async def test_records_pass_with_tls_and_a_token(settings: Pulsar, folder: Path, valkey_url: str) -> None:
    assert await sends_and_receives(settings, folder, valkey_url)


async def test_records_pass_with_client_credentials(
    settings: Pulsar, folder: Path, issuer: Issuer, valkey_url: str
) -> None:
    assert await sends_and_receives(settings, folder, valkey_url)


async def test_one_access_token_serves_many_requests_until_it_is_refused(
    settings: Pulsar, folder: Path, issuer: Issuer
) -> None:
    issuer.tokens = [FORGED, *issuer.tokens]
    async with Admin(settings.admin_url, Credentials(folder)) as admin:
        with pytest.raises(UnauthorizedError):
            await admin.tenants.all()
        for _ in range(5):
            assert "public" in await admin.tenants.all()
    assert issuer.asked == 2


async def test_an_issuer_that_refuses_the_client_is_named(
    settings: Pulsar, folder: Path, issuer: Issuer
) -> None:
    enrol(folder, issuer, "wrong")
    async with Admin(settings.admin_url, Credentials(folder)) as admin:
        with pytest.raises(UnauthorizedError, match=f"{issuer.url}/token: 401"):
            await admin.tenants.all()


async def test_a_token_that_is_renewed_in_its_file_counts_at_once(settings: Pulsar, folder: Path) -> None:
    good = (folder / "token").read_text()
    (folder / "token").write_text(FORGED)
    async with Admin(settings.admin_url, Credentials(folder)) as admin:
        with pytest.raises(UnauthorizedError):
            await admin.tenants.all()
        (folder / "token").write_text(good)
        assert "public" in await admin.tenants.all()


async def test_a_client_without_the_right_token_is_told_in_time(
    settings: Pulsar, folder: Path, valkey_url: str
) -> None:
    (folder / "token").write_text(FORGED)
    bus = PulsarBus.connect(settings, connect_store(valkey_url), Keys("t"), Credentials(folder))
    with pytest.raises(BusUnavailableError):
        await bus.publish(
            Topic("t-items", ITEM, 1), [Message("k", ITEM.encode({"item_id": "i", "timestamp": 1}))]
        )
    await bus.close()


async def test_a_broker_whose_certificate_is_not_trusted_is_not_spoken_to(
    settings: Pulsar, folder: Path
) -> None:
    (folder / "ca.crt").unlink()
    async with Admin(settings.admin_url, Credentials(folder)) as admin:
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await admin.tenants.all()
