"""On a bus without an atomic step, records come again in other batches and clean's outputs are stored twice.

The bus here is a model of that: from any record on, everything may be delivered once more. What it
delivers is handled by the real functions on a real store.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from recpipe.bus import Message, Record
from recpipe.records import Event
from recpipe.schema import CLEAN, EVENT, FEATURES
from recpipe.spec import RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys, connect
from recpipe.topics import Topic, Topics
from recpipe_functions.backfill import Backfill
from recpipe_functions.clean.function import Clean
from recpipe_functions.features.function import Features
from tests.records import event

PIPELINE = RecommenderPipeline.model_validate(
    {
        "apiVersion": "recpipe.dev/v1alpha1",
        "kind": "RecommenderPipeline",
        "metadata": {"name": "shop"},
        "spec": {"cleaning": {"maxLateness": "1h", "bots": {"maxEventsPerSecond": 0.5, "burst": 4}}},
    }
)
TOPICS, KEYS = Topics.of(PIPELINE), Keys(PIPELINE.name)
BEGIN = 1_764_000_000_000
USERS = ("ann", "bob")


class RepeatingBus:
    """Keeps what is published; acknowledges nothing, as far as the next delivery is concerned."""

    def __init__(self) -> None:
        self.stored: defaultdict[Topic, list[Message]] = defaultdict(list)

    async def publish(self, topic: Topic, messages: Sequence[Message], _tally: Any = None) -> None:
        self.stored[topic] += messages

    async def acknowledge(
        self,
        _records: Sequence[Record],
        outputs: Mapping[Topic, Sequence[Message]] | None = None,
        _tally: Mapping[str, int] | None = None,
    ) -> None:
        for topic, messages in (outputs or {}).items():
            self.stored[topic] += messages

    def records(self, topic: Topic) -> list[Record]:
        return [
            Record(topic, 0, f"7-{number}", *message) for number, message in enumerate(self.stored[topic])
        ]


@st.composite
def deliveries(draw: st.DrawFn, count: int) -> list[tuple[int, int]]:
    """Ranges of records that are handled together: each begins no later than the one before ended."""
    ranges, reached = [], 0
    while reached < count:
        first = draw(st.integers(max(reached - 8, 0), reached))
        reached = max(reached, min(first + draw(st.integers(1, 12)), count))
        ranges.append((first, reached))
    return ranges


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """Two users, sometimes too fast for people, sometimes sending an event twice."""
    clocks, story = dict.fromkeys(USERS, BEGIN), list[Event]()
    for number in range(draw(st.integers(1, 40))):
        user = draw(st.sampled_from(USERS))
        clocks[user] += draw(st.sampled_from([0, 700, 2_000, 60_000]))
        story.append(
            event(
                clocks[user],
                event_id=f"{user}-{number - (draw(st.integers(0, 9)) == 0)}",
                user_id=user,
                event_type=draw(st.sampled_from(["click", "wink"])),
                item_id=f"item-{number % 5}",
                ingested_at=BEGIN + number,
                additional_data=draw(st.sampled_from(["{}", '{"_hints": {"untrusted": true}}'])),
            )
        )
    return story


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories(), data=st.data())
async def test_what_comes_again_counts_once_and_keeps_its_verdict(
    valkey_url: str, story: list[Event], data: st.DataObject
) -> None:
    batch = Backfill(PIPELINE)
    rows = {row["event_id"]: FEATURES.encode(row) for row in batch.rows(story)}
    client: Redis = connect(valkey_url)
    await client.flushall()
    bus: Any = RepeatingBus()
    await bus.publish(TOPICS.events, [Message(event["user_id"], EVENT.encode(event)) for event in story])
    for make, topic in ((Clean, TOPICS.events), (Features, TOPICS.clean)):
        records = bus.records(topic)
        for first, last in data.draw(deliveries(len(records))):
            await make(PIPELINE, bus, bus, client).handle(records[first:last])
    values: Any = await client.mget([KEYS.state(user) for user in USERS])
    await client.aclose()

    cleaned = {(event["event_id"], message.value) for event, message in _decoded(bus.stored[TOPICS.clean])}
    assert sorted(event_id for event_id, _ in cleaned) == sorted(rows), "copies of a clean event are equal"
    published = {
        FEATURES.decode(message.value)["event_id"]: message for message in bus.stored[TOPICS.features]
    }
    assert {event_id: message.value for event_id, message in published.items()} == rows
    for user, value in zip(USERS, values, strict=True):
        state = UserState.decode(value)
        assert msgspec.structs.replace(state, position=()) == batch.states[user]


def _decoded(messages: Sequence[Message]) -> list[tuple[dict[str, Any], Message]]:
    return [(CLEAN.decode(message.value), message) for message in messages]
