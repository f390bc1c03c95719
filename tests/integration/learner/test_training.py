"""Training gives what learning live would have given, and its model takes the running one's place."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from recpipe.bus import Message, ValkeyBus
from recpipe.catalogue import Item
from recpipe.live import decode_live
from recpipe.records import FeatureRow, Impression
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys, connect
from recpipe.topics import LEARNER_GROUP, Topic, Topics
from recpipe_model.hybrid import HybridModel
from recpipe_model.learner import checkpoint
from recpipe_model.learner.live import LiveState
from recpipe_model.learner.pace import SLOWEST
from recpipe_model.learner.past import topics_of
from recpipe_model.learner.process import SHORTEST_PUBLISH_SECONDS, LearnerProcess
from recpipe_model.learner.training import Training
from tests.records import feature_row

BEGIN = 1_764_000_000_000
USERS, ITEMS = 12, 40


def row(number: int) -> FeatureRow:
    choose = random.Random(number)
    return feature_row(
        BEGIN + number * 1_000,
        event_id=f"e{number}",
        user_id=f"u{choose.randrange(USERS)}",
        item_id=f"i{int(ITEMS * choose.random() ** 2)}",
        hour=number // 100 % 24,
    )


class World:
    """A bus with what features and the gateway would write, and the learner's folders."""

    def __init__(self, pipeline: RecommenderPipeline, client: Redis, folder: Path) -> None:
        self.pipeline, self.folder = pipeline, folder
        self.keys, self.topics = Keys(pipeline.name), Topics.of(pipeline)
        self.bus = ValkeyBus(client, self.keys)
        self.live = LiveState(client, self.keys)
        self.sent = self.unread = 0

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    async def learner(self) -> LearnerProcess:
        subscription = await self.bus.subscribe(topics_of(self.topics), LEARNER_GROUP)
        process = LearnerProcess(
            self.pipeline, self.bus, subscription, self.live, self.checkpoints, self.folder / "models"
        )
        await process.begin()
        return process

    async def happen(self, count: int) -> None:
        """Rows, and now and then an item or an impression, all at their times."""
        for number in range(self.sent, self.sent + count):
            if number % 10 == 0:
                item = Item(f"i{number % ITEMS}", title=f"Item {number}", categories=[f"c{number % 3}"])
                await self._send(self.topics.items, item.item_id, item.record(BEGIN + number * 1_000 - 2))
            if number % 7 == 0:
                await self._send(self.topics.impressions, row(number)["user_id"], _impression(number))
            await self._send(self.topics.features, row(number)["user_id"], row(number))
        self.sent += count

    async def _send(self, topic: Topic, key: str, record: Any) -> None:
        await self.bus.publish(topic, [Message(key, topic.schema.encode(record))])
        self.unread += 1


def _impression(number: int) -> Impression:
    taken = row(number)["item_id"]
    return Impression(
        request_id=f"r{number}",
        user_id=row(number)["user_id"],
        timestamp=BEGIN + number * 1_000 - 1,
        items=["i3", "i5", str(taken)],
        scores=[3.0, 2.0, 1.0],
        propensity=1.0,
        model_version=0,
        degraded="",
    )


async def learn_all(world: World, learner: LearnerProcess) -> None:
    """Everything that is on the bus, as it comes."""
    while world.unread:
        records = await learner._subscription.receive(1_000, 1.0)
        world.unread -= len(records)
        await learner.handle(records)


async def live_on(world: World, learner: LearnerProcess, count: int) -> None:
    """As in life: a few things happen, and are learned before the next ones."""
    for first in range(0, count, 10):
        await world.happen(min(10, count - first))
        await learn_all(world, learner)


def model_of(learner: LearnerProcess) -> HybridModel:
    return learner._learner.model


def assert_same(one: HybridModel, other: HybridModel) -> None:
    """Bit for bit, but for which rows have been written to the store since."""
    mine, theirs = one.state(), other.state()
    assert mine.keys() == theirs.keys()
    items = len(one.vocabulary)
    for name in mine.keys() - {"model.touched"}:
        a, b = (np.asarray(state[name]) for state in (mine, theirs))
        # Arrays with a row an item have room for more, and how much depends on how they grew.
        if a.shape != b.shape:
            a, b = a[:items], b[:items]
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name


