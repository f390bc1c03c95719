"""A pipeline deployed on a real Pulsar, from the edge and from the learner's end, for tests."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from recpipe.bus import BusUnavailableError, Message, Record, Subscription
from recpipe.bus.pulsar import PulsarBus
from recpipe.pulsar import Admin
from recpipe.pulsar.deployment import Desired, apply, desired, observe, plan, removal, until_running
from recpipe.pulsar.function_settings import desired_functions
from recpipe.records import Event
from recpipe.schema import EVENT, Schema
from recpipe.spec import DeletionPolicy, RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys
from recpipe.store import connect as connect_store
from recpipe.topics import Topic, Topics
from recpipe_functions.package import build

PATIENCE_SECONDS = 120.0


def resource(cluster: Any, **spec: Any) -> dict[str, Any]:
    """A pipeline with a name of its own."""
    return {
        "apiVersion": "recpipe.dev/v1alpha1",
        "kind": "RecommenderPipeline",
        "metadata": {"name": f"p{uuid.uuid4().hex[:8]}"},
        "spec": {"events": {"partitions": 2}, "pulsar": cluster.model_dump(by_alias=True), **spec},
    }


def wanted(
    resource: dict[str, Any], store: str, parallelism: int = 1, package: bytes | None = None
) -> Desired:
    pipeline = RecommenderPipeline.model_validate(resource)
    functions = desired_functions(pipeline, package or build(), store, parallelism=parallelism)
    return desired(pipeline, functions)


async def deploy(admin: Admin, what: Desired) -> list[str]:
    """Applies, and waits until every instance runs; what was changed."""
    changes, obstacles = plan(what, await observe(admin, what))
    assert obstacles == []
    await apply(admin, changes)
    await until_running(admin, what, PATIENCE_SECONDS)
    return [change.text for change in changes]


def messages(events: Iterable[Event]) -> list[Message]:
    return [Message(event["user_id"], EVENT.encode(event)) for event in events]


class Shop:
    """A deployed pipeline."""

    def __init__(self, resource: dict[str, Any], bus: PulsarBus, store: Redis) -> None:
        self.resource, self.bus, self.store = resource, bus, store
        self.pipeline = RecommenderPipeline.model_validate(resource)
        self.topics, self.keys = Topics.of(self.pipeline), Keys(self.pipeline.name)
        self.read: dict[str, list[dict[str, Any]]] = {}
        self._subscriptions: dict[str, Subscription] = {}

    async def send(self, batch: Sequence[Message]) -> None:
        """Until the broker has all of them, as a sender does that waits for its answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await self.bus.publish(self.topics.events, batch)
                except BusUnavailableError:
                    await asyncio.sleep(0.1)

    async def reads(self, topic: Topic, group: str) -> None:
        self._subscriptions[topic.name] = await self.bus.subscribe([topic], group)
        self.read[topic.name] = []

    async def read_until(self, topic: Topic, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Reads a topic, through outages, until what has been read is as it should be."""
        read, subscription = self.read[topic.name], self._subscriptions[topic.name]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds(read):
                try:
                    records = await subscription.receive(500, 0.2)
                    await subscription.acknowledge(records)
                    read += decoded(topic.schema, records)
                except BusUnavailableError:
                    await asyncio.sleep(0.1)

    async def rows_of(self, events: set[str]) -> list[dict[str, Any]]:
        """Every row so far, once each of these events has one."""
        topic = self.topics.features
        await self.read_until(topic, lambda rows: events <= {row["event_id"] for row in rows})
        return self.read[topic.name]

    async def states(self, users: Sequence[str]) -> dict[str, UserState]:
        values: Any = await self.store.mget([self.keys.state(user) for user in users])
        return {user: UserState.decode(value) for user, value in zip(users, values, strict=True)}

    async def tally_until(self, holds: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds(tally := await self.bus.tally()):
                await asyncio.sleep(0.1)
        return tally


def decoded(schema: Schema, records: Sequence[Record]) -> list[dict[str, Any]]:
    return [schema.decode(record.value) for record in records]


@asynccontextmanager
async def deployed(admin: Admin, resource: dict[str, Any], store: str) -> AsyncIterator[Shop]:
    """Deploys a pipeline, reads its rows, and takes away all of it in the end."""
    what = wanted(resource, store)
    await deploy(admin, what)
    pipeline = RecommenderPipeline.model_validate(resource)
    client = connect_store(store)
    bus = PulsarBus.connect(pipeline.spec.pulsar, connect_store(store), Keys(pipeline.name))
    shop = Shop(resource, bus, client)
    try:
        await shop.reads(shop.topics.features, "learner")
        yield shop
    finally:
        await bus.close()
        await client.aclose()
        await apply(admin, removal(await observe(admin, what), DeletionPolicy.DELETE))


def instances(pipeline: str) -> list[int]:
    """The processes of a pipeline's functions."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if "python_instance_main" in command and f'"{pipeline}-' in command:
            found.append(int(entry.name))
    return found
