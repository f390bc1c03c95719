"""The learner's work in a process: records in, live state, checkpoints and model versions out."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client import Counter, Gauge

from recpipe.bus import Bus, Record, Subscription
from recpipe.spec import RecommenderPipeline
from recpipe.topics import Topics
from recpipe.worker import OUTAGES
from recpipe_model.learner import checkpoint
from recpipe_model.learner.learner import Learner
from recpipe_model.learner.live import LiveState
from recpipe_model.learner.past import Lesson, Past, order, partition_of, teach
from recpipe_model.learner.publisher import Publisher

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.5
LONGEST_LIVE_SECONDS = 0.2
"""Time between writes of live state while the learner is behind: more of it goes to learning."""
SHORTEST_PUBLISH_SECONDS = 60.0
"""A young model doubles fast: it is published when it has, but not more often than this."""
WRITING_SHARE = 0.1
"""Of the time, that may go to writing checkpoints: those of large models come less often."""

LEARNED = Counter("recpipe_learner_events_total", "Feature rows learned from.")
RATE = Gauge("recpipe_learner_events_per_second", "Feature rows learned from a second, lately.")
LAG = Gauge("recpipe_learner_lag_seconds", "From the arrival of the newest learned event to its learning.")
TEST_RATE = Gauge("recpipe_learner_test_rate", "Share of events tested before learning; falls when behind.")
HIT_RATE = Gauge("recpipe_learner_hit_rate", "Prequential hit rate at 10.", ["model"])
VERSION = Gauge("recpipe_learner_model_version", "Newest published model version.")
CHECKPOINT = Gauge("recpipe_learner_checkpoint_seconds", "Time that writing the newest checkpoint took.")
ADOPTED = Counter("recpipe_learner_retrained_total", "Retrained models that took the model's place.")


class LearnerProcess:
    """Ties the learner to its bus, store and files.

    Records stay unacknowledged until a checkpoint holds them: after a crash the bus gives again what
    came since, and positions in the checkpoint drop what it already holds.
    """

    def __init__(
        self,
        pipeline: RecommenderPipeline,
        bus: Bus,
        subscription: Subscription,
        live: LiveState,
        folder: Path,
        models: Path,
        named: Callable[[], set[int]] = set,
    ) -> None:
        self._pipeline, self._topics, self._bus = pipeline, Topics.of(pipeline), bus
        self._subscription, self._live, self._folder = subscription, live, folder
        self._model_spec = pipeline.spec.model
        self._publisher = Publisher(models, self._model_spec.storage.keep_versions, named)
        self._learning = asyncio.Lock()
        self._positions: dict[str, str] = {}
        self._unacknowledged: list[Record] = []
        found = checkpoint.load(folder)
        self._outdated = found is not None and found[0] is None
        self._learner = Learner(pipeline, found[0] if found else None)
        if found:
            progress = found[1]
            self._learner.resume(progress.status, progress.memory)
            self._positions = dict(progress.positions)
            log.info("resumed after %d events", self._learner.learned)
        self._in_store = self._in_checkpoint = self._published = self._learner.learned
        self._exported = self._publisher.items_in_served

    async def handle(self, records: Sequence[Record]) -> None:
        """Learns from one batch, in the order of arrival over all partitions."""
        async with self._learning:
            learned = self._learner.learned
            fresh = [record for record in records if self._is_new(record)]
            teach(self._learner, [Lesson.of(record) for record in fresh], time.time())
            LEARNED.inc(self._learner.learned - learned)
            for record in fresh:
                self._positions[partition_of(record)] = record.position
            self._unacknowledged += records
        await asyncio.sleep(0)  # the live state's turn

    def _is_new(self, record: Record) -> bool:
        return order(record.position) > order(self._positions.get(partition_of(record), ""))

    async def begin(self) -> None:
        """Before the first record: without a checkpoint, takes up what the pipeline knew in an earlier life.

        Items keep the indices that the store has for them, for those are in what is served.
        """
        if not self._positions or self._outdated:
            self._learner.model.reserve(await self._live.names())
        if self._outdated:
            await self._learn_anew()
        await self.adopt()

    async def _learn_anew(self) -> None:
        """A model from what the bus still holds of the events that are counted already."""
        log.warning("the checkpoint's events are learned anew, as far as the bus still holds them")
        pupil = Learner(self._pipeline, self._learner.model, test_rate=0.0)
        await self._caught_up(pupil, {}, self._positions)
        log.info("%d of %d events learned anew", pupil.learned, self._learner.learned)
        self._outdated, self._published = False, -1
        await self.save(whole=True)

    async def adopt(self) -> None:
        """Lets a retrained model, where one is waiting, catch up and take the model's place.

        It learns what came since its training from what the bus still holds, while the present model goes
        on; only the last of it holds learning up. Raises BusUnavailableError, and tries again when it is
        called again.
        """
        found = await asyncio.to_thread(checkpoint.load, self._folder / checkpoint.RETRAINED)
        if found is None:
            return
        (model, progress), own = found, self._learner.model
        if model is None or not agree(own.vocabulary.names(), model.vocabulary.names()):
            differs = "is of another version" if model is None else "numbers other items"
            log.error("the retrained model %s than this one: it is dropped, train again", differs)
            shutil.rmtree(self._folder / checkpoint.RETRAINED)
            return
        log.info("a model retrained on %d events catches up", progress.status.learned)
        first_life = not self._positions
        successor = Learner(self._pipeline, model, test_rate=0.0)
        successor.resume(progress.status, progress.memory)
        positions = await self._caught_up(
            successor, progress.positions, None if first_life else self._positions
        )
        async with self._learning:
            if first_life:
                self._learner = Learner(self._pipeline, model)
                self._learner.resume(successor.status(0.0, 0), successor.memory())
                self._positions = positions
            else:
                positions = await self._caught_up(successor, positions, self._positions)
                self._positions = later(self._positions, positions)
                self._learner.model = model
            model.reserve(own.vocabulary.names())
        self._published = -1  # so that a version of it is due
        ADOPTED.inc()
        log.info("the retrained model has taken over")
        await self.save(whole=True)
        shutil.rmtree(self._folder / checkpoint.RETRAINED)

    async def _caught_up(
        self, learner: Learner, after: Mapping[str, str], until: Mapping[str, str] | None
    ) -> dict[str, str]:
        past = Past(self._bus, self._topics, after, dict(until) if until is not None else None)
        async for lessons in past.lessons():
            teach(learner, lessons)
            await asyncio.sleep(0)
        return past.positions

    async def keep_live(self, stop: asyncio.Event) -> None:
        """Writes live state at the spec's interval, and the status twice a second."""
        interval = self._model_spec.live_interval.total_seconds()
        reported, learned = time.monotonic(), self._learner.learned
        while not stop.is_set():
            begun = time.monotonic()
            try:
                await self._live.flush(self._learner.model, self._exported)
                if (elapsed := begun - reported) >= REPORT_SECONDS:
                    self._exported = self._publisher.items_in_served
                    await self._report((self._learner.learned - learned) / elapsed)
                    reported, learned = begun, self._learner.learned
            except OUTAGES as error:
                log.warning("live state waits for the store: %s", error)
            pause = interval if self._learner.pace.in_time else LONGEST_LIVE_SECONDS
            await _wait(stop, pause - (time.monotonic() - begun))

    async def _report(self, rate: float) -> None:
        status = msgspec.structs.replace(
            self._learner.status(rate, self._publisher.version),
            versions=self._publisher.versions,
            reported_at=time.time(),
            published_at=self._publisher.published_at,
        )
        LAG.set(status.lag_seconds)
        TEST_RATE.set(status.test_rate)
        RATE.set(rate)
        HIT_RATE.labels("hybrid").set(status.hybrid.hit_rate)
        HIT_RATE.labels("popularity").set(status.popularity.hit_rate)
        VERSION.set(status.model_version)
        await self._live.report(status)

    async def keep_checkpoints(self, stop: asyncio.Event) -> None:
        """Saves and acknowledges at the spec's interval, and publishes versions from what was saved."""
        published_at = 0.0
        pause = interval = self._model_spec.checkpoint_interval.total_seconds()
        while not stop.is_set():
            await _wait(stop, pause)
            begun = time.monotonic()
            try:
                await self.adopt()
                await self.save()
            except OUTAGES as error:
                log.warning("acknowledgement waits for the next checkpoint: %s", error)
                continue
            CHECKPOINT.set(time.monotonic() - begun)
            pause = max(interval, (time.monotonic() - begun) / WRITING_SHARE)
            if not self._publisher.busy and self._due(time.monotonic() - published_at):
                newest = checkpoint.newest(self._folder)
                if newest:
                    published_at, self._published = time.monotonic(), self._learner.learned
                    self._publisher.publish(newest)
        await self._publisher.finish()

    def _due(self, waited: float) -> bool:
        """At the spec's interval; sooner where the model has doubled, or more items are new than can be announced."""
        learned, items = self._learner.learned, len(self._learner.model.vocabulary)
        new = items - self._publisher.items_in_newest
        changed = learned != self._published or new != 0
        retrained = self._published < 0
        grown = learned >= 2 * self._published or new > self._learner.model.settings.announced
        interval = self._model_spec.publish_interval.total_seconds()
        wait = min(SHORTEST_PUBLISH_SECONDS, interval) if grown else interval
        return items > 0 and changed and (retrained or waited >= wait)

    async def save(self, *, whole: bool = False) -> None:
        """A checkpoint of now, then the acknowledgement of all that is in it; `whole` even if nothing came."""
        records = self._unacknowledged
        if not records and not whole:
            return
        self._unacknowledged = []
        learner, learned = self._learner, self._learner.learned

        def progress() -> checkpoint.Progress:
            return checkpoint.Progress(dict(self._positions), learner.status(0.0, 0), learner.memory())

        try:
            await checkpoint.save_aside(self._folder, learner.model, progress)
            tally = {"learner.learned": learned - self._in_checkpoint}
            await self._subscription.acknowledge(records, tally=tally)
        except OUTAGES:
            self._unacknowledged = records + self._unacknowledged
            raise
        self._in_checkpoint = learned


def agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two vocabularies give no index to different items."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def later(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Of each partition the later position."""
    both = one.keys() | other.keys()
    return {name: max(one.get(name, ""), other.get(name, ""), key=order) for name in both}


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop`, or for so long; always gives others their turn."""
    try:
        await asyncio.wait_for(stop.wait(), max(seconds, 0.001))
    except TimeoutError:
        return
