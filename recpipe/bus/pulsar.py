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
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import pulsar  # type: ignore[import-untyped]
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recpipe import spec
from recpipe.bus._protocol import BusFullError, BusUnavailableError, Message, Record
from recpipe.pulsar import Admin, Credentials, TopicName
from recpipe.pulsar.acknowledgement import Acknowledgement, EachRecord, UpToRecord
from recpipe.pulsar.client import MAX_UNSTORED, SEND_SECONDS, StoredRecords, connect, producer
from recpipe.pulsar.errors import AdminError
from recpipe.store import Keys
from recpipe.topics import Topic

log = logging.getLogger(__name__)

STANDBY_SECONDS = 1.0
RECEIVER_QUEUE = 1_000
_FULL = {
    pulsar.Result.ProducerQueueIsFull,
    pulsar.Result.MemoryBufferIsFull,
    pulsar.Result.ProducerBlockedQuotaExceededError,
    pulsar.Result.ProducerBlockedQuotaExceededException,
}


class PulsarBus:
    """A bus over one Pulsar namespace; counts go to `store`, which is closed with it."""

    def __init__(
        self, settings: spec.Pulsar, store: Redis, keys: Keys, credentials: Credentials | None = None
    ) -> None:
        self._settings, self._store, self._keys = settings, store, keys
        self._client = connect(settings.service_url, credentials)
        self._admin = Admin(settings.admin_url, credentials)
        self._senders: dict[str, asyncio.Future[Sender]] = {}

    async def publish(
        self, topic: Topic, messages: Sequence[Message], tally: Mapping[str, int] | None = None
    ) -> None:
        if messages:
            await (await self._sender(topic)).send(messages)
        await self.count(tally or {})

    async def _sender(self, topic: Topic) -> "Sender":
        """One for each topic: those who ask while it is being made wait for the same one."""
        sender = self._senders.get(topic.name)
        if sender is None or (sender.done() and (sender.cancelled() or sender.exception())):
            sender = asyncio.ensure_future(asyncio.to_thread(self._open_sender, topic))
            self._senders[topic.name] = sender
        return await asyncio.shield(sender)

    def _open_sender(self, topic: Topic) -> "Sender":
        try:
            return Sender(topic, producer(self._client, self._deployed(topic), topic.schema))
        except pulsar.exceptions.PulsarException as error:
            raise BusUnavailableError(f"{topic.name}: {error}") from error

    def _name(self, topic: Topic) -> TopicName:
        return TopicName(self._settings.tenant, self._settings.namespace, topic.name)

    def _deployed(self, topic: Topic) -> TopicName:
        """Its full name. A topic that is missing must not be made by its first user, without partitions."""
        name = self._name(topic)
        if self._client.get_topic_partitions(str(name)) == [str(name)]:
            raise BusUnavailableError(f"{name} is not there yet: deploy the pipeline's topics first")
        return name

    async def subscribe(
        self, topics: Sequence[Topic], group: str, instance: int = 0, instances: int = 1
    ) -> "PulsarSubscription":
        """Waits while the group's only member is another one; raises BusUnavailableError."""
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
        named = {str(self._deployed(topic)): topic for topic in topics}
        alone = instances == 1
        consumer = self._client.subscribe(
            list(named),
            group,
            pulsar.ConsumerType.Exclusive if alone else pulsar.ConsumerType.KeyShared,
            schema=StoredRecords({name: topic.schema.header for name, topic in named.items()}),
            initial_position=pulsar.InitialPosition.Earliest,
            receiver_queue_size=RECEIVER_QUEUE,
        )
        if alone:
            return PulsarSubscription(self, consumer, named, UpToRecord(), consumer.acknowledge_cumulative)
        return PulsarSubscription(self, consumer, named, EachRecord(), consumer.acknowledge)

    async def backlog(self, topic: Topic, group: str) -> int:
        """Exact where it is 0; else estimated, as the broker counts batches."""
        try:
            progress = (await self._admin.topics.progress(self._name(topic))).get(group)
        except AdminError as error:
            raise BusUnavailableError(str(error)) from error
        return progress.records if progress else 0

    async def _is_read(self, topic: Topic, group: str) -> bool:
        """Asks without trying: every attempt that fails is an error in the client's and the broker's log."""
        progress = (await self._admin.topics.progress(self._name(topic))).get(group)
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


