"""The gateway's process."""

import argparse
import asyncio
import logging
import os
import random
import socket
import sys
from pathlib import Path
from typing import Final

from recpipe import connections, process
from recpipe.bus import Bus
from recpipe.connections import Connections
from recpipe.horizon import Horizon
from recpipe.pipeline_file import InvalidPipelineError, load_pipeline
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import Topics
from recpipe.worker import OUTAGES
from recpipe_gateway.app import application
from recpipe_gateway.events import Events
from recpipe_gateway.health import Health
from recpipe_gateway.impressions import Impressions
from recpipe_gateway.intake import Intake
from recpipe_gateway.items import Items
from recpipe_gateway.keys import ApiKeys, KeysError
from recpipe_gateway.model import Model
from recpipe_gateway.reads import LiveInputs, StoreReads
from recpipe_gateway.recommendations import RecommendationEndpoints
from recpipe_gateway.recommender import Recommender
from recpipe_gateway.server import serve
from recpipe_gateway.users import Users
from recpipe_model.client import AsyncPredictClient

log = logging.getLogger(__name__)

LONGEST_REFRESH_SECONDS: Final = 0.1
BUS_SECONDS: Final = 2.0
STORE_SECONDS: Final = 2.0
BACKLOG: Final = 2_048
USAGE_ERROR: Final = 2


async def main(
    stop: asyncio.Event,
    given: argparse.Namespace,
    pipeline: RecommenderPipeline,
    connections: Connections,
    keys: ApiKeys | None,
    listener: socket.socket,
) -> None:
    """Serves one pipeline on a bound socket until `stop`."""
    spec, names, topics = pipeline.spec, Keys(pipeline.name), Topics.of(pipeline)
    bus = connections.bus(pipeline, answer_seconds=BUS_SECONDS, retries=1)
    store = connections.store(answer_seconds=STORE_SECONDS, retries=1)
    reading = connections.kept()
    client = AsyncPredictClient(given.model_target)

    refresh_seconds = min(spec.model.live_interval.total_seconds(), LONGEST_REFRESH_SECONDS)
    inputs = LiveInputs(store, names, refresh_seconds)
    deadline = spec.serving.deadline.total_seconds()
    models = {
        horizon: Model(client, pipeline.name, deadline, lambda: inputs.blob, horizon) for horizon in Horizon
    }
    impressions = Impressions(bus, topics.impressions)
    intake = Intake(spec, topics, bus)
    recommender = Recommender(spec, StoreReads(reading, names), inputs, models, impressions)
    events = Events(intake, keys, spec.gateway.cors_origins)
    health = Health(bus.tally, lambda seconds: client.status(pipeline.name, timeout=seconds))
    endpoints = [
        *events.endpoints(),
        *RecommendationEndpoints(recommender).endpoints(),
        *Users(store, names).endpoints(),
        *Items(store, names, bus, topics.items).endpoints(),
        *health.endpoints(),
    ]
    app = application(pipeline.name, endpoints, events, keys, spec.gateway.cors_origins)
    background = [
        asyncio.create_task(inputs.refresh(stop)),
        asyncio.create_task(_create_topics(bus, topics, stop)),
    ]
    try:
        await serve(app, listener, stop, lambda: _announce(given.ready_file, listener))
        await intake.drain()
        await impressions.drain()
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await client.close()
        await reading.aclose()
        await store.aclose()
        await bus.close()


async def _create_topics(bus: Bus, topics: Topics, stop: asyncio.Event) -> None:
    """Makes the topics as soon as the bus can be reached: before that nothing can be published either."""
    while not stop.is_set():
        try:
            await bus.create(list(topics))
        except OUTAGES as error:
            log.warning("topics cannot be made yet: %s", error)
            await asyncio.sleep(random.uniform(0.2, 0.5))
        else:
            return


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recpipe_gateway", description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True)
    connections.add_arguments(parser)
    parser.add_argument("--model-target", required=True, help="host:port of the TensorFlow Serving API")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 for any free one")
    parser.add_argument("--ready-file", type=Path, help="written with the URL once requests are taken")
    return parser.parse_args()


def _announce(file: Path | None, listener: socket.socket) -> None:
    """Writes where the gateway listens, whole or not at all, for whoever waits for the file."""
    host, port, *_ = listener.getsockname()
    log.info("listening on http://%s:%d", host, port)
    if file:
        beside = file.with_name(file.name + ".new")
        beside.write_text(f"http://{host}:{port}\n")
        beside.replace(file)


def run() -> int:
    """Reads what is needed to start, says what is missing, serves."""
    given = arguments()
    try:
        pipeline, connected = load_pipeline(given.pipeline), connections.from_arguments(given)
        keys = ApiKeys.load(os.environ) if pipeline.spec.gateway.authentication.enabled else None
        listener = socket.create_server((given.bind, given.port), backlog=BACKLOG)
    except (InvalidPipelineError, KeysError, ValueError, OSError) as error:
        sys.stderr.write(f"recpipe_gateway: {error}\n")
        return USAGE_ERROR
    process.run(lambda stop: main(stop, given, pipeline, connected, keys, listener), part="gateway")
    return 0


if __name__ == "__main__":
    sys.exit(run())
