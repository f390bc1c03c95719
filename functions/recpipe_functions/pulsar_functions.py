"""Clean and features as Pulsar Functions: the very batches that are handled on one machine.

The framework hands over one message at a time. They are queued for a subscription, and a loop in a thread
of its own handles them in batches, which are acknowledged when their outputs are stored
(`processingGuarantees: MANUAL`). Nothing is negatively acknowledged: it would come again after later
messages of its key. A part that is out pauses the loop; an error that nobody expected ends the process, and
the function worker starts another, which is given everything that was not acknowledged.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pulsar  # type: ignore[import-untyped]
import uvloop

from recpipe.bus.pulsar import PulsarBus, PulsarSubscription
from recpipe.pulsar import Admin
from recpipe.pulsar.acknowledgement import EachRecord
from recpipe.pulsar.client import StoredRecords
from recpipe.pulsar.function_settings import FunctionSettings
from recpipe.store import Keys, connect
from recpipe.topics import Topic, Topics
from recpipe.worker import work
from recpipe_functions.clean.function import Clean
from recpipe_functions.features.function import Features
from recpipe_functions.local import Make

log = logging.getLogger(__name__)

QUEUED = 1_000
"""Messages handed over and not yet received; then the framework waits."""


class Raw(pulsar.SerDe):  # type: ignore[misc]
    """Bytes as they are: without it, the framework guesses at numbers and text."""

    def serialize(self, data: bytes) -> bytes:
        return data

    def deserialize(self, data: bytes) -> bytes:
        return data


class Inbox:
    """What the framework hands over, as a source of messages."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[pulsar.Message] = queue.SimpleQueue()

    def put(self, message: pulsar.Message) -> None:
        """Waits while it is full; by looking, for a queue with a bound costs 10 µs more a message."""
        while self._messages.qsize() >= QUEUED:
            time.sleep(0.001)
        self._messages.put(message)

    def receive(self, timeout_millis: int) -> pulsar.Message:
        try:
            return self._messages.get(block=timeout_millis > 0, timeout=timeout_millis / 1_000)
        except queue.Empty as error:
            raise pulsar.Timeout("no message was handed over") from error

    def is_connected(self) -> bool:
        return True


class FunctionBus(PulsarBus):
    """Counts by the function's context too: the worker shows them as user metrics."""

    context: Any

    async def count(self, tally: Mapping[str, int]) -> None:
        for name, amount in tally.items():
            self.context.record_metric(name, amount)
        await super().count(tally)


class BatchFunction(pulsar.Function):  # type: ignore[misc]
    """A function whose messages are handled in batches."""

    def __init__(self, reads: Callable[[Topics], Topic], make: Make) -> None:
        self._reads, self._make = reads, make
        self._inbox: Inbox | None = None

    def process(self, _input: bytes, context: Any) -> None:
        """Queues the message; its schema's version is known to the message only, not to `context`."""
        if self._inbox is None:
            self._inbox = Inbox()
            threading.Thread(target=self._run, args=(self._inbox, context), daemon=True).start()
        self._inbox.put(context.message)

    def _run(self, inbox: Inbox, context: Any) -> None:
        try:
            uvloop.run(self._work(inbox, context))
        except BaseException:
            log.exception("%s cannot go on", context.get_function_name())
            logging.shutdown()
            os._exit(1)  # from a thread, nothing less ends the process

    async def _work(self, inbox: Inbox, context: Any) -> None:
        settings = FunctionSettings.from_config(context.get_user_config_map())
        pipeline, client = settings.pipeline, context.get_pulsar_client()
        where = pipeline.spec.pulsar
        store = connect(settings.store_url(context.get_secret))
        bus = FunctionBus(client, Admin(where.admin_url), where, store, Keys(pipeline.name))
        bus.context = context
        topic = self._reads(Topics.of(pipeline))
        name = str(bus.name(topic))
        stored = StoredRecords({name: topic.schema.header})
        stored.attach_client(client._client)  # as the client does for those who subscribe with a schema
        subscription = PulsarSubscription(
            bus,
            inbox,
            stored,
            {name: topic},
            EachRecord(),
            lambda _, message_id: context.ack(message_id, name),
        )
        handle = self._make(pipeline, bus, subscription, store).handle
        await work(subscription, handle, asyncio.Event())


class CleanFunction(BatchFunction):
    """Events in, clean and rejected events out."""

    def __init__(self) -> None:
        super().__init__(lambda topics: topics.events, Clean)


class FeaturesFunction(BatchFunction):
    """Clean events in, states and feature rows out."""

    def __init__(self) -> None:
        super().__init__(lambda topics: topics.clean, Features)
