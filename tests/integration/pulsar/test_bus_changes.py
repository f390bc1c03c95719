"""What the bus does while things change under it: killed brokers, growing topics, older writers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pulsar.schema import AvroSchema

from recpipe.bus import BusUnavailableError, Message, Record, Subscription
from recpipe.bus.pulsar import PulsarBus
from recpipe.pulsar.client import connect
from recpipe.schema import ITEM, MARKER
from recpipe.spec import Pulsar
from recpipe.topics import Topic

PATIENCE_SECONDS = 90.0
OUTAGE_SECONDS = 15.0
Open = Callable[[], PulsarBus]


def messages(first: int, count: int) -> list[Message]:
    return [
        Message(f"key-{number % 20}", ITEM.encode({"item_id": f"item-{number}", "timestamp": number}))
        for number in range(first, first + count)
    ]


def numbers(records: Sequence[Record]) -> list[int]:
    return [ITEM.decode(record.value)["timestamp"] for record in records]


async def read(subscription: Subscription, wanted: set[int]) -> list[Record]:
    """Everything that comes until all that is wanted has come, through outages."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not wanted <= set(numbers(records)):
            try:
                records += await subscription.receive(256, 0.5)
            except BusUnavailableError:
                await asyncio.sleep(0.1)
    return records


async def received(subscription: Subscription, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(records) < count:
            records += await subscription.receive(count - len(records), 0.5)
    return records


async def publish(bus: PulsarBus, topic: Topic, batch: list[Message]) -> None:
    """Until it is stored."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await bus.publish(topic, batch)
            except BusUnavailableError:
                await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_a_killed_broker_is_noticed_in_time_and_loses_nothing_that_was_stored(
    broker: Any, open_bus: Open, items: Topic
) -> None:
    if broker is None:
        pytest.skip("the cluster is not ours to kill")
    bus = open_bus()
    subscription = await bus.subscribe([items], "learner")
    await bus.publish(items, messages(0, 500))
    before = await read(subscription, set(range(500)))
    await subscription.acknowledge(before[:250])

    broker.kill()
    begun = time.monotonic()
    with pytest.raises(BusUnavailableError, match=items.name):
        await bus.publish(items, messages(500, 10))
    with pytest.raises(BusUnavailableError, match="subscription"):
        await subscription.receive(1, 0.1)
    assert time.monotonic() - begun < OUTAGE_SECONDS

    await asyncio.to_thread(broker.up)
    await publish(bus, items, messages(510, 90))
    after = await read(subscription, {*numbers(before[250:]), *range(510, 600)})
    stored_at = dict(zip((record.place for record in before), numbers(before), strict=True))
    again = [record for record in after if record.place in stored_at]
    assert numbers(again) == [stored_at[record.place] for record in again]

    everything = await read(await open_bus().subscribe([items], "audit"), {*range(500), *range(510, 600)})
    assert (
        stored_at.items()
        <= dict(zip((r.place for r in everything), numbers(everything), strict=True)).items()
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_new_partitions_are_written_and_read_without_a_restart(growing: "Future[set[int]]") -> None:
    assert await asyncio.to_thread(growing.result, 200) == set(range(6))


async def test_what_an_older_version_wrote_carries_that_versions_fingerprint(
    bus: PulsarBus, cluster: Pulsar, items: Topic
) -> None:
    older = ITEM.definition | {
        "fields": [each for each in ITEM.definition["fields"] if each["name"] != "deleted"]
    }
    written = {"item_id": "old", "title": "", "categories": [], "attributes": {}, "timestamp": 1}
    client = connect(cluster.service_url)
    sender = client.create_producer(
        f"persistent://{cluster.tenant}/{cluster.namespace}/{items.name}",
        schema=AvroSchema(None, schema_definition=older),
    )
    sender.send(written, partition_key="key")
    await bus.publish(items, messages(0, 1))
    subscription = await bus.subscribe([items], "learner")
    values = {record.key: record.value for record in await received(subscription, 2)}
    client.close()
    expected = MARKER + bytes.fromhex(fingerprint(to_parsing_canonical_form(older), "CRC-64-AVRO"))
    assert values["key"][:10] == expected
    assert values["key-0"][:10] == ITEM.header


async def test_what_a_cancelled_call_received_comes_with_the_next(bus: PulsarBus, items: Topic) -> None:
    subscription = await bus.subscribe([items], "learner")
    waiting = asyncio.create_task(subscription.receive(100, 30))
    await asyncio.sleep(0)
    waiting.cancel()
    await bus.publish(items, messages(0, 20))
    assert sorted(numbers(await received(subscription, 20))) == list(range(20))
