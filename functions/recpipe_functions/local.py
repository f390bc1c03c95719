"""A function as a process on one machine."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from redis.asyncio import Redis

from recpipe import connections, process
from recpipe.bus import Bus, Record, Subscription
from recpipe.pipeline_file import load_pipeline
from recpipe.spec import RecommenderPipeline
from recpipe.topics import Topic, Topics
from recpipe.worker import subscribed, work


class Function(Protocol):
    async def handle(self, records: Sequence[Record]) -> None: ...


Make = Callable[[RecommenderPipeline, Bus, Subscription, Redis], Function]


def run_function(name: str, reads: Callable[[Topics], Topic], group: str, make: Make) -> None:
    """Runs one function until it is told to stop, by the command line's arguments."""
    parser = argparse.ArgumentParser(prog=f"recpipe_functions.{name}")
    parser.add_argument("--pipeline", type=Path, required=True)
    connections.add_arguments(parser)
    parser.add_argument("--instance", type=int, default=0, help="number of this instance")
    parser.add_argument("--instances", type=int, default=1, help="how many share the partitions")
    parser.add_argument("--metrics-port", type=int)
    given = parser.parse_args()

    async def main(stop: asyncio.Event) -> None:
        pipeline = load_pipeline(given.pipeline)
        connected = connections.from_arguments(given)
        bus, store = connected.bus(pipeline), connected.store()
        topics = Topics.of(pipeline)
        try:
            await bus.create(list(topics))
            subscription = await subscribed(
                bus, [reads(topics)], group, stop, given.instance, given.instances
            )
            if subscription:
                await work(subscription, make(pipeline, bus, subscription, store).handle, stop)
        finally:
            await store.aclose()
            await bus.close()

    process.run(main, part=name, metrics_port=given.metrics_port)
