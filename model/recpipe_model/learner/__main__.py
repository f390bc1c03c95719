"""The learner's process: bus in, live state, checkpoints and model versions out."""

import argparse
import asyncio
import logging
import sys
from functools import partial
from pathlib import Path

from recpipe import connections, process
from recpipe.connections import Connections
from recpipe.pipeline_file import load_pipeline
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import LEARNER_GROUP, Topics
from recpipe.worker import subscribed, work
from recpipe_model.hybrid import HybridModel
from recpipe_model.learner.live import LiveState
from recpipe_model.learner.past import topics_of
from recpipe_model.learner.process import LearnerProcess

log = logging.getLogger(__name__)

BATCH = 32
"""Records a partition: small, because live state is written between batches."""
USAGE_ERROR = 2


async def main(
    stop: asyncio.Event,
    arguments: argparse.Namespace,
    pipeline: RecommenderPipeline,
    connected: Connections,
) -> None:
    topics = Topics.of(pipeline)
    bus, store = connected.bus(pipeline), connected.store()
    try:
        subscription = await subscribed(bus, topics_of(topics), LEARNER_GROUP, stop)
        if subscription is None:
            return
        live = LiveState(store, Keys(pipeline.name))
        named = partial(named_versions, arguments.pipeline, pipeline)
        learner = LearnerProcess(
            pipeline, bus, subscription, live, arguments.checkpoints, arguments.models, named
        )
        await learner.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work(subscription, learner.handle, stop, BATCH))
            tasks.create_task(learner.keep_live(stop))
            tasks.create_task(learner.keep_checkpoints(stop))
        await learner.save()
    finally:
        await store.aclose()
        await bus.close()


def named_versions(file: Path, at_start: RecommenderPipeline) -> set[int]:
    """Those that the file names now: a version is served by its number without starting the learner again."""
    try:
        return load_pipeline(file).spec.serving.named_versions
    except ValueError as error:
        log.warning("the versions that were named at the start are kept: %s", error)
        return at_start.spec.serving.named_versions


def compile_kernels() -> None:
    """Meets every kernel once, on a model that is thrown away: a new machine compiles before it is ready."""
    model = HybridModel()
    for number in range(3):
        model.put_item(str(number), categories=["c"], attributes={"year": 1.0}, time=0.0)
        model.learn("user", str(number), float(number), context=("device=unknown",), test=True)
    model.recommend(model.query_of("user", 4.0), 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recpipe_model.learner", description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True)
    connections.add_arguments(parser)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="base path of the published versions")
    parser.add_argument("--metrics-port", type=int)
    return parser.parse_args()


def run() -> int:
    """Reads what is needed to start, says what is wrong with it, learns."""
    given = arguments()
    try:
        pipeline, connected = load_pipeline(given.pipeline), connections.from_arguments(given)
    except ValueError as error:
        sys.stderr.write(f"recpipe_model.learner: {error}\n")
        return USAGE_ERROR
    compile_kernels()
    process.run(
        lambda stop: main(stop, given, pipeline, connected), part="learner", metrics_port=given.metrics_port
    )
    return 0


if __name__ == "__main__":
    sys.exit(run())
