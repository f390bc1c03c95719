"""GET requests at a steady rate, each timed from when it was due: what users see, also where answers queue."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from recpipe_model.server.load import precise_loop, undisturbed

MOST_CONNECTIONS = 256
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Sample:
    """One request: when it was due (time.monotonic), and its seconds from then to the end of the answer.

    Of a lost one, which got no answer, the status is 0 and the time `ANSWER_SECONDS`.
    """

    due: float
    seconds: float
    status: int
    body: bytes = b""


class Connection(asyncio.Protocol):
    """One request at a time over a kept connection; answers must give their length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was closed before the answer"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank or self._answer is None:
            return
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        if len(body) >= length:
            self._buffer = b""
            self._answer.set_result((int(head[9:12]), body))

    async def get(self, request: bytes) -> tuple[int, bytes]:
        """The answer's status and body."""
        assert self._transport
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(self._answer, ANSWER_SECONDS)

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def steady(url: str, path_of: Callable[[int], str], key: str, rate: float, seconds: float) -> list[Sample]:
    """Sends request number n to `path_of(n)`; where too many wait, one is not sent and counts as lost."""
    with undisturbed(), asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(_steady(url, path_of, key, rate, seconds))


async def _steady(
    url: str, path_of: Callable[[int], str], key: str, rate: float, seconds: float
) -> list[Sample]:
    where = urlsplit(url)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    loop, free, samples = asyncio.get_running_loop(), deque[Connection](), list[Sample]()
    every: list[Connection] = []
    waiting: set[asyncio.Task[None]] = set()

    async def ask(number: int, due: float) -> None:
        request = f"GET {path_of(number)} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n"
        try:
            connection = await free_connection()
            status, body = await connection.get(request.encode())
        except OSError:  # TimeoutError too
            samples.append(Sample(due, ANSWER_SECONDS, 0))
            return
        samples.append(Sample(due, time.monotonic() - due, status, body))
        free.append(connection)

    async def free_connection() -> Connection:
        while free:
            if (connection := free.pop()).open:
                return connection
        _, connection = await loop.create_connection(Connection, host, port)
        every.append(connection)
        return connection

    begun = time.monotonic()
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(due - time.monotonic())
        if len(waiting) >= MOST_CONNECTIONS:
            samples.append(Sample(due, ANSWER_SECONDS, 0))
            continue
        task = asyncio.create_task(ask(number, due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)
    for connection in every:
        connection.close()
    return samples
