"""Clean and features in a real function worker: verdicts, states, counts, settings."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from recpipe.bus import Message
from recpipe.pulsar import Admin
from recpipe.pulsar.functions import FunctionName
from recpipe.records import Event
from recpipe.schema import EVENT
from recpipe.spec import Pulsar
from tests import records
from tests.integration.pulsar.shop import PATIENCE_SECONDS, Shop, deploy, deployed, messages, resource, wanted

USERS = 20


@pytest.fixture
async def shop(admin: Admin, cluster: Pulsar, namespace: str, valkey_url: str) -> AsyncIterator[Shop]:
    spec = {"cleaning": {"bots": {"enabled": False}}}
    async with deployed(admin, resource(cluster, **spec), valkey_url) as shop:
        yield shop


def event(number: int) -> Event:
    now = int(time.time() * 1_000)
    return records.event(
        now, event_id=f"event-{number}", user_id=f"user-{number % USERS}", item_id=f"item-{number % 7}"
    )


async def test_events_become_rows_and_states_and_bad_ones_are_kept_with_the_reason(
    shop: Shop, admin: Admin, cluster: Pulsar
) -> None:
    late = event(7) | {"event_id": "late", "timestamp": 0}
    await shop.send(messages(map(event, range(100))))
    await shop.send([*messages([event(5)]), Message("user-7", EVENT.encode(late))])
    ids = {f"event-{number}" for number in range(100)}
    assert sorted(row["event_id"] for row in await shop.rows_of(ids)) == sorted(ids)

    await shop.reads(shop.topics.rejected, "audit")
    await shop.read_until(shop.topics.rejected, bool)
    (rejected,) = shop.read[shop.topics.rejected.name]
    assert (rejected["stage"], rejected["reason"], rejected["value"]) == ("clean", "late", EVENT.encode(late))

    tally = await shop.tally_until(lambda tally: tally.get("features.rows") == 100)
    assert (tally["clean.accepted"], tally["clean.duplicate"], tally["clean.rejected"]) == (100, 1, 1)
    states = await shop.states(["user-3"])
    assert states["user-3"].items == [f"item-{number % 7}" for number in range(3, 100, USERS)]

    name = FunctionName(cluster.tenant, cluster.namespace, f"{shop.pipeline.name}-clean")
    counts = (await admin.functions.stats(name))["instances"][0]["metrics"]["userMetrics"]
    assert counts["user_metric_clean.accepted_sum"] == 100.0
    assert counts["user_metric_clean.rejected.late_sum"] == 1.0
    await prometheus_says(
        cluster, 'recpipe_function_events_total{function="clean",reason="late",verdict="rejected"', 1.0
    )


async def prometheus_says(cluster: Pulsar, metric: str, value: float) -> None:
    """Waits until the worker's page has it; it asks its instances now and then."""
    async with httpx.AsyncClient(timeout=10, follow_redirects=True) as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                page = (await client.get(f"{cluster.admin_url}/metrics/")).text
                lines = [line for line in page.splitlines() if line.startswith(metric)]
                if any(float(line.rpartition(" ")[2]) == value for line in lines):
                    return
                await asyncio.sleep(0.5)


async def test_applying_twice_changes_nothing_and_a_changed_setting_updates_the_functions(
    shop: Shop, admin: Admin, valkey_url: str
) -> None:
    spec: dict[str, Any] = shop.resource["spec"]
    assert await deploy(admin, wanted(shop.resource, valkey_url)) == []
    spec["features"] = {"halfLife": "1h"}
    where = f"public/{spec['pulsar']['namespace']}/{shop.pipeline.name}"
    assert await deploy(admin, wanted(shop.resource, valkey_url)) == [
        f"~ function {where}-clean: userConfig",
        f"~ function {where}-features: userConfig",
    ]
    await shop.send(messages([event(0)]))
    await shop.rows_of({"event-0"})
    assert await deploy(admin, wanted(shop.resource, valkey_url)) == []
    spec["serving"] = {"replicas": 5}
    assert await deploy(admin, wanted(shop.resource, valkey_url)) == []
