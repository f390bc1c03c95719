"""Events a second through clean and features as Pulsar Functions, nothing else running.

Baselines, in the same run: two Functions that return what they are given, by the framework's defaults, which
drop keys and with them the order of a user's events; and two that send on what they are given as ours do:
with its key, readers sharing by key, and acknowledged once it is stored. Each pair finds its input topic
filled, and runs until all of it has come out at the far end.
"""

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from recpipe.admission import Admission, Receipt
from recpipe.bench.running import PIPELINE, Cluster, pipeline_running
from recpipe.bench.stream import Catalogue, events
from recpipe.bus import Message
from recpipe.bus.pulsar import PulsarBus
from recpipe.local.home import Home
from recpipe.pipeline_file import load_pipeline
from recpipe.pulsar import Admin, Credentials, TopicName
from recpipe.pulsar.functions import Config, FunctionName
from recpipe.schema import EVENT
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys, connect
from recpipe.topics import CLEAN_GROUP, Topic, Topics

CHUNK = 2_000
POLL_SECONDS = 0.1
LONGEST_SECONDS = 300.0
_TRIVIAL = """\
import pulsar


class Raw(pulsar.SerDe):
    def serialize(self, data):
        return data

    def deserialize(self, data):
        return data


class Pass(pulsar.Function):
    def process(self, data, context):
        return data


class Keep(pulsar.Function):
    producer = None

    def process(self, data, context):
        if self.producer is None:
            self.producer = context.get_pulsar_client().create_producer(
                context.get_user_config_value("sink"),
                batching_enabled=True,
                batching_type=pulsar.BatchingType.KeyBased,
                batching_max_publish_delay_ms=1,
                block_if_queue_full=True,
            )
        message = context.message

        def stored(result, _):
            if result == pulsar.Result.Ok:
                context.ack(message.message_id(), message.topic_name())

        self.producer.send_async(data, stored, partition_key=message.partition_key())
"""


@dataclass(frozen=True)
class FunctionsRate:
    """What one instance each of two Functions gets through."""

    events: int
    events_per_second: float
    """Clean and features."""
    returning_events_per_second: float
    """Baseline: the framework's defaults."""
    keeping_events_per_second: float
    """Baseline: order by key, nothing lost."""
    share_of_returning: float
    share_of_keeping: float


async def measure_functions(cluster: Cluster, count: int, items: int) -> FunctionsRate:
    async with pipeline_running(PIPELINE, cluster, frozenset({"valkey"})) as home:
        pipeline = load_pipeline(home.pipeline)
        admission = Admission(pipeline.spec.events)
        admitted = [
            admission.admit(each, Receipt(int(time.time() * 1_000)))
            for each in events(count, Catalogue(items))
        ]
        filling = [Message(event["user_id"], EVENT.encode(event)) for event in admitted]
        async with Admin(cluster.pulsar.admin_url, Credentials(cluster.credentials)) as admin:
            bus = _bus(cluster, pipeline, home)
            try:
                returning = await _trivial(admin, bus, pipeline, filling, _returns)
                keeping = await _trivial(admin, bus, pipeline, filling, _keeps)
                ours = await _ours(admin, bus, pipeline, filling)
            finally:
                await bus.close()
    return FunctionsRate(count, ours, returning, keeping, ours / returning, ours / keeping)


def _bus(cluster: Cluster, pipeline: RecommenderPipeline, home: Home) -> PulsarBus:
    store, credentials = connect(home.endpoints().store), Credentials(cluster.credentials)
    return PulsarBus.connect(cluster.pulsar, store, Keys(pipeline.name), credentials)


async def _ours(
    admin: Admin, bus: PulsarBus, pipeline: RecommenderPipeline, filling: Sequence[Message]
) -> float:
    where, topics = pipeline.spec.pulsar, Topics.of(pipeline)
    names = [
        FunctionName(where.tenant, where.namespace, f"{pipeline.name}-{part}")
        for part in ("clean", "features")
    ]
    return await _rate(admin, bus, names, topics.events, topics.features, filling)


async def _trivial(
    admin: Admin,
    bus: PulsarBus,
    pipeline: RecommenderPipeline,
    filling: Sequence[Message],
    config: Callable[[TopicName, TopicName], Config],
) -> float:
    """Through topics that are partitioned, and filled, as the pipeline's."""
    partitions = pipeline.spec.events.partitions
    ways = [
        Topic(f"{pipeline.name}{config.__name__}-{name}", EVENT, partitions, (CLEAN_GROUP,))
        for name in ("in", "between", "out")
    ]
    async with _functions(admin, bus, ways, config) as names:
        return await _rate(admin, bus, names, ways[0], ways[-1], filling)


@asynccontextmanager
async def _functions(
    admin: Admin, bus: PulsarBus, ways: Sequence[Topic], config: Callable[[TopicName, TopicName], Config]
) -> AsyncIterator[list[FunctionName]]:
    """A byte-passing function from each topic to the next."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("trivial.py", _TRIVIAL)
    topics = [bus.name(topic) for topic in ways]
    names = [FunctionName(name.tenant, name.namespace, f"{name.name}-pass") for name in topics[:-1]]
    for name, topic in zip(topics, ways, strict=True):
        await admin.topics.create(name, topic.partitions)
    try:
        for function, source, sink in zip(names, topics[:-1], topics[1:], strict=True):
            await admin.topics.subscribe(source, CLEAN_GROUP)
            await admin.functions.create(function, config(source, sink), package.getvalue())
        yield names
    finally:
        for function in names:
            await admin.functions.delete(function)
        for name in topics:
            await admin.topics.delete(name)


def _reads(source: TopicName) -> Config:
    return {
        "runtime": "PYTHON",
        "inputSpecs": {str(source): {"serdeClassName": "trivial.Raw"}},
        "subName": CLEAN_GROUP,
        "subscriptionPosition": "Earliest",
        "cleanupSubscription": False,
        "parallelism": 1,
    }


def _returns(source: TopicName, sink: TopicName) -> Config:
    output = {"output": str(sink), "outputSerdeClassName": "trivial.Raw"}
    return {"className": "trivial.Pass", **_reads(source), **output}


def _keeps(source: TopicName, sink: TopicName) -> Config:
    ordered = {"processingGuarantees": "MANUAL", "autoAck": False, "retainKeyOrdering": True}
    return {"className": "trivial.Keep", **_reads(source), **ordered, "userConfig": {"sink": str(sink)}}


async def _rate(
    admin: Admin,
    bus: PulsarBus,
    functions: Sequence[FunctionName],
    source: Topic,
    sink: Topic,
    filling: Sequence[Message],
) -> float:
    """Messages a second at the far end, from the first that comes to the last."""
    for function in functions:
        await admin.functions.stop(function)
        await _until(admin, function, running=0)
    for first in range(0, len(filling), CHUNK):
        await bus.publish(source, filling[first : first + CHUNK])
    for function in reversed(functions):  # the last first, so that it waits for work and not work for it
        await admin.functions.start(function)
        await _until(admin, function, running=1)
    count = begun = 0.0
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:
            out = int((await admin.topics.stats(bus.name(sink)))["msgInCounter"])
            now = time.perf_counter()
            if out and not begun:
                count, begun = out, now
            if out >= len(filling):
                return (out - count) / (now - begun)
            await asyncio.sleep(POLL_SECONDS)


async def _until(admin: Admin, function: FunctionName, running: int) -> None:
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:
            if (await admin.functions.status(function)).num_running == running:
                return
            await asyncio.sleep(POLL_SECONDS)
