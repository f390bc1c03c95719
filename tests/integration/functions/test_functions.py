"""Clean and features on a real Valkey: verdicts, outputs, what is kept and for how long."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from recpipe.bus import Message, ValkeyBus
from recpipe.records import Event
from recpipe.schema import CLEAN, EVENT
from recpipe.spec import RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys, connect
from recpipe.topics import CLEAN_GROUP, FEATURES_GROUP, Topic, Topics
from recpipe_functions.clean.function import Clean
from recpipe_functions.features.function import Features
from tests import records

NOW = 1_764_000_000_000


def pipeline(**cleaning: Any) -> RecommenderPipeline:
    return RecommenderPipeline.model_validate(
        {
            "apiVersion": "recpipe.dev/v1alpha1",
            "kind": "RecommenderPipeline",
            "metadata": {"name": "shop"},
            "spec": {"cleaning": cleaning},
        }
    )


def event(event_id: str, **changes: Any) -> Event:
    page = "https://shop.example/items/lamp?utm_source=mail"
    return records.event(NOW, **{"event_id": event_id, "session_id": "s1", "page_url": page} | changes)


class Stage:
    """A function with its bus and store; `feed` gives it events and waits until it has handled them."""

    def __init__(self, url: str, spec: RecommenderPipeline, name: str) -> None:
        self.client: Redis = connect(url)
        self.topics, self.keys = Topics.of(spec), Keys(spec.name)
        self.bus = ValkeyBus(self.client, self.keys)
        self._spec, self._name = spec, name

    async def start(self) -> None:
        """A new process, as far as the bus and the store can tell."""
        await self.bus.create(list(self.topics))
        if self._name == "clean":
            self._reads, group = self.topics.events, CLEAN_GROUP
        else:
            self._reads, group = self.topics.clean, FEATURES_GROUP
        self.subscription = await self.bus.subscribe([self._reads], group)
        make: Callable[..., Clean | Features] = Clean if self._name == "clean" else Features
        self.function = make(self._spec, self.bus, self.subscription, self.client)

    async def feed(self, *messages: Message) -> None:
        await self.bus.publish(self._reads, messages)
        while records := await self.subscription.receive(100, 0.001):
            await self.function.handle(records)

    async def read(self, topic: Topic) -> list[dict[str, Any]]:
        streams: list[Any] = [await self.client.xrange(f"{topic.name}:{n}") for n in range(topic.partitions)]
        return [topic.schema.decode(fields[b"v"]) for entries in streams for _, fields in entries]


@asynccontextmanager
async def running(url: str, name: str, spec: RecommenderPipeline | None = None) -> AsyncIterator[Stage]:
    stage = Stage(url, spec or pipeline(), name)
    await stage.start()
    try:
        yield stage
    finally:
        await stage.bus.close()


def raw(*events: dict[str, Any]) -> list[Message]:
    return [Message(each["user_id"], EVENT.encode(each)) for each in events]


def clean(*events: dict[str, Any]) -> list[Message]:
    """Clean events at growing places; one that stands here twice is a copy, at the same place."""
    return [
        Message(
            each["user_id"],
            CLEAN.encode({"weight": 1.0, "bot_score": 0.0, "place": (0, int(each["event_id"][1:]))} | each),
        )
        for each in events
    ]


async def test_every_event_gets_one_verdict_and_what_is_rejected_is_kept_whole(valkey_url: str) -> None:
    late, bot = event("e2", timestamp=NOW - 10**9), event("e3", user_agent="Googlebot/2.1")
    async with running(valkey_url, "clean") as stage:
        await stage.feed(*raw(event("e1"), late, bot, event("e1")), Message("eve", b"garbage"))
        (accepted,) = await stage.read(stage.topics.clean)
        assert accepted == event(
            "e1",
            page_url="https://shop.example/items/lamp",
            weight=1.0,
            bot_score=0.0,
            place=accepted["place"],
        )
        rejected = {each["reason"]: each for each in await stage.read(stage.topics.rejected)}
        assert {reason: each["value"] for reason, each in rejected.items()} == {
            "late": EVENT.encode(late),
            "bot": EVENT.encode(bot),
            "malformed": b"garbage",
        }
        assert all(each["stage"] == "clean" for each in rejected.values())
        assert rejected["malformed"]["user_id"] == "eve"
        assert "Googlebot" in rejected["bot"]["detail"]
        assert await stage.bus.tally() == {
            "clean.accepted": 1,
            "clean.duplicate": 1,
            "clean.rejected": 3,
            "clean.rejected.late": 1,
            "clean.rejected.bot": 1,
            "clean.rejected.malformed": 1,
        }


async def test_a_duplicate_is_known_after_a_restart_and_until_the_window_is_over(valkey_url: str) -> None:
    async with running(valkey_url, "clean", pipeline(deduplicationWindow="1s")) as stage:
        await stage.feed(*raw(event("e1"), event("e1")))
        await stage.start()
        await stage.feed(*raw(event("e1")))
        assert (await stage.bus.tally())["clean.duplicate"] == 2
        async with asyncio.timeout(5):
            while await stage.client.exists(stage.keys.seen("e1")):
                await asyncio.sleep(0.05)
        await stage.feed(*raw(event("e1")))
        assert (await stage.bus.tally())["clean.accepted"] == 2


async def test_a_rate_is_remembered_over_batches_and_restarts(valkey_url: str) -> None:
    async with running(valkey_url, "clean", pipeline(bots={"burst": 10, "maxEventsPerSecond": 1})) as stage:
        for number in range(15):
            if number % 4 == 0:
                await stage.start()
            await stage.feed(*raw(event(f"e{number}")))
        assert (await stage.bus.tally())["clean.rejected.bot"] == 5
        assert 0 < await stage.client.pttl(stage.keys.bot("ann")) <= 3_600_000


async def test_what_another_version_kept_of_a_user_is_forgotten(valkey_url: str) -> None:
    async with running(valkey_url, "clean") as stage:
        await stage.client.set(stage.keys.bot("ann"), b"\x93\x01\x02\x03")
        await stage.feed(*raw(event("e1")))
        assert (await stage.bus.tally())["clean.accepted"] == 1


async def test_a_row_joins_state_profile_and_metadata(valkey_url: str) -> None:
    async with running(valkey_url, "features") as stage:
        await stage.client.set(stage.keys.profile("ann"), json.dumps({"plan": "gold"}))
        await stage.client.set(
            stage.keys.item("lamp"), json.dumps({"item_id": "lamp", "categories": ["light"]})
        )
        await stage.feed(*clean(event("e1"), event("e2", timestamp=NOW + 5_000, item_id=None)))
        first, second = await stage.read(stage.topics.features)
        assert (first["categories"], first["profile"]) == (["light"], {"plan": "gold"})
        assert (second["categories"], second["recency"], second["session_events"]) == ([], 5.0, 2)
        value: Any = await stage.client.get(stage.keys.state("ann"))
        assert [touch.item_id for touch in UserState.decode(value).history()] == ["lamp"]
        ttl = await stage.client.pttl(stage.keys.state("ann"))
        assert 2_159 * 3_600_000 < ttl <= 2_160 * 3_600_000
        assert await stage.bus.tally() == {"features.rows": 2}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (Keys("shop").state("ann"), b"\xff"),
        (Keys("shop").profile("ann"), b"[1]"),
        (Keys("shop").item("lamp"), b"{"),
    ],
    ids=["state", "profile", "item"],
)
async def test_what_cannot_be_read_in_the_store_holds_nothing_up(
    valkey_url: str, key: str, value: bytes
) -> None:
    async with running(valkey_url, "features") as stage:
        await stage.client.set(key, value)
        await stage.feed(*clean(event("e1")))
        (row,) = await stage.read(stage.topics.features)
        assert (row["recency"], row["categories"], row["profile"]) == (-1.0, [], {})


async def test_a_record_that_is_no_clean_event_is_rejected_and_holds_nothing_up(valkey_url: str) -> None:
    async with running(valkey_url, "features") as stage:
        await stage.feed(Message("ann", b"garbage"), *clean(event("e1")))
        (rejected,) = await stage.read(stage.topics.rejected)
        assert (rejected["stage"], rejected["reason"], rejected["value"]) == (
            "features",
            "malformed",
            b"garbage",
        )
        assert await stage.bus.tally() == {
            "features.rows": 1,
            "features.rejected": 1,
            "features.rejected.malformed": 1,
        }


async def test_a_second_copy_of_a_clean_event_has_no_effect(valkey_url: str) -> None:
    """A bus that cannot store outputs and acknowledge in one step gives copies after a crash of clean."""
    async with running(valkey_url, "features") as stage:
        await stage.feed(*clean(event("e1"), event("e1"), event("e2")))
        await stage.feed(*clean(event("e2"), event("e3")))
        assert [row["event_id"] for row in await stage.read(stage.topics.features)] == ["e1", "e2", "e3"]
        value: Any = await stage.client.get(stage.keys.state("ann"))
        assert UserState.decode(value).events == 3
        assert await stage.bus.tally() == {"features.rows": 5, "features.repeat": 2}


async def test_a_user_who_moved_to_another_partition_goes_on(valkey_url: str) -> None:
    """When partitions are added, positions in the new one may be lower than the one in the state."""
    async with running(valkey_url, "features") as stage:
        state = UserState(position=(99, 2**53, 0), events=7, last=NOW, first=NOW)
        await stage.client.set(stage.keys.state("ann"), state.encode())
        await stage.feed(*clean(event("e1")))
        value: Any = await stage.client.get(stage.keys.state("ann"))
        assert UserState.decode(value).events == 8


async def test_new_metadata_is_seen_after_a_moment(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recpipe_functions.features.function.ITEM_SECONDS", 0.05)
    async with running(valkey_url, "features") as stage:
        await stage.feed(*clean(event("e0")))
        await stage.client.set(
            stage.keys.item("lamp"), json.dumps({"item_id": "lamp", "categories": ["new"]})
        )
        async with asyncio.timeout(5):
            for number in range(1, 1_000):
                await stage.feed(*clean(event(f"e{number}")))
                *_, row = await stage.read(stage.topics.features)
                if row["categories"] == ["new"]:
                    return
                await asyncio.sleep(0.01)
        raise AssertionError("the row still has the old metadata")
