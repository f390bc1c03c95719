"""The WebSocket /v1/stream on a real gateway."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .conftest import KEYS, SECONDS, Gateway, StartGateway, wait_until

SPEC = {"gateway": {"corsOrigins": ["https://shop.example"], "userEventsPerSecond": 20}}


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, bus_url: str) -> Gateway:
    return start_gateway(bus_url, SPEC)


def opened(gateway: Gateway, query: str = f"?key={KEYS['public']}", **options: Any) -> ClientConnection:
    url = gateway.url.replace("http://", "ws://") + "/v1/stream" + query
    return connect(url, open_timeout=SECONDS, close_timeout=SECONDS, **options)


@pytest.fixture
def stream(gateway: Gateway) -> Iterator[ClientConnection]:
    with opened(gateway) as connection:
        yield connection


def event(**changes: Any) -> dict[str, Any]:
    return {
        "user_id": "ann",
        "event_type": "click",
        "timestamp": datetime.now(UTC).isoformat(),
        "item_id": "lamp",
        **changes,
    }


def ask(stream: ClientConnection, message: str | bytes) -> dict[str, Any]:
    stream.send(message)
    answer: dict[str, Any] = json.loads(stream.recv(SECONDS))
    return answer


def test_each_message_is_answered_by_its_verdicts_in_order(
    stream: ClientConnection, gateway: Gateway
) -> None:
    messages = [json.dumps([event(user_id=f"u{size}")] * size) for size in (1, 3, 2)]
    for message in messages:
        stream.send(message)
    accepted = [json.loads(stream.recv(SECONDS))["accepted"] for _ in messages]
    assert accepted == [1, 3, 2]
    assert gateway.tally()["gateway.accepted"] >= 6


def test_a_bad_message_is_answered_by_its_error_and_the_stream_goes_on(stream: ClientConnection) -> None:
    assert ask(stream, "no json")["error"]["code"] == "malformed"
    assert ask(stream, json.dumps([event(), 7]))["rejected"][0]["reason"] == "malformed"
    assert ask(stream, json.dumps(event()))["accepted"] == 1


def test_a_flooding_user_is_told_when_to_send_again(stream: ClientConnection) -> None:
    answer = ask(stream, json.dumps([event(user_id="flood")] * 30))
    assert {each["reason"] for each in answer["rejected"]} == {"rate_limited"}
    assert 0 < answer["retry_after"] <= 1


def test_binary_messages_are_refused_as_unsupported(stream: ClientConnection) -> None:
    stream.send(b"\x00\x01")
    with pytest.raises(ConnectionClosed) as closed:
        stream.recv(SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


def test_a_message_that_is_too_large_closes_the_stream_as_such(stream: ClientConnection) -> None:
    # In parts: one frame would still be on its way when the server closes, and a reset overtake its reason.
    stream.send(["x" * 2**20] * 8 + ["x"])
    with pytest.raises(ConnectionClosed) as closed:
        stream.recv(SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("query", "options", "status"),
    [
        ("", {}, 401),
        ("?key=wrong-key-0123456789", {}, 401),
        (f"?key={KEYS['private']}", {}, 403),
        (f"?key={KEYS['public']}", {"origin": "https://evil.example"}, 403),
    ],
)
def test_who_may_not_send_is_told_at_the_handshake(
    gateway: Gateway, query: str, options: dict[str, Any], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(gateway, query, **options)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["error"]["message"]


def test_a_backend_authenticates_by_header(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {KEYS['private']}"}
    with opened(gateway, "", additional_headers=headers) as stream:
        assert ask(stream, json.dumps(event(user_id="bob")))["accepted"] == 1


def test_a_page_of_a_named_origin_may_stream(gateway: Gateway) -> None:
    with opened(gateway, origin="https://shop.example") as stream:
        assert ask(stream, json.dumps(event(user_id="eve")))["accepted"] == 1


def test_open_streams_are_counted_and_a_shutdown_tells_them(
    start_gateway: StartGateway, bus_url: str
) -> None:
    ending = start_gateway(bus_url, SPEC)
    with opened(ending) as stream:
        assert ask(stream, json.dumps(event(user_id="kim")))["accepted"] == 1
        wait_until(lambda: ending.metric("recpipe_gateway_streams") == 1, "the stream to be counted")
        ending.close()
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
