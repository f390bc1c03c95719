"""However events are batched and wherever the functions die, the stream gives what the backfill gives."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from recpipe.bus import Bus, Message, Subscription, ValkeyBus
from recpipe.catalogue import Item
from recpipe.records import Event
from recpipe.schema import EVENT, FEATURES
from recpipe.spec import RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys, connect
from recpipe.topics import CLEAN_GROUP, FEATURES_GROUP, Topic, Topics
from recpipe_functions.backfill import Backfill
from recpipe_functions.clean.function import Clean
from recpipe_functions.features.function import Features
from recpipe_functions.local import Make
from tests.records import event

PIPELINE = RecommenderPipeline.model_validate(
    {
        "apiVersion": "recpipe.dev/v1alpha1",
        "kind": "RecommenderPipeline",
        "metadata": {"name": "shop"},
        "spec": {
            "events": {"partitions": 2},
            "cleaning": {"maxLateness": "1h", "bots": {"maxEventsPerSecond": 0.5, "burst": 4}},
            "features": {"historyLength": 4},
        },
    }
)
TOPICS, KEYS = Topics.of(PIPELINE), Keys(PIPELINE.name)
USERS = ("ann", "bob", "cid")
ITEMS = {name: Item(name, categories=[f"c-{name}", "all"]) for name in ("lamp", "sofa")}
PROFILES = {"ann": {"plan": "gold"}}
BEGIN = 1_764_000_000_000


class DiedError(Exception):
    """The process that held the client is gone."""


class MortalRedis(Redis):
    """A real client that dies with its n-th command: before it is sent, or before its answer is heard."""

    commands_left: int | None = None
    is_sent_last = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.commands_left is not None:
            self.commands_left -= 1
        dies = self.commands_left is not None and self.commands_left < 0
        answer: Any = None
        if not dies or (self.is_sent_last and self.commands_left == -1):
            answer = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if dies:
            raise DiedError
        return answer


class Life(msgspec.Struct):
    """One run of a function: how many records it takes at once, and the command it dies with."""

    limit: int
    commands: int
    is_sent_last: bool


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """Some seconds of three users: bursts, jumps in time, repeats, items known and unknown, bad events."""
    clocks, story = dict.fromkeys(USERS, BEGIN), list[Event]()
    for number in range(draw(st.integers(1, 40))):
        user = draw(st.sampled_from(USERS))
        clocks[user] += draw(st.sampled_from([0, 1, 700, 60_000, -30_000]))
        repeated = draw(st.integers(0, 9)) == 0
        story.append(
            event(
                clocks[user],
                event_id=f"{user}-{number - 1 if repeated else number}",
                user_id=user,
                session_id=draw(st.sampled_from(["", "s1"])),
                event_type=draw(st.sampled_from(["click", "click", "purchase", "wink"])),
                item_id=draw(st.sampled_from([None, "lamp", "sofa", "unknown"])),
                ingested_at=BEGIN + number,
                page_url="https://shop.example/",
                additional_data=draw(st.sampled_from(["{}", '{"_hints": {"untrusted": true}}'])),
            )
        )
    return story


lives = st.lists(st.builds(Life, st.integers(1, 9), st.integers(1, 12), st.booleans()), max_size=5)


async def run(url: str, make: Make, reads: Topic, group: str, lives: Sequence[Life], limit: int) -> None:
    """Runs a function until it has read all, in several lives."""
    for life in (*lives, None):
        client = cast(MortalRedis, MortalRedis.from_url(url, protocol=3))
        bus: Bus = ValkeyBus(client, KEYS)
        subscription: Subscription = await bus.subscribe([reads], group)
        function = make(PIPELINE, bus, subscription, client)
        if life:
            client.commands_left, client.is_sent_last = life.commands, life.is_sent_last
        try:
            while records := await subscription.receive(life.limit if life else limit, 0.001):
                await function.handle(records)
        except DiedError:
            pass
        finally:
            client.commands_left = None
            await bus.close()


async def read(client: Redis, topic: Topic) -> list[dict[str, Any]]:
    partitions: list[Any] = [await client.xrange(f"{topic.name}:{n}") for n in range(topic.partitions)]
    return [topic.schema.decode(fields[b"v"]) for entries in partitions for _, fields in entries]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories(), clean=lives, features=lives, limit=st.integers(1, 50))
@example(
    story=[event(BEGIN, event_id=f"e{n}") for n in range(12)],
    clean=[Life(6, n, sent) for n in (2, 3, 4, 5) for sent in (False, True)],
    features=[Life(3, n, sent) for n in (2, 3, 4, 5) for sent in (False, True)],
    limit=50,
)
async def test_stream_equals_batch(
    valkey_url: str, story: list[Event], clean: list[Life], features: list[Life], limit: int
) -> None:
    batch = Backfill(PIPELINE, ITEMS, PROFILES)
    rows = {row["event_id"]: FEATURES.encode(row) for row in batch.rows(story)}

    client = connect(valkey_url)
    await client.flushall()
    await client.mset({KEYS.item(name): msgspec.json.encode(item) for name, item in ITEMS.items()})
    await client.mset({KEYS.profile(user): msgspec.json.encode(told) for user, told in PROFILES.items()})
    bus = ValkeyBus(client, KEYS)
    await bus.create(list(TOPICS))
    await bus.publish(TOPICS.events, [Message(event["user_id"], EVENT.encode(event)) for event in story])
    await run(valkey_url, Clean, TOPICS.events, CLEAN_GROUP, clean, limit)
    await run(valkey_url, Features, TOPICS.clean, FEATURES_GROUP, features, limit)

    cleaned = [event["event_id"] for event in await read(client, TOPICS.clean)]
    published = await read(client, TOPICS.features)
    values: Any = await client.mget([KEYS.state(user) for user in USERS])
    states = {user: UserState.decode(value) for user, value in zip(USERS, values, strict=True)}
    tally = await bus.tally()
    await bus.close()

    assert sorted(cleaned) == sorted(rows), "each accepted event once"
    assert {row["event_id"] for row in published} == set(rows)
    assert all(FEATURES.encode(row) == rows[row["event_id"]] for row in published), (
        "repeats of a row are equal"
    )
    for user, state in states.items():
        assert msgspec.structs.replace(state, position=()) == batch.states[user]
    assert {name: count for name, count in tally.items() if name != "features.repeat"} == batch.tally
    verdicts = ("clean.accepted", "clean.duplicate", "clean.rejected")
    assert sum(tally.get(name, 0) for name in verdicts) == len(story)
