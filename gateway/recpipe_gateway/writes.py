"""Writing to the store and to the bus for one request, with a deadline; an outage is a refusal."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, WatchError

from recpipe.bus import BusFullError, BusUnavailableError
from recpipe_gateway.answers import Refusal

SECONDS: Final = 3.0
ATTEMPTS: Final = 5
RETRY_SECONDS: Final = 1.0


@contextmanager
def outage_refused(done: str = "") -> Iterator[None]:
    """Around calls of the store and the bus; `done` says how far the request has come."""
    try:
        yield
    except BusFullError as error:
        raise Refusal(503, "full", f"{error}; {done}send it again", retry_after=RETRY_SECONDS) from error
    except (RedisError, BusUnavailableError, OSError) as error:
        message = f"the store or the bus cannot be reached; {done}send it again"
        raise Refusal(503, "unavailable", message, retry_after=RETRY_SECONDS) from error


async def read(client: Redis, key: str) -> bytes | None:
    with outage_refused():
        async with asyncio.timeout(SECONDS):
            value: Any = await client.get(key)
            return bytes(value) if value is not None else None


async def write(client: Redis, values: Mapping[str, bytes]) -> None:
    """All values in one round trip."""
    async with asyncio.timeout(SECONDS), client.pipeline(transaction=False) as pipe:
        for key, value in values.items():
            pipe.set(key, value)
        await pipe.execute()


async def change(client: Redis, key: str, edit: Callable[[bytes | None], bytes]) -> bytes:
    """Replaces a value by what `edit` makes of it, with nobody else's change lost; returns the new one."""
    with outage_refused():
        async with asyncio.timeout(SECONDS), client.pipeline() as pipe:
            for _ in range(ATTEMPTS):
                try:
                    await pipe.watch(key)
                    before: Any = await pipe.get(key)
                    value = edit(before)
                    pipe.multi()  # type: ignore[no-untyped-call]
                    pipe.set(key, value)
                    await pipe.execute()
                    return value
                except WatchError:
                    continue
    raise Refusal(409, "conflict", "others keep changing this; send it again", retry_after=RETRY_SECONDS)
