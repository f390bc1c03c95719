"""Sending encoded records: acknowledged by the broker before the call returns, bounded, within a deadline."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pulsar  # type: ignore[import-untyped]

from recpipe.bus import BusFullError, BusUnavailableError, Message
from recpipe.pulsar.client import MAX_UNSTORED, SEND_SECONDS, deployed, producer
from recpipe.pulsar.names import TopicName
from recpipe.topics import Topic

_FULL = {
    pulsar.Result.ProducerQueueIsFull,
    pulsar.Result.MemoryBufferIsFull,
    pulsar.Result.ProducerBlockedQuotaExceededError,
    pulsar.Result.ProducerBlockedQuotaExceededException,
}


class Senders:
    """The senders of one namespace's topics, each made when it is first used."""

    def __init__(self, client: pulsar.Client, tenant: str, namespace: str) -> None:
        self._client, self._tenant, self._namespace = client, tenant, namespace
        self._senders: dict[str, asyncio.Future[Sender]] = {}

    async def send(self, topic: Topic, messages: Sequence[Message]) -> None:
        """Returns when all are stored; raises BusFullError or BusUnavailableError, and some may be."""
        await (await self._sender(topic)).send(messages)

    async def _sender(self, topic: Topic) -> "Sender":
        """Those who ask while it is being made wait for the same one."""
        sender = self._senders.get(topic.name)
        if sender is None or (sender.done() and (sender.cancelled() or sender.exception())):
            sender = asyncio.ensure_future(asyncio.to_thread(self._open, topic))
            self._senders[topic.name] = sender
        return await asyncio.shield(sender)

    def _open(self, topic: Topic) -> "Sender":
        name = TopicName(self._tenant, self._namespace, topic.name)
        try:
            return Sender(topic, producer(self._client, deployed(self._client, name), topic))
        except pulsar.exceptions.PulsarException as error:
            raise BusUnavailableError(f"{topic.name}: {error}") from error


class Sender:
    """A producer of one topic, with a bound on what is on its way."""

    def __init__(self, topic: Topic, opened: pulsar.Producer) -> None:
        self._topic, self._producer = topic, opened
        self._unstored = 0

    async def send(self, messages: Sequence[Message]) -> None:
        """Sends nothing where one value is no record, or where too much is on its way already."""
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
