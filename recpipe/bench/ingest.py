"""Events a second through the whole embedded pipeline, from HTTP to learned.

Baseline, in the same run: the same bytes through one topic of the bus and out again, with nothing
done to them.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from recpipe.bench.functions import FunctionsRate, measure_functions
from recpipe.bench.running import PIPELINE, Cluster, cpu_seconds, pipeline_running
from recpipe.bench.stream import Catalogue, events
from recpipe.bus import Message, ValkeyBus
from recpipe.cli.replay import replay_events
from recpipe.local.home import Home
from recpipe.schema import EVENT
from recpipe.store import Keys, connect
from recpipe.topics import Topic

BATCH = 500


@dataclass(frozen=True)
class Ingest:
    events: int
    lost: int
    events_per_second: float
    """From the first request to the last event learned."""
    admitted_per_second: float
    """Over HTTP, until the last answer."""
    bus_events_per_second: float
    """Baseline: bytes in and out of the bus."""
    hit_rate: float
    test_rate: float


async def measure_ingest(count: int, items: int) -> Ingest:
    stream = list(events(count, Catalogue(items)))
    async with pipeline_running(PIPELINE) as home:
        baseline = await _bus_alone(home, stream)
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            path = Path(file.name)
            path.write_bytes(b"\n".join(stream))
            replayed = await replay_events(home, path)
    return Ingest(
        events=count,
        lost=replayed.lost,
        events_per_second=replayed.counts.learned / replayed.seconds,
        admitted_per_second=replayed.sent.accepted / replayed.sending_seconds,
        bus_events_per_second=baseline,
        hit_rate=replayed.status.hybrid.hit_rate,
        test_rate=replayed.status.hybrid.tested / max(replayed.status.learned, 1),
    )


async def _bus_alone(home: Home, stream: list[bytes]) -> float:
    topic = Topic("baseline", EVENT, partitions=4, groups=("baseline",), max_backlog=10_000_000)
    bus = ValkeyBus(connect(home.endpoints().store), Keys("baseline"))
    subscription = await bus.subscribe([topic], "baseline")
    begun = time.perf_counter()
    messages = [Message(str(number % 997), event) for number, event in enumerate(stream)]
    for first in range(0, len(messages), BATCH):
        await bus.publish(topic, messages[first : first + BATCH])
    received = 0
    while received < len(stream):
        records = await subscription.receive(BATCH, 1.0)
        await subscription.acknowledge(records)
        received += len(records)
    seconds = time.perf_counter() - begun
    await bus.close()
    return len(stream) / seconds


@dataclass(frozen=True)
class IngestOnPulsar:
    events: int
    lost: int
    events_per_second: float
    """From the first request to the last event learned."""
    admitted_per_second: float
    """Over HTTP, until the last answer."""
    cpu_us_per_event: dict[str, float]
    """By process: which has the largest share bounds the rate where cores are busy."""
    functions: FunctionsRate
    """The same events through the functions alone, and through trivial ones."""


async def measure_ingest_on_pulsar(cluster: Cluster, count: int, items: int) -> IngestOnPulsar:
    functions = await measure_functions(cluster, count, items)
    async with pipeline_running(PIPELINE, cluster) as home:
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            path = Path(file.name)
            path.write_bytes(b"\n".join(events(count, Catalogue(items))))
            before = cpu_seconds(home)
            replayed = await replay_events(home, path)
            after = cpu_seconds(home)
    return IngestOnPulsar(
        events=count,
        lost=replayed.lost,
        events_per_second=replayed.counts.learned / replayed.seconds,
        admitted_per_second=replayed.sent.accepted / replayed.sending_seconds,
        cpu_us_per_event={name: (after[name] - before[name]) / count * 1e6 for name in before},
        functions=functions,
    )
