"""The store: live state in Valkey or Redis. This is the one place that knows its keys.

Every key carries the pipeline, so that two pipelines never meet, and a hash tag around the user or
item, so that a cluster shards by it.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Keys:
    """Names of everything a pipeline keeps in the store."""

    pipeline: str

    def state(self, user: str) -> str:
        """UserState, see recpipe.state; written by features."""
        return f"rp:{self.pipeline}:u:{{{user}}}"

    def profile(self, user: str) -> str:
        """JSON object of strings; written by the gateway."""
        return f"rp:{self.pipeline}:p:{{{user}}}"

    def item(self, item: str) -> str:
        """JSON of recpipe.catalogue.Item; written by the gateway."""
        return f"rp:{self.pipeline}:i:{{{item}}}"

    def row(self, item: str) -> str:
        """Live neighbour row, see recpipe.live; written by the learner."""
        return f"rp:{self.pipeline}:n:{{{item}}}"

    def seen(self, event: str) -> str:
        """Deduplication marker: the place of the event that came first, and its verdict; written by clean."""
        return f"rp:{self.pipeline}:d:{{{event}}}"

    def bot(self, user: str) -> str:
        """Rate and rhythm of a user; written by clean."""
        return f"rp:{self.pipeline}:b:{{{user}}}"

    def crowd(self, partition: int) -> str:
        """What sessions of a partition's users are like; written by clean."""
        return f"rp:{self.pipeline}:c:{{{partition}}}"

    @property
    def all(self) -> str:
        """A pattern that matches every key of the pipeline, and no other's."""
        return f"rp:{self.pipeline}:*"

    @property
    def live(self) -> str:
        """The model's live inputs, see recpipe.live; written by the learner."""
        return f"rp:{self.pipeline}:live"

    @property
    def vocabulary(self) -> str:
        """Hash of item index to item id; written by the learner."""
        return f"rp:{self.pipeline}:vocabulary"

    @property
    def popular(self) -> str:
        """JSON list of [item id, score], best first; written by the learner."""
        return f"rp:{self.pipeline}:popular"

    @property
    def learner(self) -> str:
        """JSON of the learner's metrics (quality, lag, version); written by the learner."""
        return f"rp:{self.pipeline}:learner"

    @property
    def tally(self) -> str:
        """Hash of counts by stage and verdict; written with each acknowledgement."""
        return f"rp:{self.pipeline}:tally"


def located(where: str) -> str:
    """The URL that `where` names: `env:NAME`, `file:PATH`, or itself. Raises ValueError, without the URL.

    A URL with a password belongs into a variable or a file: others can read command lines.
    """
    kind, _, name = where.partition(":")
    match kind:
        case "env" if name in os.environ:
            return os.environ[name].strip()
        case "env":
            raise ValueError(f"{where}: the environment variable {name} is not set; let it hold the URL")
        case "file":
            try:
                return Path(name).read_text().strip()
            except OSError as error:
                raise ValueError(f"{where}: {error.strerror}; let the file hold the URL") from error
        case _:
            return where


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS, retries: int = 3) -> Redis:
    """A client of the store (redis, rediss or unix URL): every call has a deadline and few retries."""
    client: Redis = Redis.from_url(
        url, **_options(retries), socket_timeout=answer_seconds, health_check_interval=30
    )
    return client


class KeptConnection:
    """One connection to the store, for small reads that come often: a client spends as much again around each.

    Deadlines are the caller's, by `asyncio.timeout`; a call that is cancelled closes the connection, and the next
    one opens it again.
    """

    def __init__(self, url: str) -> None:
        pool = ConnectionPool.from_url(url, **_options(retries=1), socket_timeout=None)
        self._connection = pool.connection_class(**pool.connection_kwargs)
        self._asking = asyncio.Lock()

    async def ask(self, *command: str) -> Any:
        """The reply to a command, as the server sends it; raises RedisError or OSError."""
        packed = pack_command(command)  # type: ignore[arg-type]  # its stub has a tuple of one
        async with self._asking:
            return await self._connection.retry.call_with_retry(
                lambda: self._ask(packed), lambda _: self._connection.disconnect()
            )

    async def _ask(self, packed: bytes) -> Any:
        await self._connection.send_packed_command(packed)
        return await self._connection.read_response()

    async def aclose(self) -> None:
        await self._connection.disconnect()


def _options(retries: int) -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
        "protocol": 3,
    }
