"""What the gateway reads from the store: coalesced, with a deadline, and never asked in vain."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recpipe.catalogue import ITEM_DECODER, Item
from recpipe.state import UserState
from recpipe.store import KeptConnection, Keys
from recpipe_gateway.breaker import CircuitBreaker, CircuitOpenError
from recpipe_gateway.coalescer import Coalescer, OverloadedError
from recpipe_gateway.metrics import LIVE_AGE

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 0.25
READ_BATCH, READ_WAITING = 4_000, 40_000
"""Keys in one MGET, and keys that may wait for the next."""

Popular = list[tuple[str, float]]


class StoreDownError(Exception):
    """The store does not answer in time, or is left alone because it did not lately."""


class StoreReads:
    """The read side of the store: concurrent requests share an MGET."""

    def __init__(self, connection: KeptConnection, keys: Keys) -> None:
        self._connection, self._keys = connection, keys
        self._breaker = CircuitBreaker()
        self._values: Coalescer[Sequence[str], Sequence[bytes | None]] = Coalescer(
            self._read, batch=READ_BATCH, waiting=READ_WAITING
        )

    async def state(self, user: str) -> UserState:
        """What is remembered of a user; damaged state counts as none. Raises StoreDownError."""
        (value,) = await self._get([self._keys.state(user)])
        try:
            return UserState.decode(value)
        except ValueError as error:
            log.error("the state of a user cannot be read, taken as new: %s", error)
            return UserState()

    async def rows(self, items: Sequence[str]) -> list[bytes]:
        """Live neighbour rows, empty where there are none. Raises StoreDownError."""
        return [value or b"" for value in await self._get([self._keys.row(item) for item in items])]

    async def catalogue(self, items: Sequence[str]) -> dict[str, Item]:
        """Metadata of those items that have any. Raises StoreDownError."""
        values = await self._get([self._keys.item(item) for item in items])
        return {item: ITEM_DECODER.decode(value) for item, value in zip(items, values, strict=True) if value}

    async def knows(self, item: str) -> bool:
        """Whether there is anything of an item. Raises StoreDownError."""
        return any(
            value is not None for value in await self._get([self._keys.row(item), self._keys.item(item)])
        )

    async def names(self, indices: Sequence[int]) -> Mapping[int, str]:
        """Item ids of those indices that the learner has named. Raises StoreDownError."""
        if not indices:
            return {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                values = await self._connection.ask("HMGET", self._keys.vocabulary, *map(str, indices))
        except (RedisError, OSError) as error:
            raise StoreDownError(str(error)) from error
        return {index: name.decode() for index, name in zip(indices, values, strict=True) if name}

    async def _get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        if not keys:
            return []
        if not self._breaker.admits:
            raise StoreDownError("it failed lately")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._values.submit(keys, len(keys))
        except (RedisError, OSError, CircuitOpenError, OverloadedError) as error:
            raise StoreDownError(str(error)) from error

    async def _read(self, requests: Sequence[Sequence[str]]) -> list[Sequence[bytes | None]]:
        with self._breaker.watching():
            async with asyncio.timeout(ANSWER_SECONDS):
                values = iter(await self._connection.ask("MGET", *chain.from_iterable(requests)))
        return [list(islice(values, len(keys))) for keys in requests]


class LiveInputs:
    """The model's live blob and the popular list, kept fresh in memory: an outage leaves the last ones."""

    def __init__(self, client: Redis, keys: Keys, interval: float) -> None:
        self._client, self._keys, self._interval = client, keys, interval
        self._popular_value = b""
        self.blob = b""
        self.popular: Popular = []

    async def refresh(self, stop: asyncio.Event) -> None:
        """Reads both every `interval` seconds until `stop`."""
        read_at = time.monotonic()
        while not stop.is_set():
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._read()
                read_at = time.monotonic()
            except (RedisError, OSError) as error:
                log.debug("live inputs stay as they are: %s", error)
            except msgspec.DecodeError as error:
                log.error("the popular list cannot be read: %s", error)
            LIVE_AGE.set(time.monotonic() - read_at)
            await asyncio.sleep(self._interval)

    async def _read(self) -> None:
        answer: Any = await self._client.mget([self._keys.live, self._keys.popular])
        blob, popular = answer
        self.blob = blob or b""
        if popular != self._popular_value:
            self.popular = msgspec.json.decode(popular or b"[]", type=Popular)
            self._popular_value = popular


def distinct(items: Iterable[str]) -> list[str]:
    """Each item once, in order of first appearance."""
    return list(dict.fromkeys(items))
