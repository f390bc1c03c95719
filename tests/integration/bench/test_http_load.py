"""The load that HTTP benchmarks make counts every request, whatever the server does to it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

import pytest

from recpipe.bench import http_load
from recpipe.bench.http_load import Sample, steady

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()


@contextmanager
def serving(handle: Handle) -> Iterator[str]:
    """A server on a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(handle, "127.0.0.1", 0), loop).result(
            5
        )
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def load(url: str, rate: float, seconds: float) -> list[Sample]:
    return steady(url, lambda number: f"/{number}", "key", rate, seconds)


def test_every_request_is_sent_when_due_and_timed() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            await _answer(reader, writer)

    with serving(handle) as url:
        samples = load(url, 100, 0.3)
    assert [sample.status for sample in samples] == [200] * 30
    assert {sample.body for sample in samples} == {b"hi"}
    assert samples[-1].due - samples[0].due == pytest.approx(0.29)


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(reader, writer)
        writer.close()

    with serving(handle) as url:
        samples = load(url, 20, 0.25)
    assert [sample.status for sample in samples] == [200] * 5


def test_a_request_that_is_never_answered_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    monkeypatch.setattr(http_load, "ANSWER_SECONDS", 0.1)
    with serving(handle) as url:
        samples = load(url, 20, 0.25)
    assert [sample.status for sample in samples] == [0] * 5


def test_a_request_whose_connection_breaks_counts_as_lost() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    with serving(handle) as url:
        samples = load(url, 20, 0.25)
    assert [sample.status for sample in samples] == [0] * 5
