"""The gateway's process."""

import argparse
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from recpipe.bus import ValkeyBus
from recpipe.pipeline_file import load_pipeline
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys, connect
from recpipe.topics import Topics
from recpipe_gateway.endpoint import Endpoint, Resource
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
from recpipe_gateway.users import Users
from recpipe_model.client import AsyncPredictClient

LIVE_SECONDS = 0.1
DRAIN_SECONDS = 10


def application(
    pipeline: RecommenderPipeline, keys: ApiKeys | None, *, bus_url: str, store_url: str, model_target: str
) -> Starlette:
    """The gateway of one pipeline; connections are made when it starts."""
    topics, names = Topics.of(pipeline), Keys(pipeline.name)
    bus_client, store = connect(bus_url), connect(store_url)
    bus = ValkeyBus(bus_client, names)
    inputs = LiveInputs(store, names, LIVE_SECONDS)
    intake, impressions = Intake(pipeline.spec, topics, bus), Impressions(bus, topics.impressions)
    client = AsyncPredictClient(model_target)
    deadline = pipeline.spec.serving.deadline.total_seconds()
    model = Model(client, pipeline.name, deadline, lambda: inputs.blob)
    recommender = Recommender(pipeline.spec, StoreReads(store, names), inputs, model, impressions)
    events = Events(intake, keys, pipeline.spec.gateway.cors_origins)
    health = Health(bus_client.ping, lambda timeout: client.status(pipeline.name, timeout=timeout))
    endpoints = [
        *events.endpoints(),
        *RecommendationEndpoints(recommender).endpoints(),
        *Users(store, names).endpoints(),
        *Items(store, names, bus, topics.items).endpoints(),
        *health.endpoints(),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        await bus.create(list(topics))
        refreshing = asyncio.create_task(inputs.refresh(stop))
        yield
        stop.set()
        await refreshing
        await intake.drain()
        await impressions.drain()
        await client.close()
        await store.aclose()
        await bus.close()

    cors = Middleware(
        CORSMiddleware,
        allow_origins=pipeline.spec.gateway.cors_origins,
        allow_methods=["POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key"],
    )
    routes = [*_routes(endpoints, keys), WebSocketRoute("/v1/stream", events.stream)]
    return Starlette(routes=routes, middleware=[cors], lifespan=lifespan)


def _routes(endpoints: Sequence[Endpoint], keys: ApiKeys | None) -> list[Route]:
    """One resource a path; paths without parameters first."""
    ordered = sorted(endpoints, key=lambda endpoint: ("{" in endpoint.path, endpoint.path))
    grouped = groupby(ordered, key=lambda endpoint: endpoint.path)
    return [Route(path, Resource(list(members), keys)) for path, members in grouped]


def main() -> None:
    parser = argparse.ArgumentParser(prog="recpipe_gateway", description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True)
    parser.add_argument("--bus-url", required=True)
    parser.add_argument("--store-url", help="where live state is; the bus's server if not given")
    parser.add_argument("--model-target", required=True, help="host:port of the TensorFlow Serving API")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    logging.basicConfig(level=os.environ.get("RECPIPE_LOG_LEVEL", "INFO"))
    pipeline = load_pipeline(given.pipeline)
    try:
        keys = ApiKeys.load(os.environ) if pipeline.spec.gateway.authentication.enabled else None
    except KeysError as error:
        parser.error(str(error))
    uvloop.run(serve(pipeline, keys, given))


async def serve(pipeline: RecommenderPipeline, keys: ApiKeys | None, given: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT; the model's client has to be made in the loop that uses it."""
    app = application(
        pipeline,
        keys,
        bus_url=given.bus_url,
        store_url=given.store_url or given.bus_url,
        model_target=given.model_target,
    )
    config = uvicorn.Config(
        app,
        host=given.bind,
        port=given.port,
        http="httptools",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    main()
