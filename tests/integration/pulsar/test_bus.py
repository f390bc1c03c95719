"""The bus on a real Pulsar: order, redelivery, one active member, shares by key, killed brokers."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pulsar
import pytest
from pulsar.schema import AvroSchema

from recpipe.bus import BusFullError, BusUnavailableError, Message, Record, Subscription
from recpipe.bus.pulsar import PulsarBus
from recpipe.pulsar.client import MAX_UNSTORED, connect
from recpipe.schema import ITEM, REJECTED
from recpipe.spec import Pulsar
from recpipe.store import Keys
from recpipe.store import connect as connect_store
from recpipe.topics import CLEAN_GROUP, Topic

PATIENCE_SECONDS = 90.0
Open = Callable[[], PulsarBus]


def item(number: int) -> bytes:
    return ITEM.encode({"item_id": f"item-{number}", "title": str(number), "timestamp": number})


def messages(count: int, keys: int = 5) -> list[Message]:
    return [Message(f"key-{number % keys}", item(number)) for number in range(count)]


def numbers(records: Sequence[Record]) -> list[int]:
    return [ITEM.decode(record.value)["timestamp"] for record in records]


async def received(subscription: Subscription, count: int) -> list[Record]:
    """The next `count` records, in the order of arrival."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(records) < count:
            records += await subscription.receive(count - len(records), 0.5)
    return records


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await met():
            await asyncio.sleep(0.1)


async def test_a_keys_records_arrive_in_order_over_all_partitions(bus: PulsarBus, items: Topic) -> None:
    for start in range(0, 60, 6):
        await bus.publish(items, messages(60)[start : start + 6])
    records = await received(await bus.subscribe([items], "learner"), 60)
    seen: dict[str, list[int]] = defaultdict(list)
    places: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for record, number in zip(records, numbers(records), strict=True):
        seen[record.key].append(number)
        places[record.partition].append(record.place)
    assert sorted(numbers(records)) == list(range(60))
    assert all(each == sorted(each) for each in seen.values())
    assert all(each == sorted(set(each)) for each in places.values())


async def test_what_was_not_acknowledged_comes_again_at_the_same_position(
    open_bus: Open, items: Topic
) -> None:
    first = open_bus()
    await first.publish(items, messages(40))
    subscription = await first.subscribe([items], "learner")
    records = await received(subscription, 40)
    kept = [record for record in records if record.key == "key-0"]
    await subscription.acknowledge([record for record in records if record.key != "key-0"])
    await first.close()
    restarted = await open_bus().subscribe([items], "learner")
    again: dict[tuple[int, ...], int] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not {record.place for record in kept} <= again.keys():
            batch = await restarted.receive(100, 0.5)
            again |= zip((record.place for record in batch), numbers(batch), strict=True)
    before = dict(zip((record.place for record in records), numbers(records), strict=True))
    assert again.items() <= before.items()


async def test_what_was_acknowledged_does_not_come_again(open_bus: Open, items: Topic) -> None:
    first = open_bus()
    await first.publish(items, messages(40))
    subscription = await first.subscribe([items], "learner")
    await subscription.acknowledge(await received(subscription, 40))

    async def nothing_left() -> bool:
        return await first.backlog(items, "learner") == 0

    await until(nothing_left)
    await first.close()
    second = open_bus()
    await second.publish(items, [Message("key-0", item(99))])
    assert numbers(await received(await second.subscribe([items], "learner"), 1)) == [99]


async def test_a_second_member_waits_until_the_first_is_gone(open_bus: Open, items: Topic) -> None:
    active, standby = open_bus(), open_bus()
    subscription = await active.subscribe([items], "learner")
    waiting = asyncio.create_task(standby.subscribe([items], "learner"))
    await active.publish(items, messages(30))
    assert sorted(numbers(await received(subscription, 30))) == list(range(30))
    assert not waiting.done()
    await active.close()
    assert sorted(numbers(await received(await waiting, 30))) == list(range(30))


async def test_members_that_share_keep_each_key_to_one_of_them(open_bus: Open, items: Topic) -> None:
    shared = replace(items, groups=(CLEAN_GROUP,))
    members = [await open_bus().subscribe([shared], CLEAN_GROUP, i, 2) for i in range(2)]
    await open_bus().publish(shared, messages(400, keys=40))
    keys_of: list[set[str]] = [set(), set()]
    seen: dict[str, list[int]] = defaultdict(list)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(map(len, seen.values())) < 400:
            for member, keys in zip(members, keys_of, strict=True):
                records = await member.receive(100, 0.1)
                keys |= {record.key for record in records}
                for record, number in zip(records, numbers(records), strict=True):
                    seen[record.key].append(number)
                await member.acknowledge(records)
    assert keys_of[0]
    assert keys_of[1]
    assert not keys_of[0] & keys_of[1]
    assert all(each == sorted(each) for each in seen.values())