@pytest.fixture
async def world(pipeline: RecommenderPipeline, valkey_url: str, tmp_path: Path) -> AsyncIterator[World]:
    client = connect(valkey_url)
    await client.flushall()
    world = World(pipeline, client, tmp_path)
    await world.bus.create(list(world.topics))
    yield world
    await world.bus.close()


async def trained(world: World, known: Sequence[str] = ()) -> Training:
    training = Training(world.pipeline, world.checkpoints, known, test_rate=0.0)
    async for _ in training.learn_bus(world.bus):
        pass
    return training


async def test_trained_from_the_bus_is_learned_live(world: World) -> None:
    learner = await world.learner()
    await live_on(world, learner, 300)
    training = await trained(world)
    assert training.status.learned == 300
    assert_same(training._learner.model, model_of(learner))


async def test_a_running_learner_takes_up_a_retrained_model_with_what_came_since(world: World) -> None:
    learner = await world.learner()
    await live_on(world, learner, 150)
    await learner.save()
    await live_on(world, learner, 50)  # not in the checkpoint up to which is trained
    training = await trained(world)
    assert training.status.learned == 150
    training.save()
    await live_on(world, learner, 50)
    before = model_of(learner)

    await learner.adopt()

    assert model_of(learner) is not before
    assert_same(model_of(learner), before)
    assert not (world.checkpoints / checkpoint.RETRAINED).exists()
    await live_on(world, learner, 20)
    assert learner._learner.learned == 270
    await learner.save()
    assert (await world.bus.tally())["learner.learned"] == 270
    assert sum([await world.bus.backlog(topic, LEARNER_GROUP) for topic in topics_of(world.topics)]) == 0


async def test_learning_goes_on_while_a_retrained_model_catches_up(world: World) -> None:
    learner = await world.learner()
    await live_on(world, learner, 20)
    await learner.save()
    (await trained(world)).save()
    await world.happen(600)
    await learn_all(world, learner)
    await world.happen(30)
    adopting = asyncio.create_task(learner.adopt())
    while world.unread:
        records = await learner._subscription.receive(1, 1.0)
        world.unread -= len(records)
        await learner.handle(records)
    await adopting
    assert learner._learner.learned == 650
    names = model_of(learner).vocabulary.names()
    assert len(set(names)) == len(names) == len({row(n)["item_id"] for n in range(650)})


async def test_a_learner_that_lost_its_checkpoints_begins_with_the_retrained_model(world: World) -> None:
    learner = await world.learner()
    await live_on(world, learner, 200)
    await learner.save()
    await world.live.flush(model_of(learner), 0)
    lost = model_of(learner)
    shutil.rmtree(world.checkpoints)

    (await trained(world, await world.live.names())).save()
    await world.happen(30)
    second = await world.learner()
    await learn_all(world, second)

    assert second._learner.learned == 230
    assert model_of(second).vocabulary.names()[: len(lost.vocabulary)] == lost.vocabulary.names()
    await second.save()
    third = await world.learner()
    assert third._learner.learned == 230
    assert_same(model_of(third), model_of(second))


async def test_without_checkpoints_items_keep_the_indices_that_are_served(world: World) -> None:
    learner = await world.learner()
    await live_on(world, learner, 60)
    await world.live.flush(model_of(learner), 0)
    assert not world.checkpoints.exists()
    second = await world.learner()
    assert model_of(second).vocabulary.names() == model_of(learner).vocabulary.names()
    assert model_of(second).recommend(model_of(second).query([], [], []), 10).items == ()


