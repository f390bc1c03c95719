"""The bus on Pulsar: partitioned topics that hold plain Avro under registered schemas.

A group with one member subscribes exclusively: that member has all partitions, each in its order, and a
second one waits until it is gone. (Pulsar's failover subscription deals the partitions out to both.)
Several members share by key.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import pulsar  # type: ignore[import-untyped]
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recpipe import spec
from recpipe.bus._protocol import BusUnavailableError, Message, Record
from recpipe.pulsar import Admin, Credentials, TopicName
from recpipe.pulsar.acknowledgement import Acknowledgement, EachRecord, UpToRecord
from recpipe.pulsar.client import OPERATION_SECONDS, StoredRecords, connect, deployed
from recpipe.pulsar.errors import AdminError
from recpipe.pulsar.sending import Senders
from recpipe.store import Keys
from recpipe.topics import Topic

log = logging.getLogger(__name__)

STANDBY_SECONDS = 1.0
RECEIVER_QUEUE = 1_000


class PulsarBus:
    """A bus over the namespace in `settings`; what it is given is closed with it. Counts go to `store`."""

    def __init__(
        self, client: pulsar.Client, admin: Admin, settings: spec.Pulsar, store: Redis, keys: Keys
    ) -> None:
        self._client, self._admin, self._store, self._keys = client, admin, store, keys
        self._settings = settings
        self._senders = Senders(client, settings.tenant, settings.namespace)

    @classmethod
    def connect(
        cls, settings: spec.Pulsar, store: Redis, keys: Keys, credentials: Credentials | None = None
    ) -> Self:
        """Reaches for the cluster when it is first used."""
        client = connect(settings.service_url, credentials)
        return cls(client, Admin(settings.admin_url, credentials), settings, store, keys)

    async def create(self, topics: Sequence[Topic]) -> None:
        """Only looks whether they are deployed: raises BusUnavailableError where one is not."""
        try:
            for topic in topics:
                await asyncio.to_thread(deployed, self._client, self.name(topic))
        except pulsar.exceptions.PulsarException as error:
            raise BusUnavailableError(f"{topic.name}: {error}") from error

    async def publish(
        self, topic: Topic, messages: Sequence[Message], tally: Mapping[str, int] | None = None
    ) -> None:
        if messages:
            await self._senders.send(topic, messages)
        await self.count(tally or {})

    async def subscribe(
        self, topics: Sequence[Topic], group: str, instance: int = 0, instances: int = 1
    ) -> "PulsarSubscription":
        """Waits while the group's only member is another one; raises BusUnavailableError.

        Several members can only share what is sent by key: ValueError for another topic.
        """
        if instances > 1 and not all(topic.is_shared_by_key for topic in topics):
            raise ValueError(
                f"{group}: {', '.join(t.name for t in topics)} is not sent by key: one member has all"
            )
        waiting = False
        while True:
            try:
                if not waiting or not await self._is_read(topics[0], group):
                    return await asyncio.to_thread(self._subscribe, topics, group, instances)
            except pulsar.ConsumerBusy:
                log.info("%s is being read by another member: standing by", group)
                waiting = True
            except (pulsar.exceptions.PulsarException, AdminError) as error:
                raise BusUnavailableError(f"{group}: {error}") from error
            await asyncio.sleep(STANDBY_SECONDS * random.uniform(0.5, 1.0))

    def _subscribe(self, topics: Sequence[Topic], group: str, instances: int) -> "PulsarSubscription":
        named = {str(deployed(self._client, self.name(topic))): topic for topic in topics}
        alone = instances == 1
        stored = StoredRecords({name: topic.schema.header for name, topic in named.items()})
        consumer = self._client.subscribe(
            list(named),
            group,
            pulsar.ConsumerType.Exclusive if alone else pulsar.ConsumerType.KeyShared,
            schema=stored,
            initial_position=pulsar.InitialPosition.Earliest,
            receiver_queue_size=RECEIVER_QUEUE,
        )
        how: tuple[Acknowledgement, Acknowledge] = (
            (UpToRecord(), lambda _, message_id: consumer.acknowledge_cumulative(message_id))
            if alone
            else (EachRecord(), lambda _, message_id: consumer.acknowledge(message_id))
        )
        return PulsarSubscription(self, consumer, stored, named, *how)

    def name(self, topic: Topic) -> TopicName:
        return TopicName(self._settings.tenant, self._settings.namespace, topic.name)

    async def history(self, topic: Topic, partition: int, after: str = "") -> AsyncIterator[list[Record]]:
        """By a reader of its own, which leaves no subscription behind."""
        name = str(self.name(topic))
        stored = StoredRecords({name: topic.schema.header})
        newest = (partition, *map(int, after.split("-"))) if after else ()
        # A position within a batch cannot be started from: the batch comes whole, and what is known is dropped.
        start = pulsar.MessageId(partition, *newest[1:3]) if newest else pulsar.MessageId.earliest

        def chunk() -> list[Record]:
            records: list[Record] = []
            while len(records) < RECEIVER_QUEUE and reader.has_message_available():
                message = reader.read_next(OPERATION_SECONDS * 1_000)
                records.append(record_of(message, topic, stored.value(message)))
            return records

        try:
            reader = await asyncio.to_thread(
                self._client.create_reader,
                f"{name}-partition-{partition}",
                start,
                schema=stored,
                start_message_id_inclusive=True,
            )
            try:
                while records := await asyncio.to_thread(chunk):
                    yield [record for record in records if record.place > newest]
            finally:
                await asyncio.to_thread(reader.close)
        except pulsar.exceptions.PulsarException as error:
            raise BusUnavailableError(f"{name}: {error}") from error

    async def backlog(self, topic: Topic, group: str) -> int:
        """Exact where it is 0; else estimated, as the broker counts batches."""
        try:
            progress = (await self._admin.topics.progress(self.name(topic))).get(group)
        except AdminError as error:
            raise BusUnavailableError(str(error)) from error
        return progress.records if progress else 0

    async def _is_read(self, topic: Topic, group: str) -> bool:
        """Asks without trying: every attempt that fails is an error in the client's and the broker's log."""
        progress = (await self._admin.topics.progress(self.name(topic))).get(group)
        return progress is not None and progress.members > 0

    async def count(self, tally: Mapping[str, int]) -> None:
        """Adds to the pipeline's counts, as far as the store can be reached: nothing else hangs on them."""
        if not tally:
            return
        try:
            async with self._store.pipeline(transaction=False) as pipeline:
                for name, amount in tally.items():
                    pipeline.hincrby(self._keys.tally, name, amount)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("counts %s are left out: %s", dict(tally), error)

    async def tally(self) -> dict[str, int]:
        counts: Any = await self._store.hgetall(self._keys.tally)
        return {name.decode(): int(count) for name, count in counts.items()}

    async def close(self) -> None:
        with contextlib.suppress(pulsar.AlreadyClosed):
            await asyncio.to_thread(self._client.close)
        await self._admin.close()
        await self._store.aclose()


