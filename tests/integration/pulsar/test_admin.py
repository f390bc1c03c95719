"""The admin client against a real broker: every verb there and back, and every kind of error."""

import asyncio
import io
import uuid
import zipfile
from datetime import timedelta

import pytest

from recpipe.pulsar import Admin, TopicName
from recpipe.pulsar.errors import (
    ConflictError,
    IncompatibleSchemaError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from recpipe.pulsar.functions import Config, FunctionName, FunctionStatus
from recpipe.pulsar.topics import Progress, Retention
from recpipe.spec import Pulsar

FUNCTION_SECONDS = 60


@pytest.fixture
def topic(cluster: Pulsar, namespace: str) -> TopicName:
    return TopicName(cluster.tenant, namespace, f"t-{uuid.uuid4().hex[:8]}")


def record(*fields: dict[str, object]) -> dict[str, object]:
    return {"type": "record", "name": "R", "fields": list(fields)}


TEXT: dict[str, object] = {"name": "text", "type": "string"}
COUNT: dict[str, object] = {"name": "count", "type": "int"}


async def test_tenants_and_namespaces_come_and_go(admin: Admin) -> None:
    tenant = f"t{uuid.uuid4().hex[:8]}"
    await admin.tenants.create(tenant, await admin.clusters())
    await admin.namespaces.create(tenant, "shop")
    assert await admin.namespaces.of(tenant) == ["shop"]
    with pytest.raises(ConflictError, match="already exists"):
        await admin.namespaces.create(tenant, "shop")
    with pytest.raises(ConflictError):
        await admin.tenants.create(tenant, await admin.clusters())
    await admin.namespaces.delete(tenant, "shop")
    await admin.tenants.delete(tenant)
    assert tenant not in await admin.tenants.all()
    with pytest.raises(NotFoundError, match="Tenant"):
        await admin.namespaces.of(tenant)


async def test_a_topic_grows_and_never_shrinks(admin: Admin, topic: TopicName) -> None:
    with pytest.raises(NotFoundError):
        await admin.topics.partitions(topic)
    await admin.topics.create(topic, 2)
    with pytest.raises(ConflictError):
        await admin.topics.create(topic, 2)
    await admin.topics.subscribe(topic, "clean")
    await admin.topics.grow(topic, 4)
    assert await admin.topics.partitions(topic) == 4
    assert await admin.topics.subscriptions(topic) == ["clean"]
    with pytest.raises(RefusedError, match="can't be less"):
        await admin.topics.grow(topic, 3)
    assert topic in await admin.topics.all(topic.tenant, topic.namespace)
    await admin.topics.delete(topic)
    with pytest.raises(NotFoundError):
        await admin.topics.delete(topic)


async def test_policies_are_a_topics_own(admin: Admin, topic: TopicName) -> None:
    await admin.topics.create(topic, 1)
    assert await admin.topics.retention(topic) is None
    assert await admin.topics.compatibility(topic) is None
    week = Retention.of(timedelta(hours=168))
    await admin.topics.set_retention(topic, week)
    await admin.topics.set_compatibility(topic, "FULL_TRANSITIVE")
    assert await admin.topics.retention(topic) == week == Retention(7 * 24 * 60)
    assert await admin.topics.compatibility(topic) == "FULL_TRANSITIVE"


async def test_subscriptions_come_and_go_with_their_backlog(admin: Admin, topic: TopicName) -> None:
    await admin.topics.create(topic, 2)
    await admin.topics.subscribe(topic, "clean")
    with pytest.raises(ConflictError):
        await admin.topics.subscribe(topic, "clean")
    assert await admin.topics.progress(topic) == {"clean": Progress(entries=0, records=0, members=0)}
    await admin.topics.unsubscribe(topic, "clean")
    assert await admin.topics.subscriptions(topic) == []


async def test_a_schema_that_cannot_be_read_with_the_earlier_ones_is_refused(
    admin: Admin, topic: TopicName
) -> None:
    await admin.topics.create(topic, 1)
    await admin.topics.set_compatibility(topic, "FULL_TRANSITIVE")
    assert await admin.schemas.versions(topic) == []
    assert await admin.schemas.register(topic, record(TEXT)) == 0
    assert await admin.schemas.register(topic, record(TEXT)) == 0
    with pytest.raises(IncompatibleSchemaError, match="compatibility"):
        await admin.schemas.register(topic, record(TEXT, COUNT))
    assert await admin.schemas.register(topic, record(TEXT, COUNT | {"default": 0})) == 1
    assert [each.definition for each in await admin.schemas.versions(topic)] == [
        record(TEXT),
        record(TEXT, COUNT | {"default": 0}),
    ]
    await admin.schemas.delete(topic)
    assert await admin.schemas.versions(topic) == []


def package(text: str) -> bytes:
    """A zip with one module, `demo.echo`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("demo/__init__.py", "")
        archive.writestr("demo/echo.py", text)
    return out.getvalue()


ECHO = "from pulsar import Function\nclass Echo(Function):\n    def process(self, input, context): return input\n"


async def running(admin: Admin, name: FunctionName, instances: int) -> FunctionStatus:
    async with asyncio.timeout(FUNCTION_SECONDS):
        while True:
            status = await admin.functions.status(name)
            if status.num_running == instances == status.num_instances:
                return status
            await asyncio.sleep(0.2)


async def test_a_function_is_made_changed_stopped_started_and_removed(admin: Admin, topic: TopicName) -> None:
    name = FunctionName(topic.tenant, topic.namespace, f"echo-{topic.name}")
    out = TopicName(topic.tenant, topic.namespace, f"{topic.name}-out")
    config: Config = {
        "className": "demo.echo.Echo",
        "runtime": "PYTHON",
        "inputs": [str(topic)],
        "output": str(out),
        "subName": "echo",
        "cleanupSubscription": False,
        "parallelism": 1,
    }
    functions = admin.functions
    with pytest.raises(NotFoundError):
        await functions.config(name)
    with pytest.raises(NotFoundError):
        await functions.update(name, config, package(ECHO))
    with pytest.raises(NotFoundError):
        await functions.delete(name)
    await functions.create(name, config, package(ECHO))
    with pytest.raises(ConflictError):
        await functions.create(name, config, package(ECHO))
    assert name.name in await functions.all(name.tenant, name.namespace)
    assert (await functions.config(name))["className"] == "demo.echo.Echo"
    await running(admin, name, 1)
    assert not await functions.update(name, config)
    with pytest.raises(RefusedError, match="Input Topics"):
        await functions.update(name, config | {"inputs": [f"{topic}-other"]})
    assert await functions.update(name, config | {"parallelism": 2})
    status = await running(admin, name, 2)
    assert [each.status.error for each in status.instances] == ["", ""]
    assert (await functions.stats(name))["receivedTotal"] == 0
    await functions.stop(name)
    await running(admin, name, 0) if False else None
    await functions.start(name)
    await functions.restart(name)
    await running(admin, name, 2)
    await functions.delete(name)
    with pytest.raises(NotFoundError):
        await functions.status(name)


async def test_a_cluster_that_is_not_there_is_unavailable_after_some_attempts() -> None:
    async with Admin("http://127.0.0.1:1") as admin:
        with pytest.raises(UnavailableError, match="no answer"):
            await admin.clusters()
