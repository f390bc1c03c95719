"""Clean and features in a real function worker: nothing lost, whatever happens to them."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from recpipe.bus import Message, Subscription
from recpipe.bus.pulsar import PulsarBus
from recpipe.pulsar import Admin
from recpipe.pulsar.deployment import Desired, apply, desired, observe, plan, removal
from recpipe.pulsar.function_settings import desired_functions
from recpipe.pulsar.functions import FunctionName
from recpipe.records import Event
from recpipe.schema import EVENT, FEATURES, REJECTED
from recpipe.spec import DeletionPolicy, Pulsar, RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys
from recpipe.store import connect as connect_store
from recpipe.topics import Topics
from recpipe_functions.package import build

PATIENCE_SECONDS = 90.0
USERS = 20


@pytest.fixture
def resource(cluster: Pulsar, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "recpipe.dev/v1alpha1",
        "kind": "RecommenderPipeline",
        "metadata": {"name": f"p{uuid.uuid4().hex[:8]}"},
        "spec": {
            "events": {"partitions": 2},
            "cleaning": {"bots": {"enabled": False}},
            "pulsar": cluster.model_dump(by_alias=True),
        },
    }


def wanted(resource: dict[str, Any], store: str, parallelism: int = 1) -> Desired:
    pipeline = RecommenderPipeline.model_validate(resource)
    return desired(pipeline, desired_functions(pipeline, build(), store, parallelism=parallelism))


async def deploy(admin: Admin, what: Desired) -> list[str]:
    """Applies, and waits until every instance runs; what was changed."""
    changes, obstacles = plan(what, await observe(admin, what))
    assert obstacles == []
    await apply(admin, changes)
    async with asyncio.timeout(PATIENCE_SECONDS):
        for function in what.functions:
            while not await runs(admin, function.name, function.config["parallelism"]):
                await asyncio.sleep(0.2)
    return [change.text for change in changes]


async def runs(admin: Admin, name: FunctionName, instances: int) -> bool:
    status = await admin.functions.status(name)
    return status.num_instances == status.num_running == instances


class Shop:
    """A deployed pipeline, from the edge and from the learner's end."""

    def __init__(self, pipeline: RecommenderPipeline, bus: PulsarBus, rows: Subscription) -> None:
        self.topics, self.bus, self._rows = Topics.of(pipeline), bus, rows
        self.seen: list[dict[str, Any]] = []

    async def send(self, first: int, count: int) -> None:
        """One event a record, named by its number."""
        await self.bus.publish(self.topics.events, [message(n) for n in range(first, first + count)])

    async def rows_of(self, events: set[str]) -> None:
        """Waits until every one of these events has a feature row in `seen`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not events <= {row["event_id"] for row in self.seen}:
                records = await self._rows.receive(500, 0.5)
                self.seen += [FEATURES.decode(record.value) for record in records]
                await self._rows.acknowledge(records)


def message(number: int) -> Message:
    now = int(time.time() * 1_000)
    event: Event = {
        "event_id": f"event-{number}",
        "user_id": f"user-{number % USERS}",
        "session_id": "",
        "event_type": "click",
        "item_id": f"item-{number % 7}",
        "timestamp": now,
        "ingested_at": now,
        "page_url": "",
        "additional_data": "{}",
        "user_agent": "",
        "referrer": "",
    }
    return Message(event["user_id"], EVENT.encode(event))


def ids(first: int, count: int) -> set[str]:
    return {f"event-{number}" for number in range(first, first + count)}


@pytest.fixture
async def shop(
    admin: Admin, resource: dict[str, Any], cluster: Pulsar, valkey_url: str
) -> AsyncIterator[Shop]:
    what = wanted(resource, valkey_url)
    await deploy(admin, what)
    pipeline = RecommenderPipeline.model_validate(resource)
    bus = PulsarBus.connect(cluster, connect_store(valkey_url), Keys(pipeline.name))
    yield Shop(pipeline, bus, await bus.subscribe([Topics.of(pipeline).features], "learner"))
    await bus.close()
    await apply(admin, removal(await observe(admin, what), DeletionPolicy.DELETE))


async def test_events_become_rows_and_states_and_bad_ones_are_kept_with_the_reason(
    shop: Shop, resource: dict[str, Any], valkey_url: str
) -> None:
    await shop.send(0, 100)
    await shop.bus.publish(shop.topics.events, [message(5), Message("user-1", EVENT.encode(malformed()))])
    await shop.rows_of(ids(0, 100))
    assert sorted(row["event_id"] for row in shop.seen) == sorted(ids(0, 100))

    rejected = await shop.bus.subscribe([shop.topics.rejected], "audit")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (records := await rejected.receive(10, 0.5)):
            pass
    assert [REJECTED.decode(record.value)["stage"] for record in records] == ["clean"]

    keys = Keys(resource["metadata"]["name"])
    async with Redis.from_url(valkey_url) as store:
        state = UserState.decode(await store.get(keys.state("user-3")))
    assert state.items == [f"item-{number % 7}" for number in range(3, 100, USERS)]

    async def counted() -> dict[str, int]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (tally := await shop.bus.tally()).get("features.rows") != 100:
                await asyncio.sleep(0.1)
        return tally

    tally = await counted()
    assert (tally["clean.accepted"], tally["clean.duplicate"], tally["clean.rejected"]) == (100, 1, 1)


def malformed() -> dict[str, Any]:
    return EVENT.decode(message(7).value) | {"event_id": "late", "timestamp": 0}


async def test_applying_twice_changes_nothing_and_a_changed_setting_updates_the_functions(
    shop: Shop, admin: Admin, resource: dict[str, Any], valkey_url: str
) -> None:
    assert await deploy(admin, wanted(resource, valkey_url)) == []
    resource["spec"]["features"] = {"halfLife": "1h"}
    name = resource["metadata"]["name"]
    where = f"public/{resource['spec']['pulsar']['namespace']}"
    assert await deploy(admin, wanted(resource, valkey_url)) == [
        f"~ function {where}/{name}-clean: userConfig",
        f"~ function {where}/{name}-features: userConfig",
    ]
    assert await deploy(admin, wanted(resource, valkey_url)) == []
    resource["spec"]["serving"] = {"replicas": 5}
    assert await deploy(admin, wanted(resource, valkey_url)) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_killed_instances_and_live_updates_lose_no_event(
    broker: Any, shop: Shop, admin: Admin, resource: dict[str, Any], valkey_url: str
) -> None:
    if broker is None:
        pytest.skip("the cluster's processes are not ours to kill")
    count = 6_000

    async def send() -> None:
        for first in range(0, count, 50):
            await shop.send(first, 50)
            await asyncio.sleep(0.05)

    sending = asyncio.create_task(send())
    await shop.rows_of(ids(0, 500))
    for pid in instances(resource["metadata"]["name"]):
        os.kill(pid, signal.SIGKILL)
    await shop.rows_of(ids(0, 2_000))
    resource["spec"]["features"] = {"halfLife": "1h"}
    await deploy(admin, wanted(resource, valkey_url, parallelism=2))
    await sending
    await shop.rows_of(ids(0, count))
    of_user: dict[str, list[int]] = {}
    for row in shop.seen:
        of_user.setdefault(row["user_id"], []).append(int(row["event_id"].removeprefix("event-")))
    assert all(list(dict.fromkeys(numbers)) == sorted(set(numbers)) for numbers in of_user.values())
    print(f"{len(shop.seen) - count} of {count} rows came twice")  # noqa: T201


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