async def test_a_retrained_model_that_numbers_other_items_is_dropped(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    learner = await world.learner()
    await live_on(world, learner, 20)
    stranger = HybridModel()
    stranger.learn("u", "another item", 0.0)
    progress = checkpoint.Progress({}, learner._learner.status(0.0, 0), learner._learner.memory())
    checkpoint.save(world.checkpoints / checkpoint.RETRAINED, stranger, progress)
    before = model_of(learner)
    await learner.adopt()
    assert model_of(learner) is before
    assert "train again" in caplog.text
    assert not (world.checkpoints / checkpoint.RETRAINED).exists()


async def test_a_checkpoint_of_another_version_is_learned_anew_from_the_bus(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = await world.learner()
    await live_on(world, learner, 150)
    with monkeypatch.context() as earlier:
        earlier.setattr("recpipe_model.hybrid.checkpoint._VERSION", 1)
        await learner.save()
    await world.live.flush(model_of(learner), 0)
    await live_on(world, learner, 50)

    second = await world.learner()
    assert second._learner.learned == 150
    assert second._due(0.0), "what is served is of another version too"
    world.unread = sum([await world.bus.backlog(topic, LEARNER_GROUP) for topic in topics_of(world.topics)])
    await learn_all(world, second)

    assert_same(model_of(second), model_of(learner))
    await second.save()
    assert (await world.bus.tally())["learner.learned"] == 200
    third = await world.learner()
    assert_same(model_of(third), model_of(second))


async def test_a_learner_that_is_behind_tests_less_and_learns_everything(world: World) -> None:
    """Rows of long ago count as late: what is on the bus has come faster than it could be learned."""
    learner = await world.learner()
    await world.happen(1_500)
    while world.unread:
        records = await learner._subscription.receive(16, 1.0)
        world.unread -= len(records)
        await learner.handle(records)
    status = learner._learner.status(0.0, 0)
    assert status.learned == 1_500
    assert status.lag_seconds > 1.0
    assert status.test_rate == SLOWEST
    assert 0 < status.hybrid.tested < 1_500 / 4

    stop = asyncio.Event()
    reporting = asyncio.create_task(learner.keep_live(stop))
    async with asyncio.timeout(10.0):
        while REGISTRY.get_sample_value("recpipe_learner_test_rate") != SLOWEST:
            await asyncio.sleep(0.05)
    stop.set()
    await reporting
    assert REGISTRY.get_sample_value("recpipe_learner_lag_seconds") > 1.0
    assert REGISTRY.get_sample_value("recpipe_learner_events_per_second") is not None
    assert REGISTRY.get_sample_value("recpipe_learner_events_total") >= 1_500


@pytest.mark.timeout(240)
async def test_items_are_announced_that_a_version_lacks_and_no_others(world: World) -> None:
    client = world.live._client

    async def announced(by: LearnerProcess, wanted: Sequence[str]) -> None:
        """Returns when the live state that it writes names these."""
        await client.delete(world.keys.live)
        world.live = by._live = LiveState(client, world.keys)
        stop = asyncio.Event()
        writing = asyncio.create_task(by.keep_live(stop))
        async with asyncio.timeout(10.0):
            while True:
                blob = await client.get(world.keys.live)
                if blob and list(decode_live(blob).names) == wanted:
                    break
                await asyncio.sleep(0.05)
        stop.set()
        await writing

    learner = await world.learner()
    await live_on(world, learner, 60)
    exported = model_of(learner).vocabulary.names()
    await announced(learner, exported)

    await learner.save()
    newest = checkpoint.newest(world.checkpoints)
    assert newest
    learner._publisher.publish(newest)
    await learner._publisher.published()
    await announced(learner, [])

    item = Item("new", title="New")
    await world._send(world.topics.items, item.item_id, item.record(BEGIN))
    await learn_all(world, learner)
    await announced(learner, ["new"])
    await learner.save()
    restarted = await world.learner()
    await announced(restarted, ["new"])

    assert not restarted._due(SHORTEST_PUBLISH_SECONDS)
    for number in range(model_of(restarted).settings.announced):
        model_of(restarted).put_item(f"n{number}", categories=[], time=0.0)
    assert restarted._due(SHORTEST_PUBLISH_SECONDS), "more are new than can be announced"


async def test_a_model_that_doubles_is_published_no_later_than_at_the_interval(world: World) -> None:
    assert world.pipeline.spec.model.publish_interval.total_seconds() > SHORTEST_PUBLISH_SECONDS
    learner = await world.learner()
    await live_on(world, learner, 20)
    assert not learner._due(SHORTEST_PUBLISH_SECONDS - 1)
    assert learner._due(SHORTEST_PUBLISH_SECONDS)
    learner._model_spec = learner._model_spec.model_copy(update={"publish_interval": timedelta(seconds=5)})
    assert not learner._due(4.0)
    assert learner._due(5.0)
