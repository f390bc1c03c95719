"""The learner's process: bus in, live state, checkpoints and model versions out."""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from prometheus_client import Counter, Gauge

from recpipe import connections, process
from recpipe.bus import Record, Subscription
from recpipe.connections import Connections
from recpipe.pipeline_file import load_pipeline
from recpipe.schema import FEATURES, IMPRESSION, ITEM
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import LEARNER_GROUP, Topics
from recpipe.worker import OUTAGES, subscribed, work
from recpipe_model.hybrid import HybridModel
from recpipe_model.learner import checkpoint
from recpipe_model.learner.learner import Learner
from recpipe_model.learner.live import LiveState
from recpipe_model.learner.publisher import Publisher

log = logging.getLogger(__name__)

BATCH = 32
"""Records a partition: small, because live state is written between batches."""
REPORT_SECONDS = 0.5
LONGEST_LIVE_SECONDS = 0.2
"""Time between writes of live state while the learner is behind: more of it goes to learning."""
USAGE_ERROR = 2
SHORTEST_PUBLISH_SECONDS = 60.0
"""A young model doubles fast: it is published when it has, but not more often than this."""

LEARNED = Counter("recpipe_learner_events_total", "Feature rows learned from.")
LAG = Gauge("recpipe_learner_lag_seconds", "From the arrival of the newest learned event to its learning.")
TEST_RATE = Gauge("recpipe_learner_test_rate", "Share of events tested before learning; falls when behind.")
HIT_RATE = Gauge("recpipe_learner_hit_rate", "Prequential hit rate at 10.", ["model"])
VERSION = Gauge("recpipe_learner_model_version", "Newest published model version.")


