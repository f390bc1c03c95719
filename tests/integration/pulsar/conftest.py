"""A real Pulsar for the tests marked `pulsar`: one of this machine's, or the cluster that PULSAR_URL and
PULSAR_ADMIN_URL name (there, tests that kill the broker are left out)."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from recpipe.bus import BusUnavailableError, Message
from recpipe.bus.pulsar import PulsarBus
from recpipe.pulsar import Admin, TopicName
from recpipe.schema import ITEM, REJECTED
from recpipe.spec import Pulsar
from recpipe.store import Keys
from recpipe.store import connect as connect_store
from recpipe.topics import Topic

from ..conftest import Broker, running

Open = Callable[[], PulsarBus]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("pulsar")


@pytest.fixture(scope="module")
def secure_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that asks for TLS and tokens."""
    yield from running(Broker(tmp_path_factory.mktemp("secure"), ("--secure",)))


@pytest.fixture(scope="session")
def cluster(broker: Broker | None) -> Pulsar:
    """Where the cluster is, and a namespace name that nothing else uses."""
    settings = broker.settings if broker else os.environ
    return Pulsar(
        service_url=settings["PULSAR_URL"],
        admin_url=settings["PULSAR_ADMIN_URL"],
        tenant="public",
        namespace=f"recpipe-{uuid.uuid4().hex[:8]}",
    )


@pytest.fixture(scope="session", autouse=True)
def growing(request: pytest.FixtureRequest) -> "Iterator[Future[set[int]] | None]":
    """The partitions that a running bus writes and reads of a topic that grew to six.

    It takes the client up to a minute to look for new ones: the test that asks runs beside the others.
    """
    if not any("new_partitions" in item.name for item in request.session.items):
        yield None
        return
    cluster: Pulsar = request.getfixturevalue("cluster")
    asyncio.run(make_namespace(cluster))
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(asyncio.run, grow(cluster))


async def make_namespace(cluster: Pulsar) -> None:
    async with Admin(cluster.admin_url) as admin:
        if cluster.namespace not in await admin.namespaces.of(cluster.tenant):
            await admin.namespaces.create(cluster.tenant, cluster.namespace)


async def grow(cluster: Pulsar) -> set[int]:
    """Through whatever other tests do to the broker."""
    bus = PulsarBus.connect(cluster, connect_store("redis://127.0.0.1:1"), Keys("none"))
    seen: set[int] = set()
    async with Admin(cluster.admin_url) as admin, asyncio.timeout(240):
        items = await made(admin, cluster, Topic(f"{uuid.uuid4().hex[:8]}-items", ITEM, 3, ("learner",)))
        subscription = await bus.subscribe([items], "learner")
        batch = [Message(f"key-{n}", ITEM.encode({"item_id": "i", "timestamp": n})) for n in range(60)]
        await bus.publish(items, batch)
        await admin.topics.grow(TopicName(cluster.tenant, cluster.namespace, items.name), 6)
        while seen != set(range(6)):
            with suppress(BusUnavailableError):
                await bus.publish(items, batch)
                seen |= {record.partition for record in await subscription.receive(500, 1.0)}
            await asyncio.sleep(1.0)
    await bus.close()
    return seen


@pytest.fixture
async def admin(cluster: Pulsar) -> AsyncIterator[Admin]:
    async with Admin(cluster.admin_url) as admin:
        yield admin


@pytest.fixture
async def namespace(cluster: Pulsar) -> str:
    """The session's namespace, made where it is missing."""
    await make_namespace(cluster)
    return cluster.namespace


@pytest.fixture
async def items(cluster: Pulsar, namespace: str, admin: Admin) -> Topic:
    """A topic of three partitions, with a group that has been there from its beginning."""
    return await made(admin, cluster, Topic(f"{uuid.uuid4().hex[:8]}-items", ITEM, 3, ("learner",)))


@pytest.fixture
async def rejected(cluster: Pulsar, namespace: str, admin: Admin) -> Topic:
    return await made(admin, cluster, Topic(f"{uuid.uuid4().hex[:8]}-rejected", REJECTED, 2, ("audit",)))


async def made(admin: Admin, cluster: Pulsar, topic: Topic) -> Topic:
    name = TopicName(cluster.tenant, cluster.namespace, topic.name)
    await admin.topics.create(name, topic.partitions)
    for group in topic.groups:
        await admin.topics.subscribe(name, group)
    return topic


@pytest.fixture
async def open_bus(cluster: Pulsar, valkey_url: str) -> AsyncIterator[Open]:
    """Makes buses that are closed at the end."""
    buses = []

    def opened() -> PulsarBus:
        buses.append(PulsarBus.connect(cluster, connect_store(valkey_url), Keys("t")))
        return buses[-1]

    yield opened
    for bus in buses:
        await bus.close()


@pytest.fixture
async def bus(open_bus: Open) -> PulsarBus:
    return open_bus()