async def test_a_topic_whose_batches_mix_keys_is_not_shared(bus: PulsarBus, items: Topic) -> None:
    with pytest.raises(ValueError, match="not sent by key"):
        await bus.subscribe([items], "learner", 0, 2)


async def test_outputs_are_stored_before_the_input_is_let_go_and_counts_are_kept(
    bus: PulsarBus, items: Topic, rejected: Topic
) -> None:
    await bus.publish(items, messages(10), {"gateway.accepted": 10})
    subscription = await bus.subscribe([items], "learner")
    records = await received(subscription, 10)
    whole = [
        Message(
            record.key,
            REJECTED.encode({"stage": "clean", "reason": "late", "timestamp": 0, "value": record.value}),
        )
        for record in records
    ]
    await subscription.acknowledge(records, {rejected: whole}, {"clean.rejected": len(records)})
    stored = await received(await bus.subscribe([rejected], "audit"), 10)
    assert sorted(numbers([r._replace(value=REJECTED.decode(r.value)["value"]) for r in stored])) == list(
        range(10)
    )
    assert await bus.tally() == {"gateway.accepted": 10, "clean.rejected": 10}


async def test_one_subscription_reads_several_topics(bus: PulsarBus, items: Topic, rejected: Topic) -> None:
    await bus.publish(items, messages(5))
    value = REJECTED.encode({"stage": "clean", "reason": "late", "timestamp": 0, "value": b"x"})
    await bus.publish(rejected, [Message("key", value)])
    records = await received(await bus.subscribe([items, rejected], "both"), 6)
    assert {record.topic.name: record.topic.schema for record in records} == {
        items.name: ITEM,
        rejected.name: REJECTED,
    }
    assert sorted(numbers([record for record in records if record.topic == items])) == list(range(5))


async def test_the_history_of_a_partition_is_read_beside_its_groups(bus: PulsarBus, items: Topic) -> None:
    await bus.publish(items, messages(40))
    subscription = await bus.subscribe([items], "learner")
    await subscription.acknowledge(await received(subscription, 40))
    held = [
        [record async for records in bus.history(items, partition) for record in records]
        for partition in range(items.partitions)
    ]
    assert sorted(numbers([record for records in held for record in records])) == list(range(40))
    longest = max(held, key=len)
    middle, partition = longest[len(longest) // 2], longest[0].partition
    after = [record async for some in bus.history(items, partition, middle.position) for record in some]
    assert after == longest[len(longest) // 2 + 1 :]


async def test_another_consumer_reads_the_records_as_plain_avro(
    bus: PulsarBus, items: Topic, cluster: Pulsar
) -> None:
    await bus.publish(items, messages(1))
    client = connect(cluster.service_url)
    consumer = client.subscribe(
        f"persistent://{cluster.tenant}/{cluster.namespace}/{items.name}",
        "warehouse",
        schema=AvroSchema(None, schema_definition=ITEM.definition),
        initial_position=pulsar.InitialPosition.Earliest,
    )
    assert consumer.receive(10_000).value()["item_id"] == "item-0"
    client.close()


async def test_the_backlog_is_about_the_number_of_records(bus: PulsarBus, items: Topic) -> None:
    await bus.publish(items, messages(2_000, keys=50))
    assert 1_600 <= await bus.backlog(items, "learner") <= 2_400


async def test_a_topic_that_was_not_deployed_is_not_made_by_its_first_user(
    bus: PulsarBus, namespace: str
) -> None:
    missing = Topic("missing-items", ITEM, 3)
    with pytest.raises(BusUnavailableError, match="deploy"):
        await bus.publish(missing, messages(1))
    with pytest.raises(BusUnavailableError, match="deploy"):
        await bus.subscribe([missing], "learner")


async def test_more_than_may_be_on_its_way_is_refused_and_nothing_is_sent(
    bus: PulsarBus, items: Topic
) -> None:
    with pytest.raises(BusFullError, match=items.name):
        await bus.publish(items, [Message("key", item(0))] * (MAX_UNSTORED + 1))
    assert await bus.backlog(items, "learner") == 0


async def test_what_is_no_encoded_record_is_refused(bus: PulsarBus, items: Topic) -> None:
    with pytest.raises(ValueError, match="no encoded item"):
        await bus.publish(items, [Message("key", b"{}")])


async def test_an_unreachable_broker_is_said_to_be_unavailable_in_time(valkey_url: str) -> None:
    nowhere = Pulsar(service_url="pulsar://127.0.0.1:1", admin_url="http://127.0.0.1:1")
    bus = PulsarBus.connect(nowhere, connect_store(valkey_url), Keys("t"))
    begun = time.monotonic()
    with pytest.raises(BusUnavailableError):
        await bus.publish(Topic("t-items", ITEM, 3), messages(1))
    assert time.monotonic() - begun < 15
    await bus.close()
