"""The bus on a real Valkey: order, redelivery, atomic commits, bounds."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recpipe.bus import BusFullError, BusUnavailableError, Message, ValkeyBus
from recpipe.schema import CLEAN, EVENT
from recpipe.store import Keys, connect
from recpipe.topics import Topic

EVENTS = Topic("t-events", EVENT, partitions=3, groups=("clean", "audit"), max_backlog=100)
CLEANED = Topic("t-clean", CLEAN, partitions=3, groups=("features",), max_backlog=100)


@pytest.fixture
async def bus(valkey_url: str) -> AsyncIterator[ValkeyBus]:
    bus = ValkeyBus(connect(valkey_url), Keys("t"))
    await bus.create([EVENTS, CLEANED])
    yield bus
    await bus.close()


def messages(count: int, users: int = 5) -> list[Message]:
    return [Message(f"user-{number % users}", str(number).encode()) for number in range(count)]


async def test_a_keys_records_arrive_in_order_over_all_partitions(bus: ValkeyBus) -> None:
    await bus.publish(EVENTS, messages(60))
    subscription = await bus.subscribe([EVENTS], "clean")
    seen: dict[str, list[int]] = defaultdict(list)
    while records := await subscription.receive(7, 0.01):
        for record in records:
            seen[record.key].append(int(record.value))
        await subscription.acknowledge(records)
    assert sum(map(len, seen.values())) == 60
    assert all(numbers == sorted(numbers) for numbers in seen.values())


async def test_what_was_not_acknowledged_comes_again_first_and_at_the_same_position(bus: ValkeyBus) -> None:
    await bus.publish(EVENTS, messages(20))
    first = await (await bus.subscribe([EVENTS], "clean")).receive(100, 0.01)
    await bus.publish(EVENTS, messages(1))
    restarted = await bus.subscribe([EVENTS], "clean")
    again = await restarted.receive(100, 0.01)
    assert {record.position for record in again} == {record.position for record in first}
    assert len(await restarted.receive(100, 0.01)) == 1


async def test_instances_share_the_partitions_without_overlap(bus: ValkeyBus) -> None:
    await bus.publish(EVENTS, messages(60, users=40))
    shares = [await (await bus.subscribe([EVENTS], "clean", i, 2)).receive(100, 0.01) for i in range(2)]
    positions = [{(record.partition, record.position) for record in share} for share in shares]
    assert not positions[0] & positions[1]
    assert sum(map(len, positions)) == 60


async def test_outputs_acknowledgement_and_counts_are_one_step(bus: ValkeyBus) -> None:
    await bus.publish(EVENTS, messages(10), {"gateway.accepted": 10})
    subscription = await bus.subscribe([EVENTS], "clean")
    records = await subscription.receive(100, 0.01)
    outputs = {CLEANED: [Message(record.key, record.value) for record in records]}
    await subscription.acknowledge(records, outputs, {"clean.accepted": len(records)})
    await subscription.acknowledge(
        records, outputs, {"clean.accepted": len(records)}
    )  # a retry after a lost answer
    assert await bus.tally() == {"gateway.accepted": 10, "clean.accepted": 10}
    assert await bus.backlog(EVENTS, "clean") == 0
    assert await bus.backlog(CLEANED, "features") == 10


async def test_an_acknowledgement_that_is_tried_again_takes_newer_records_along(bus: ValkeyBus) -> None:
    await bus.publish(EVENTS, messages(20))
    subscription = await bus.subscribe([EVENTS], "clean")
    records = await subscription.receive(100, 0.01)
    await subscription.acknowledge(records)  # and its answer is lost
    await bus.publish(EVENTS, messages(20))
    records += await subscription.receive(100, 0.01)
    await subscription.acknowledge(records, tally={"learner.learned": 40})
    assert await bus.backlog(EVENTS, "clean") == 0
    assert await bus.tally() == {"learner.learned": 40}


async def test_many_records_are_let_go_in_steps_that_leave_the_store_time_for_others(
    valkey_url: str,
) -> None:
    topic = Topic("t-many", EVENT, partitions=3, groups=("clean",), max_backlog=20_000)
    client = connect(valkey_url)
    bus = ValkeyBus(client, Keys("t"))
    subscription = await bus.subscribe([topic], "clean")
    await bus.publish(topic, messages(10_000))
    records = await subscription.receive(10_000, 0.1)
    before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await subscription.acknowledge(records, tally={"learner.learned": 10_000})
    after = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before >= 10
    assert await bus.backlog(topic, "clean") == 0
    assert await bus.tally() == {"learner.learned": 10_000}
    await bus.close()


async def test_a_full_topic_refuses_and_stores_nothing(bus: ValkeyBus) -> None:
    one = [Message("one", b"x")]
    await bus.publish(EVENTS, one * 100)
    with pytest.raises(BusFullError, match="t-events"):
        await bus.publish(EVENTS, one)
    assert await bus.backlog(EVENTS, "clean") == 100


async def test_room_is_made_of_what_every_group_has_acknowledged(bus: ValkeyBus) -> None:
    one = [Message("one", b"x")]
    await bus.publish(EVENTS, one * 100)
    for group in ("clean", "audit"):
        subscription = await bus.subscribe([EVENTS], group)
        records = await subscription.receive(100, 0.01)
        await subscription.acknowledge(records[:50] if group == "audit" else records)
    await bus.publish(EVENTS, one * 40)
    assert await bus.backlog(EVENTS, "audit") == 90
    with pytest.raises(BusFullError):
        await bus.publish(EVENTS, one * 11)


async def test_a_long_topic_gives_up_about_a_tenth_and_nothing_that_a_group_still_needs(
    valkey_url: str,
) -> None:
    topic = Topic("t-long", EVENT, partitions=1, groups=("clean",), max_backlog=20_000)
    bus = ValkeyBus(connect(valkey_url), Keys("t"))
    subscription = await bus.subscribe([topic], "clean")
    for _ in range(20):
        await bus.publish(topic, messages(1_000))
    with pytest.raises(BusFullError):
        await bus.publish(topic, messages(1))
    await subscription.acknowledge(await subscription.receive(500, 0.1))
    await bus.publish(topic, messages(1))
    left = [len(records) async for records in bus.history(topic, 0)]
    assert 19_501 <= sum(left) <= 19_701  # of 500 acknowledged, whole nodes of a hundred at most
    while records := await subscription.receive(2_000, 0.01):
        await subscription.acknowledge(records)
    await bus.publish(topic, messages(20_000 - sum(left) + 1))
    assert 17_500 <= sum([len(records) async for records in bus.history(topic, 0)]) <= 18_500
    await bus.close()


async def test_a_consumer_waits_for_room_downstream_and_then_goes_on(bus: ValkeyBus) -> None:
    await bus.publish(CLEANED, [Message("one", b"x")] * 100)
    await bus.publish(EVENTS, [Message("one", b"y")])
    subscription = await bus.subscribe([EVENTS], "clean")
    records = await subscription.receive(1, 0.01)
    commit = asyncio.create_task(subscription.acknowledge(records, {CLEANED: [Message("one", b"y")]}))
    downstream = await bus.subscribe([CLEANED], "features")
    waiting = await downstream.receive(100, 0.01)
    assert not commit.done()
    await downstream.acknowledge(waiting)
    await asyncio.wait_for(commit, 5)
    assert await bus.backlog(CLEANED, "features") == 1


async def test_an_unreachable_server_is_said_to_be_unavailable() -> None:
    bus = ValkeyBus(connect("redis://127.0.0.1:1", retries=0), Keys("t"))
    with pytest.raises(BusUnavailableError):
        await bus.publish(EVENTS, messages(1))
    await bus.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["publish", "receive", "acknowledge", "restart"]), max_size=30))
async def test_whatever_happens_in_between_nothing_is_lost(valkey_url: str, steps: list[str]) -> None:
    client = connect(valkey_url)
    await client.flushall()
    bus = ValkeyBus(client, Keys("t"))
    subscription = await bus.subscribe([EVENTS], "clean")
    sent = 0
    held = []
    done: list[bytes] = []
    for step in [*steps, "restart"]:
        match step:
            case "publish":
                await bus.publish(EVENTS, [Message(f"u{sent % 4}", str(sent).encode())])
                sent += 1
            case "receive":
                held += await subscription.receive(2, 0.001)
            case "acknowledge":
                await subscription.acknowledge(held)
                done += [record.value for record in held]
                held = []
            case "restart":
                subscription = await bus.subscribe([EVENTS], "clean")
                held = []
    while records := await subscription.receive(10, 0.001):
        await subscription.acknowledge(records)
        done += [record.value for record in records]
    await bus.close()
    assert sorted(map(int, done)) == list(range(sent))


async def test_the_history_of_a_partition_is_all_that_it_holds_whoever_has_read_it(bus: ValkeyBus) -> None:
    await bus.publish(EVENTS, messages(60))
    subscription = await bus.subscribe([EVENTS], "clean")
    await subscription.acknowledge(await subscription.receive(20, 1.0))
    backlog = await bus.backlog(EVENTS, "clean")
    held = [
        [record async for records in bus.history(EVENTS, partition) for record in records]
        for partition in range(EVENTS.partitions)
    ]
    assert sorted(int(record.value) for records in held for record in records) == list(range(60))
    for records in held:
        assert [record.place for record in records] == sorted(record.place for record in records)
    assert await bus.backlog(EVENTS, "clean") == backlog
    longest = max(held, key=len)
    middle, partition = longest[len(longest) // 2], longest[0].partition
    after = [record async for some in bus.history(EVENTS, partition, middle.position) for record in some]
    assert after == longest[len(longest) // 2 + 1 :]
