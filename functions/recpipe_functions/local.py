"""A function as a process on one machine."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from redis.asyncio import Redis

from recpipe import process
from recpipe.bus import Bus, Record, Subscription, ValkeyBus
from recpipe.pipeline_file import load_pipeline
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys, connect
from recpipe.topics import Topic, Topics
from recpipe.worker import work


class Function(Protocol):
    async def handle(self, records: Sequence[Record]) -> None: ...


Make = Callable[[RecommenderPipeline, Bus, Subscription, Redis], Function]


def run_function(name: str, reads: Callable[[Topics], Topic], group: str, make: Make) -> None:
    """Runs one function until it is told to stop, by the command line's arguments."""
    parser = argparse.ArgumentParser(prog=f"recpipe_functions.{name}")
    parser.add_argument("--pipeline", type=Path, required=True)
    parser.add_argument("--bus-url", required=True)
    parser.add_argument("--store-url", help="where live state is; the bus's server if not given")
    parser.add_argument("--instance", type=int, default=0, help="number of this instance")
    parser.add_argument("--instances", type=int, default=1, help="how many share the partitions")
    parser.add_argument("--metrics-port", type=int)
    given = parser.parse_args()

    async def main(stop: asyncio.Event) -> None:
        pipeline = load_pipeline(given.pipeline)
        bus = ValkeyBus(connect(given.bus_url), Keys(pipeline.name))
        store = connect(given.store_url or given.bus_url)
        topics = Topics.of(pipeline)
        await bus.create(list(topics))
        subscription = await bus.subscribe([reads(topics)], group, given.instance, given.instances)
        try:
            await work(subscription, make(pipeline, bus, subscription, store).handle, stop)
        finally:
            await store.aclose()
            await bus.close()

    process.run(main, part=name, metrics_port=given.metrics_port)
