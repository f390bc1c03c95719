"""The bus on Valkey Streams: a stream a partition, a consumer group a reader, one script to commit.

Nothing is trimmed that a group has not acknowledged. A stream that reaches its bound gives up its
oldest acknowledged records first; where there are none, senders wait and are then refused.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from recpipe.bus._protocol import BusFullError, BusUnavailableError, Message, Record
from recpipe.store import Keys
from recpipe.topics import Topic

_COMMIT = resources.files("recpipe.bus").joinpath("commit.lua").read_text()
_CONSUMER = "member"  # one name: a partition has one reader, and a restart takes up its pending records
_FULL_WAIT_SECONDS = 5.0
_TRIM_SHARE = 0.1
_MANY = 1_000
_HISTORY = 1_000
_LET_GO_AT_ONCE = 200
"""Records: less than half a millisecond, in which the store answers nobody else."""
_LAST = f"{2**64 - 1}-{2**64 - 1}"


class Stream(NamedTuple):
    """One partition of a topic."""

    topic: Topic
    partition: int

    @property
    def name(self) -> str:
        return f"{self.topic.name}:{self.partition}"

    def records(self, entries: Sequence[Any]) -> list[Record]:
        """Of ids and fields; an entry that was deleted by hand is still pending, without fields."""
        return [
            Record(*self, position.decode(), fields[b"k"].decode(), fields[b"v"])
            for position, fields in entries
            if fields
        ]


def _streams(topics: Sequence[Topic]) -> list[Stream]:
    return [Stream(topic, partition) for topic in topics for partition in range(topic.partitions)]


class ValkeyBus:
    """A bus over one Valkey server; `client` is closed with it."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._commit_script = client.register_script(_COMMIT)

    async def create(self, topics: Sequence[Topic]) -> None:
        """Makes streams and groups, from the first record on; those that exist stay as they are."""
        for stream in _streams(topics):
            for group in stream.topic.groups:
                try:
                    await self._client.xgroup_create(stream.name, group, id="0", mkstream=True)
                except ResponseError as error:
                    if "BUSYGROUP" not in str(error):
                        raise

    async def publish(
        self, topic: Topic, messages: Sequence[Message], tally: Mapping[str, int] | None = None
    ) -> None:
        await self.commit((), {topic: messages}, tally or {}, wait=0.0)

    async def commit(
        self,
        records: Sequence[Record],
        outputs: Mapping[Topic, Sequence[Message]],
        tally: Mapping[str, int],
        wait: float = _FULL_WAIT_SECONDS,
        group: str = "",
    ) -> None:
        """Stores outputs, acknowledges records and counts, atomically; waits `wait` seconds for room."""
        messages_of: dict[Stream, list[Message]] = defaultdict(list)
        for topic, messages in outputs.items():
            for message in messages:
                messages_of[Stream(topic, topic.partition_of(message.key))].append(message)
        positions_of: dict[Stream, list[str]] = defaultdict(list)
        for record in records:
            positions_of[Stream(record.topic, record.partition)].append(record.position)

        arguments: list[Any] = [len(messages_of)]
        for stream, outgoing in messages_of.items():
            arguments += (
                stream.name,
                stream.topic.max_backlog,
                len(outgoing),
                *chain.from_iterable(outgoing),
            )
        arguments.append(len(positions_of))
        for stream, positions in positions_of.items():
            arguments += (stream.name, group, len(positions), *positions)
        arguments += chain.from_iterable(tally.items())

        keys = [stream.name for stream in (*messages_of, *positions_of)] + [self._keys.tally]
        deadline = asyncio.get_running_loop().time() + wait
        while full := await self._run(keys, arguments):
            if await self._make_room(full):
                continue
            if asyncio.get_running_loop().time() >= deadline:
                raise BusFullError(f"{full} holds as many unread records as it may")
            await asyncio.sleep(random.uniform(0.02, 0.1))

    async def _run(self, keys: list[str], arguments: list[Any]) -> str:
        try:
            answer: Any = await self._commit_script(keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            raise BusUnavailableError(str(error)) from error
        return str(answer.decode())

    async def _make_room(self, stream: str) -> bool:
        """Gives up the oldest tenth of a full stream, as far as all groups have acknowledged it."""
        floor = await self._floor(stream)
        length: int = await self._client.xlen(stream)
        tenth = max(int(length * _TRIM_SHARE), 1)
        removed: int
        if tenth >= _MANY:  # whole nodes of the stream, for reading so many records would keep the store busy
            removed = await self._client.xtrim(stream, minid=floor or _LAST, approximate=True, limit=tenth)
            return removed > 0
        oldest: Any = await self._client.xrange(stream, count=tenth)
        if not oldest:
            return False
        after_tenth = _next(oldest[-1][0].decode())
        minimum = after_tenth if floor is None else min(after_tenth, floor, key=_order)
        removed = await self._client.xtrim(stream, minid=minimum, approximate=False)
        return removed > 0

    async def _floor(self, stream: str) -> str | None:
        """The first id that some group still needs; None where no group reads the stream."""
        needed = []
        for group in await self._groups(stream):
            pending: Any = await self._client.xpending(stream, group["name"])
            first = pending["min"] if pending["pending"] else None
            needed.append(first.decode() if first else _next(group["last-delivered-id"].decode()))
        return min(needed, key=_order, default=None)

    async def _groups(self, stream: str) -> list[dict[str, Any]]:
        answer: Any = await self._client.xinfo_groups(stream)
        return list(answer)

    async def subscribe(
        self, topics: Sequence[Topic], group: str, instance: int = 0, instances: int = 1
    ) -> "ValkeySubscription":
        await self.create(topics)
        share = [stream for stream in _streams(topics) if stream.partition % instances == instance]
        return ValkeySubscription(self, self._client, group, share)

    async def history(self, topic: Topic, partition: int, after: str = "") -> AsyncIterator[list[Record]]:
        stream = Stream(topic, partition)
        while True:
            first = _next(after) if after else "-"
            try:
                entries: Any = await self._client.xrange(stream.name, min=first, count=_HISTORY)
            except (RedisError, OSError) as error:
                raise BusUnavailableError(str(error)) from error
            if not entries:
                return
            yield stream.records(entries)
            after = entries[-1][0].decode()

    async def backlog(self, topic: Topic, group: str) -> int:
        total = 0
        for stream in _streams([topic]):
            for info in await self._groups(stream.name):
                if info["name"].decode() == group:
                    total += info["pending"] + (info["lag"] or 0)
        return total

    async def tally(self) -> dict[str, int]:
        counts: Any = await self._client.hgetall(self._keys.tally)
        return {name.decode(): int(count) for name, count in counts.items()}

    async def close(self) -> None:
        await self._client.aclose()


class ValkeySubscription:
    """Reads a fixed share of a group's streams: what was left pending first, then what is new."""

    def __init__(self, bus: ValkeyBus, client: Redis, group: str, share: Sequence[Stream]) -> None:
        self._bus, self._client, self._group = bus, client, group
        self._share = {stream.name: stream for stream in share}
        self.recover()

    def recover(self) -> None:
        """Makes the next `receive` start again from what is not acknowledged."""
        self._recovering: dict[Any, Any] = dict.fromkeys(self._share, "0")

    async def receive(self, limit: int, wait: float) -> list[Record]:
        try:
            while self._recovering:
                if pending := await self._receive_pending(limit):
                    return pending
            new: dict[Any, Any] = dict.fromkeys(self._share, ">")
            block = max(1, round(wait * 1000))
            answer = await self._client.xreadgroup(self._group, _CONSUMER, new, count=limit, block=block)
        except (RedisError, OSError) as error:
            # Records may have been delivered with the answer that was lost: read the pending ones again.
            self.recover()
            raise BusUnavailableError(str(error)) from error
        return [
            record
            for name, entries in _pairs(answer)
            for record in self._share[name.decode()].records(entries)
        ]

    async def _receive_pending(self, limit: int) -> list[Record]:
        answer = await self._client.xreadgroup(self._group, _CONSUMER, dict(self._recovering), count=limit)
        records: list[Record] = []
        for name, entries in _pairs(answer):
            if entries:
                self._recovering[name.decode()] = entries[-1][0].decode()
                records += self._share[name.decode()].records(entries)
            else:
                del self._recovering[name.decode()]
        return records

    async def acknowledge(
        self,
        records: Sequence[Record],
        outputs: Mapping[Topic, Sequence[Message]] | None = None,
        tally: Mapping[str, int] | None = None,
    ) -> None:
        last = 0 if outputs else max(len(records) - 1, 0) // _LET_GO_AT_ONCE * _LET_GO_AT_ONCE
        for first in range(0, last, _LET_GO_AT_ONCE):
            begun = time.monotonic()
            await self._bus.commit(records[first : first + _LET_GO_AT_ONCE], {}, {}, group=self._group)
            await asyncio.sleep(time.monotonic() - begun)  # in which the store answers others
        await self._bus.commit(records[last:], outputs or {}, tally or {}, group=self._group)


def _pairs(answer: Any) -> list[tuple[bytes, list[Any]]]:
    """Streams and their entries, from either protocol: RESP2 answers pairs, RESP3 a dict of nested lists."""
    if isinstance(answer, dict):
        return [(name, [entry for part in parts for entry in part]) for name, parts in answer.items()]
    return answer or []


def _order(position: str) -> tuple[int, int]:
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence or 0)


def _next(position: str) -> str:
    milliseconds, sequence = _order(position)
    return f"{milliseconds}-{sequence + 1}"
