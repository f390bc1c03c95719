"""Whatever happens in the middle of a replay: no event is lost, and every state is as if nothing had."""

import asyncio
import io
import os
import signal
import socket
import time
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recpipe.pulsar import Admin
from recpipe.pulsar.deployment import until_running
from recpipe.records import Event
from recpipe.schema import EVENT
from recpipe.spec import Pulsar
from recpipe_functions.backfill import Backfill
from recpipe_functions.package import build
from tests.integration.pulsar.shop import (
    PATIENCE_SECONDS,
    Shop,
    deploy,
    deployed,
    instances,
    messages,
    resource,
    wanted,
)
from tests.records import event

EVENTS, USERS, BATCH = 5_000, 50, 50
BEGIN = 1_764_000_000_000
BOTS = {"maxEventsPerSecond": 2, "burst": 30}
Disturb = Callable[[Shop], Awaitable[object]]


def story() -> list[Event]:
    """Users of different speed, some too fast for people; each tenth event is sent twice."""
    events: list[Event] = []
    for number in range(EVENTS):
        original = number - (number % 10 == 9)
        user = original % USERS
        events.append(
            event(
                BEGIN + original // USERS * (100 + 20 * user),
                event_id=f"e{original}",
                user_id=f"u{user}",
                event_type="hover",
                item_id=f"p{original * 7 % 113}",
                ingested_at=BEGIN + 10**6,
            )
        )
    return events


async def replay(shop: Shop, per_second: int, disturb: Disturb) -> None:
    """Sends the story and disturbs its way through once a fifth has come out; then compares with a batch."""
    events, undisturbed = story(), Backfill(shop.pipeline)
    rows = {row["event_id"]: row for row in undisturbed.rows(events)}
    assert undisturbed.tally["clean.rejected.bot"] > 500

    async def send() -> None:
        clock = asyncio.get_running_loop()
        begun = clock.time()
        for first in range(0, EVENTS, BATCH):
            await asyncio.sleep(max(begun + first / per_second - clock.time(), 0))
            await shop.send(messages(events[first : first + BATCH]))

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(send())
        await shop.rows_of(set(list(rows)[: len(rows) // 5]))
        assert not sending.done(), "the disturbance comes after the replay"
        await disturb(shop)
    published = await shop.rows_of(set(rows))

    assert {row["event_id"]: row for row in published} == rows, "no row is lost or another"
    of_user: dict[str, list[int]] = {}
    for row in published:
        of_user.setdefault(row["user_id"], []).append(int(row["event_id"].removeprefix("e")))
    assert all(list(dict.fromkeys(numbers)) == sorted(set(numbers)) for numbers in of_user.values())
    await states_equal(shop, undisturbed)

    await shop.reads(shop.topics.rejected, "audit")
    bots = undisturbed.tally["clean.rejected.bot"]
    await shop.read_until(shop.topics.rejected, lambda read: len({each["value"] for each in read}) >= bots)
    rejected = {EVENT.decode(each["value"])["event_id"] for each in shop.read[shop.topics.rejected.name]}
    assert rejected == {event["event_id"] for event in events} - set(rows)
    repeats = (await shop.bus.tally()).get("features.repeat", 0)
    print(f"of {len(rows)} rows {len(published) - len(rows)} came twice; {repeats} clean events did")


async def states_equal(shop: Shop, undisturbed: Backfill) -> None:
    """A state is written after its row: the last ones may be on their way."""
    users = list(undisturbed.states)

    async def found() -> dict[str, Any]:
        states = await shop.states(users)
        return {user: msgspec.structs.replace(state, position=()) for user, state in states.items()}

    for _ in range(50):
        if await found() == undisturbed.states:
            return
        await asyncio.sleep(0.1)
    assert await found() == undisturbed.states


@pytest.fixture
def spec(cluster: Pulsar, namespace: str) -> dict[str, Any]:
    return resource(cluster, cleaning={"maxLateness": "87600h", "bots": BOTS})


@pytest.mark.slow
async def test_killed_instances(broker: Any, spec: dict[str, Any], admin: Admin, valkey_url: str) -> None:
    if broker is None:
        pytest.skip("the cluster's processes are not ours to kill")

    async def kill(shop: Shop) -> None:
        for pid in instances(shop.pipeline.name):
            os.kill(pid, signal.SIGKILL)

    async with deployed(admin, spec, valkey_url) as shop:
        await replay(shop, 900, kill)


@pytest.mark.slow
async def test_a_killed_broker(broker: Any, spec: dict[str, Any], admin: Admin, valkey_url: str) -> None:
    if broker is None:
        pytest.skip("the cluster is not ours to kill")

    async def kill(_shop: Shop) -> None:
        broker.kill()
        await asyncio.to_thread(broker.up)

    async with deployed(admin, spec, valkey_url) as shop:
        await replay(shop, 900, kill)


@pytest.mark.slow
async def test_a_new_version_and_more_instances(spec: dict[str, Any], admin: Admin, valkey_url: str) -> None:
    async def redeploy(shop: Shop) -> None:
        assert await deploy(admin, wanted(shop.resource, valkey_url, 2, newer(build())))

    async with deployed(admin, spec, valkey_url) as shop:
        await replay(shop, 500, redeploy)


def newer(package: bytes) -> bytes:
    """The same functions as another version."""
    file = io.BytesIO(package)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("recpipe/newer.py", "")
    return file.getvalue()


@pytest.mark.slow
async def test_an_instance_whose_port_is_taken_gets_another(
    broker: Any, spec: dict[str, Any], admin: Admin, valkey_url: str
) -> None:
    if broker is None:
        pytest.skip("the cluster's processes are not ours to kill")
    async with deployed(admin, spec, valkey_url) as shop:
        what = wanted(shop.resource, valkey_url)
        function = what.functions[0].name
        pid, port = instance(shop, function.name)
        os.kill(pid, signal.SIGKILL)
        with taken(port):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await admin.functions.status(function)).num_running:
                    await asyncio.sleep(0.05)
            await until_running(admin, what, PATIENCE_SECONDS)
            assert instance(shop, function.name)[1] != port


def instance(shop: Shop, function: str) -> tuple[int, int]:
    """The process of a function that has one, and the port of its metrics."""
    of = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in instances(shop.pipeline.name)}
    ((pid, given),) = [(pid, given) for pid, given in of.items() if f"/{function}.zip" in "".join(given)]
    return pid, int(given[given.index("--metrics_port") + 1])


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Nobody else can listen there: as soon as whoever does so now has ended."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline = time.monotonic() + 10
        while True:
            try:
                listener.bind(("", port))
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.002)  # to be there before the next instance is
        listener.listen()
        yield
