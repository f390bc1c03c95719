"""A steady stream of single events over HTTP, as browsers send them, for benchmarks."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from recpipe.local.home import Home

CONNECTIONS = 16
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def click(user: str, item: str, event_id: str | None = None) -> bytes:
    """One event in the public format, of now."""
    event = {"user_id": user, "event_type": "click", "timestamp": datetime.now(UTC), "item_id": item}
    return msgspec.json.encode(event | ({"event_id": event_id} if event_id else {}))


@asynccontextmanager
async def traffic(home: Home, per_second: float, event: Callable[[], bytes]) -> AsyncIterator[Counter[int]]:
    """Posts an event as often as told while the block runs, each in a request of its own; counts by status.

    What the gateway refuses is not sent again; a sender that falls behind leaves events out. Requests are
    written by hand: an HTTP client would cost this process more than the gateway's own work.
    """
    url, key = urlsplit(home.endpoints().gateway), home.key("public")
    head = f"POST /v1/events HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {key}\r\n"
    statuses: Counter[int] = Counter()

    async def sender() -> None:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        pause = CONNECTIONS / per_second
        await asyncio.sleep(random.uniform(0, pause))
        due = time.perf_counter()
        try:
            while True:
                body = event()
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                if length := _LENGTH.search(answer):
                    await reader.readexactly(int(length[1]))
                statuses[int(answer[9:12])] += 1
                due = max(due + pause, time.perf_counter() - pause)
                await asyncio.sleep(max(due - time.perf_counter(), 0))
        finally:
            writer.close()

    senders = [asyncio.create_task(sender()) for _ in range(CONNECTIONS)]
    try:
        yield statuses
    finally:
        for task in senders:
            task.cancel()
        for outcome in await asyncio.gather(*senders, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
