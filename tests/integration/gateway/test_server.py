"""The HTTP server on real sockets: what it bounds, and how it writes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest

from recpipe_gateway import server
from recpipe_gateway.server import HEAD_BYTES, JoinedWrites, serve

SECONDS = 10.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    headers = [(b"content-length", str(len(message["body"])).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message["body"]})


@pytest.fixture
def head_seconds() -> float:
    return 0.3


@pytest.fixture
async def connection(monkeypatch: pytest.MonkeyPatch, head_seconds: float) -> AsyncIterator[Connection]:
    monkeypatch.setattr(server, "HEAD_SECONDS", head_seconds)
    listener = socket.create_server(("127.0.0.1", 0))
    stop, started = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve(_echo, listener, stop, started.set))
    await asyncio.wait_for(started.wait(), SECONDS)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    yield reader, writer
    writer.close()
    stop.set()
    await asyncio.wait_for(serving, SECONDS)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)


async def test_a_head_that_never_ends_is_cut_off(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"GET / HT")
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""


async def test_a_silent_connection_is_cut_off(connection: Connection) -> None:
    assert await asyncio.wait_for(connection[0].read(), SECONDS) == b""


async def test_a_later_head_has_a_deadline_too(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
    assert (await _answer(reader)).startswith(b"HTTP/1.1 200")
    writer.write(b"GET / HTTP/1.1\r\nhost: h")
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""


async def test_a_body_may_take_longer_than_a_head(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 4\r\n\r\n")
    await asyncio.sleep(2 * server.HEAD_SECONDS)  # what is waited for is that nothing happens
    writer.write(b"body")
    assert (await _answer(reader)).startswith(b"HTTP/1.1 200")
    assert await asyncio.wait_for(reader.readexactly(4), SECONDS) == b"body"


@pytest.mark.parametrize("head_seconds", [10 * SECONDS])
async def test_a_head_that_is_too_large_is_cut_off_before_its_deadline(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"GET / HTTP/1.1\r\n" + b"a: %s\r\n" % (b"x" * 1_000) * (HEAD_BYTES // 1_000 + 1))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await _answer(reader)


async def test_a_client_that_waits_for_leave_to_send_gets_it(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
    assert (await _answer(reader)).startswith(b"HTTP/1.1 100")


async def test_what_one_turn_of_the_loop_writes_is_sent_at_once() -> None:
    transport = Mock()
    writes = JoinedWrites(transport, asyncio.get_running_loop())
    writes.write(b"head")
    writes.write(b"body")
    transport.write.assert_not_called()
    await asyncio.sleep(0)
    transport.write.assert_called_once_with(b"headbody")


async def test_closing_sends_what_was_written() -> None:
    transport = Mock()
    writes = JoinedWrites(transport, asyncio.get_running_loop())
    writes.write(b"last")
    writes.close()
    await asyncio.sleep(0)
    assert [name for name, *_ in transport.method_calls] == ["write", "close"]