class LearnerProcess:
    """Ties the learner to its bus, store and files.

    Records stay unacknowledged until a checkpoint holds them: after a crash the bus gives again what
    came since, and positions in the checkpoint drop what it already holds.
    """

    def __init__(
        self,
        pipeline: RecommenderPipeline,
        subscription: Subscription,
        live: LiveState,
        folder: Path,
        models: Path,
    ) -> None:
        self._subscription, self._live, self._folder = subscription, live, folder
        self._model_spec = pipeline.spec.model
        self._publisher = Publisher(models, self._model_spec.storage.keep_versions)
        self._positions: dict[str, str] = {}
        self._unacknowledged: list[Record] = []
        found = checkpoint.load(folder)
        self._learner = Learner(pipeline, found[0] if found else None)
        if found:
            progress = found[1]
            self._learner.resume(progress.status, progress.recent)
            self._positions = dict(progress.positions)
            log.info("resumed after %d events", self._learner.learned)
        self._in_store = self._in_checkpoint = self._published = self._learner.learned
        self._served = len(self._learner.model.vocabulary) if self._publisher.version else 0

    async def handle(self, records: Sequence[Record]) -> None:
        """Learns from one batch, in the order of arrival over all partitions."""
        fresh = [record for record in records if self._is_new(record)]
        rows = []
        for record in fresh:
            match record.topic.schema:
                case schema if schema is FEATURES:
                    rows.append(FEATURES.decode(record.value))
                case schema if schema is ITEM:
                    self._learner.put_item(ITEM.decode(record.value))  # type: ignore[arg-type]
                case schema if schema is IMPRESSION:
                    self._learner.show(IMPRESSION.decode(record.value))  # type: ignore[arg-type]
        rows.sort(key=lambda row: row["ingested_at"])
        self._learner.learn(rows, time.time())  # type: ignore[arg-type]
        LEARNED.inc(len(rows))
        for record in fresh:
            self._positions[_partition(record)] = record.position
        self._unacknowledged += records
        await asyncio.sleep(0)  # the live state's turn

    def _is_new(self, record: Record) -> bool:
        at = self._positions.get(_partition(record))
        return at is None or _order(record.position) > _order(at)

    async def keep_live(self, stop: asyncio.Event) -> None:
        """Writes live state at the spec's interval, and the status twice a second."""
        interval = self._model_spec.live_interval.total_seconds()
        reported, learned = time.monotonic(), self._learner.learned
        while not stop.is_set():
            begun = time.monotonic()
            try:
                await self._live.flush(self._learner.model, self._served)
                if (elapsed := begun - reported) >= REPORT_SECONDS:
                    await self._report((self._learner.learned - learned) / elapsed)
                    reported, learned = begun, self._learner.learned
            except OUTAGES as error:
                log.warning("live state waits for the store: %s", error)
            pause = interval if self._learner.pace.in_time else LONGEST_LIVE_SECONDS
            await _wait(stop, pause - (time.monotonic() - begun))

    async def _report(self, rate: float) -> None:
        status = msgspec.structs.replace(
            self._learner.status(rate, self._publisher.version),
            reported_at=time.time(),
            published_at=self._publisher.published_at,
        )
        LAG.set(status.lag_seconds)
        TEST_RATE.set(status.test_rate)
        HIT_RATE.labels("hybrid").set(status.hybrid.hit_rate)
        HIT_RATE.labels("popularity").set(status.popularity.hit_rate)
        VERSION.set(status.model_version)
        await self._live.report(status)

    async def keep_checkpoints(self, stop: asyncio.Event) -> None:
        """Saves and acknowledges at the spec's interval, and publishes versions from what was saved."""
        published_at = 0.0
        while not stop.is_set():
            await _wait(stop, self._model_spec.checkpoint_interval.total_seconds())
            try:
                await self.save()
            except OUTAGES as error:
                log.warning("acknowledgement waits for the bus: %s", error)
                continue
            if not self._publisher.busy and self._due(time.monotonic() - published_at):
                newest = checkpoint.newest(self._folder)
                if newest:
                    published_at, self._published = time.monotonic(), self._learner.learned
                    self._publisher.publish(newest)
        await self._publisher.finish()

    def _due(self, waited: float) -> bool:
        """At the spec's interval, and sooner while the model is young and has doubled."""
        learned = self._learner.learned
        changed = learned != self._published or self._publisher.version == 0
        doubled = learned >= 2 * self._published and waited >= SHORTEST_PUBLISH_SECONDS
        interval = self._model_spec.publish_interval.total_seconds()
        return bool(len(self._learner.model.vocabulary)) and changed and (doubled or waited >= interval)

    async def save(self) -> None:
        """A checkpoint of now, then the acknowledgement of all that is in it."""
        records = self._unacknowledged
        if not records:
            return
        self._unacknowledged = []
        learner = self._learner
        progress = checkpoint.Progress(dict(self._positions), learner.status(0.0, 0), learner.memory())
        checkpoint.save(self._folder, learner.model, progress)
        tally = {"learner.learned": learner.learned - self._in_checkpoint}
        try:
            await self._subscription.acknowledge(records, tally=tally)
        except OUTAGES:
            self._unacknowledged = records + self._unacknowledged
            raise
        self._in_checkpoint = learner.learned


def _partition(record: Record) -> str:
    return f"{record.topic.name}:{record.partition}"


def _order(position: str) -> tuple[int, ...]:
    return tuple(int(part) for part in position.split("-"))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop`, or for so long; always gives others their turn."""
    try:
        await asyncio.wait_for(stop.wait(), max(seconds, 0.001))
    except TimeoutError:
        return


async def main(
    stop: asyncio.Event,
    arguments: argparse.Namespace,
    pipeline: RecommenderPipeline,
    connected: Connections,
) -> None:
    topics, keys = Topics.of(pipeline), Keys(pipeline.name)
    bus, store = connected.bus(pipeline), connected.store()
    try:
        read = [topics.items, topics.features, topics.impressions]
        subscription = await subscribed(bus, read, LEARNER_GROUP, stop)
        if subscription is None:
            return
        learner = LearnerProcess(
            pipeline, subscription, LiveState(store, keys), arguments.checkpoints, arguments.models
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work(subscription, learner.handle, stop, BATCH))
            tasks.create_task(learner.keep_live(stop))
            tasks.create_task(learner.keep_checkpoints(stop))
        await learner.save()
    finally:
        await store.aclose()
        await bus.close()


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