def record_of(message: pulsar.Message, topic: Topic, value: bytes) -> Record:
    """A message of a partition; one that was sent alone has the place 0 in its batch."""
    at = message.message_id()
    position = f"{at.ledger_id()}-{at.entry_id()}-{max(at.batch_index(), 0)}"
    return Record(topic, at.partition(), position, message.partition_key(), value)


Acknowledge = Callable[[Topic, Any], None]
"""Tells the broker, of a topic, that a message id is done with."""


class Source(Protocol):
    """Where messages come from: a consumer, or what a function is handed."""

    def receive(self, timeout_millis: int) -> pulsar.Message:
        """The next one; raises pulsar.Timeout."""
        ...

    def is_connected(self) -> bool: ...


class PulsarSubscription:
    """One member of a group."""

    def __init__(
        self,
        bus: PulsarBus,
        source: Source,
        stored: StoredRecords,
        topics: Mapping[str, Topic],
        acknowledgement: Acknowledgement,
        acknowledge: Acknowledge,
    ) -> None:
        """`topics` are by full name; `stored` has a client attached when the first message comes."""
        self._bus, self._source, self._stored, self._topics = bus, source, stored, topics
        self._acknowledgement, self._acknowledge = acknowledgement, acknowledge
        self._messages: deque[pulsar.Message] = deque()
        self._records: deque[Record] = deque()
        self._receiving = threading.Lock()

    async def receive(self, limit: int, wait: float) -> list[Record]:
        """What a cancelled call has received comes with the next."""
        await _unless_out(asyncio.to_thread(self._fill, limit, wait))
        return [self._records.popleft() for _ in range(min(limit, len(self._records)))]

    def _fill(self, limit: int, wait: float) -> None:
        with self._receiving:
            milliseconds = 0 if self._records or self._messages else max(1, round(wait * 1_000))
            try:
                while len(self._records) + len(self._messages) < limit:
                    self._messages.append(self._source.receive(milliseconds))
                    milliseconds = 0
            except pulsar.Timeout:
                if not self._messages and not self._records and not self._source.is_connected():
                    raise
            while self._messages:
                self._records.append(self._record(self._messages[0]))
                self._messages.popleft()

    def _record(self, message: pulsar.Message) -> Record:
        topic = self._topics[str(TopicName.parse(message.topic_name()))]
        record = record_of(message, topic, self._stored.value(message))
        self._acknowledgement.delivered(topic, record.place, message.message_id())
        return record

    async def acknowledge(
        self,
        records: Sequence[Record],
        outputs: Mapping[Topic, Sequence[Message]] | None = None,
        tally: Mapping[str, int] | None = None,
    ) -> None:
        if outputs:
            await asyncio.gather(*(self._bus.publish(*output) for output in outputs.items()))
        done = self._acknowledgement.handled((record.topic, record.place) for record in records)
        await _unless_out(asyncio.to_thread(self._let_go, done))
        await self._bus.count(tally or {})

    def _let_go(self, done: Sequence[tuple[Topic, Any]]) -> None:
        for topic, message_id in done:
            self._acknowledge(topic, message_id)


async def _unless_out(call: Awaitable[None]) -> None:
    try:
        await call
    except pulsar.exceptions.PulsarException as error:
        raise BusUnavailableError(f"subscription: {error}") from error
