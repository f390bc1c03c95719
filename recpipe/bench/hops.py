"""How soon a click changes what is recommended, on Pulsar, while others click; and where the time goes.

A hop ends when the next part sends: Pulsar keeps with each record when its sender made it.
"""

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pulsar  # type: ignore[import-untyped]

from recpipe.bench.figures import Latency
from recpipe.bench.freshness import CHANGE_SECONDS, measure_answers
from recpipe.bench.running import PIPELINE, Cluster, pipeline_running
from recpipe.bench.stream import Catalogue, name
from recpipe.bench.stream import events as stream_events
from recpipe.bench.traffic import click, traffic
from recpipe.cli.replay import replay_events
from recpipe.client import Client, GatewayError
from recpipe.local.home import Home
from recpipe.pipeline_file import load_pipeline
from recpipe.pulsar import Credentials, TopicName
from recpipe.pulsar.client import StoredRecords, connect
from recpipe.spec import RecommenderPipeline
from recpipe.topics import Topic, Topics

FOLLOWED = "followed"
USERS = 20
OTHERS = 2_000
ITEMS = 2_000
SETTLE_SECONDS = 10.0


@dataclass(frozen=True)
class Hops:
    """Between posting a click and the answer that knows of it."""

    posted_to_events: Latency
    """HTTP, admission, until the gateway sends it."""
    events_to_clean: Latency
    """Stored, dealt out, waiting for its batch, checked and judged, until clean sends it."""
    clean_to_features: Latency
    """The same way to features, its user's state read and updated, until features sends the row."""
    features_to_recommendation: Latency
    """The row stored, the state written; then the next answer that is based on it."""


@dataclass(frozen=True)
class FreshnessOnPulsar:
    events_per_second: int
    event_to_recommendation: Latency
    hops: Hops
    answer: Latency
    """Baseline: one recommendation, under the same load."""


async def measure_hops(cluster: Cluster, count: int, per_second: int) -> FreshnessOnPulsar:
    """On a pipeline of its own, with a catalogue, some history, and a load of single events."""
    choose = random.Random(0)
    async with pipeline_running(PIPELINE, cluster) as home:
        pipeline = load_pipeline(home.pipeline)
        await fill(home)

        def other() -> bytes:
            return click(f"other-{choose.randrange(OTHERS)}", name(choose.randrange(ITEMS)))

        with _sent_at(cluster, pipeline) as sent_at:
            async with traffic(home, per_second, other):
                await asyncio.sleep(1.0)
                clicks = await follow(home, count)
                answer = await measure_answers(home, count, connections=1)
            await _all_seen(sent_at, set(clicks))
    return FreshnessOnPulsar(
        per_second,
        Latency.of([end - begun for begun, end in clicks.values()]),
        _hops(clicks, sent_at),
        answer,
    )


async def fill(home: Home) -> None:
    """Gives a pipeline some history, and waits until it serves a model of it."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        path = Path(file.name)
        path.write_bytes(b"\n".join(stream_events(10_000, Catalogue(ITEMS))))
        await replay_events(home, path)
    async with Client(home.endpoints().gateway, home.key("private")) as client:
        await client.model_served()


async def follow(home: Home, count: int, run: str = FOLLOWED) -> dict[str, tuple[float, float]]:
    """By event, when it was posted and when an answer knew of it. Each run has users and events of its own."""
    clicks = {}
    async with Client(home.endpoints().gateway, home.key("private")) as client:
        for number in range(count):
            user, event_id = f"{run}-{number % USERS}", f"{run}-{number}"
            before = (await client.recommendations(user, 20))["events"]
            begun = time.time()
            async for _ in client.send([click(user, name(number % ITEMS), event_id)]):
                pass
            while (await client.recommendations(user, 20))["events"] <= before:
                if time.time() - begun > CHANGE_SECONDS:
                    raise GatewayError(f"{event_id} changed nothing within {CHANGE_SECONDS:.0f} s")
            clicks[event_id] = begun, time.time()
    return clicks


SentAt = dict[str, dict[str, float]]
"""By topic and event, when its sender made the record; seconds since the Unix epoch."""


@contextmanager
def _sent_at(cluster: Cluster, pipeline: RecommenderPipeline) -> Iterator[SentAt]:
    """Reads the topics beside the pipeline while the block runs."""
    topics = Topics.of(pipeline)
    client = connect(cluster.pulsar.service_url, Credentials(cluster.credentials))
    found: SentAt = {topic.name: {} for topic in (topics.events, topics.clean, topics.features)}
    stop = threading.Event()
    threads = []
    for topic in (topics.events, topics.clean, topics.features):
        full = str(TopicName(cluster.pulsar.tenant, cluster.pulsar.namespace, topic.name))
        stored = StoredRecords({full: topic.schema.header})
        consumer = client.subscribe(full, "bench", schema=stored)
        threads.append(
            threading.Thread(target=_note, args=(consumer, stored, topic, found[topic.name], stop))
        )
        threads[-1].start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        client.close()


def _note(
    consumer: pulsar.Consumer,
    stored: StoredRecords,
    topic: Topic,
    into: dict[str, float],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            message = consumer.receive(200)
        except pulsar.Timeout:
            continue
        if message.partition_key().startswith(FOLLOWED):
            event = topic.schema.decode(stored.value(message))
            into.setdefault(event["event_id"], message.publish_timestamp() / 1_000)
        consumer.acknowledge(message)


async def _all_seen(sent_at: SentAt, events: set[str]) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while not all(events <= seen.keys() for seen in sent_at.values()):  # noqa: ASYNC110 - other threads fill it
            await asyncio.sleep(0.1)


def _hops(clicks: dict[str, tuple[float, float]], sent_at: SentAt) -> Hops:
    ways = [
        (begun, *(sent_at[topic][event] for topic in sent_at), end) for event, (begun, end) in clicks.items()
    ]
    return Hops(
        *(
            Latency.of([max(way[hop + 1] - way[hop], 0.0) for way in ways])  # stamps are whole milliseconds
            for hop in range(4)
        )
    )