class Sender:
    """A producer of one topic, with a bound on what is on its way."""

    def __init__(self, topic: Topic, opened: pulsar.Producer) -> None:
        self._topic, self._producer = topic, opened
        self._unstored = 0

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns when all are stored. BusFullError: none is; BusUnavailableError: some may be."""
        header = self._topic.schema.header
        for message in messages:
            if not message.value.startswith(header):
                raise ValueError(f"{self._topic.name}: a value is no encoded {self._topic.schema.name}")
        if self._unstored + len(messages) > MAX_UNSTORED:
            raise BusFullError(f"{self._topic.name}: {self._unstored} records are waiting for the broker")
        self._unstored += len(messages)
        sending = _Sending(len(messages))
        try:
            for message in messages:
                self._producer.send_async(message.value, sending.settle, partition_key=message.key)
            async with asyncio.timeout(2 * SEND_SECONDS):
                refused = await sending.refusals
        except (TimeoutError, pulsar.exceptions.PulsarException) as error:
            raise BusUnavailableError(f"{self._topic.name}: {error or 'no answer'}") from error
        finally:
            self._unstored -= len(messages)
        if refused:
            kind = BusFullError if refused & _FULL else BusUnavailableError
            names = ", ".join(sorted(each.name for each in refused))
            raise kind(f"{self._topic.name}: {names}")


class _Sending:
    """Collects the results of some messages, which come on the client's threads."""

    def __init__(self, count: int) -> None:
        self._count, self._results = count, list[pulsar.Result]()
        self._loop = asyncio.get_running_loop()
        self.refusals: asyncio.Future[set[pulsar.Result]] = self._loop.create_future()

    def settle(self, result: pulsar.Result, _message_id: Any) -> None:
        self._results.append(result)
        if len(self._results) == self._count:
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.refusals.done():
            self.refusals.set_result(set(self._results) - {pulsar.Result.Ok})


class PulsarSubscription:
    """One member of a group."""

    def __init__(
        self,
        bus: PulsarBus,
        consumer: pulsar.Consumer,
        topics: Mapping[str, Topic],
        acknowledgement: Acknowledgement,
        acknowledge: Any,
    ) -> None:
        self._bus, self._consumer, self._topics = bus, consumer, topics
        self._acknowledgement, self._acknowledge = acknowledgement, acknowledge
        self._messages: deque[pulsar.Message] = deque()
        self._records: deque[Record] = deque()
        self._receiving = threading.Lock()

    async def receive(self, limit: int, wait: float) -> list[Record]:
        """What a cancelled call has received comes with the next."""
        await self._unless_out(asyncio.to_thread(self._fill, limit, wait))
        return [self._records.popleft() for _ in range(min(limit, len(self._records)))]

    def _fill(self, limit: int, wait: float) -> None:
        with self._receiving:
            milliseconds = 0 if self._records or self._messages else max(1, round(wait * 1_000))
            try:
                while len(self._records) + len(self._messages) < limit:
                    self._messages.append(self._consumer.receive(milliseconds))
                    milliseconds = 0
            except pulsar.Timeout:
                if not self._messages and not self._records and not self._consumer.is_connected():
                    raise
            while self._messages:
                self._records.append(self._record(self._messages[0]))
                self._messages.popleft()

    def _record(self, message: pulsar.Message) -> Record:
        at = message.message_id()
        topic = self._topics[str(TopicName.parse(message.topic_name()))]
        position = f"{at.ledger_id()}-{at.entry_id()}-{max(at.batch_index(), 0)}"
        record = Record(topic, at.partition(), position, message.partition_key(), message.value())
        self._acknowledgement.delivered(topic.name, record.place, at)
        return record

    async def acknowledge(
        self,
        records: Sequence[Record],
        outputs: Mapping[Topic, Sequence[Message]] | None = None,
        tally: Mapping[str, int] | None = None,
    ) -> None:
        if outputs:
            await asyncio.gather(*(self._bus.publish(*output) for output in outputs.items()))
        ids = self._acknowledgement.handled((record.topic.name, record.place) for record in records)
        await self._unless_out(asyncio.to_thread(self._let_go, ids))
        await self._bus.count(tally or {})

    def _let_go(self, ids: Sequence[Any]) -> None:
        for each in ids:
            self._acknowledge(each)

    async def _unless_out(self, call: Awaitable[None]) -> None:
        try:
            await call
        except pulsar.exceptions.PulsarException as error:
            raise BusUnavailableError(f"{self._consumer.subscription_name()}: {error}") from error
