"""Batch training: retained history through the very learner that learns live, at full speed.

What comes out is published as a version, then left among the learner's checkpoints as the model that a
learner takes up. A learner that runs goes on meanwhile; see `LearnerProcess.adopt`.
"""

import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from pathlib import Path

from recpipe.bus import Bus
from recpipe.catalogue import Item
from recpipe.records import FeatureRow
from recpipe.spec import RecommenderPipeline
from recpipe.status import LearnerStatus
from recpipe.topics import Topics
from recpipe_model.learner import checkpoint
from recpipe_model.learner.learner import Learner
from recpipe_model.learner.past import CHUNK, Past, teach
from recpipe_model.learner.publisher import ASIDE, Publisher


class Training:
    """A model that is learned anew, in the numbering of the one that it will replace.

    Args:
        pipeline: whose learner it is.
        checkpoints: the learner's folder; its newest checkpoint says how far the bus is read.
        known: item ids by index where there is no checkpoint, as the store has them.
        test_rate: share of events that are tested before they are learned; the model is the same.
    """

    def __init__(
        self,
        pipeline: RecommenderPipeline,
        checkpoints: Path,
        known: Iterable[str] = (),
        test_rate: float | None = None,
    ) -> None:
        self._pipeline, self._checkpoints = pipeline, checkpoints
        self._learner = Learner(pipeline, test_rate=test_rate)
        self._positions: dict[str, str] = {}
        found = checkpoint.load(checkpoints)
        self._until = found[1].positions if found else None
        numbered = found[0].vocabulary.names() if found and found[0] else list(known)
        self._learner.model.reserve(numbered)

    @property
    def status(self) -> LearnerStatus:
        return self._learner.status(0.0, 0)

    def learn_file(self, items: Iterable[Item], rows: Iterable[FeatureRow]) -> Iterator[int]:
        """Items, known from the first row's time on, and rows in their order; yields how many were learned."""
        rows = iter(rows)
        some = list(islice(rows, CHUNK))
        for item in items:
            self._learner.put_item(item.record(some[0]["timestamp"] if some else 0))
        while some:
            self._learner.learn(some, some[-1]["ingested_at"] / 1_000)
            yield self._learner.learned
            some = list(islice(rows, CHUNK))

    async def learn_bus(self, bus: Bus) -> AsyncIterator[int]:
        """What the bus holds, up to where the learner's checkpoint is; yields how many rows were learned."""
        past = Past(bus, Topics.of(self._pipeline), until=self._until)
        async for lessons in past.lessons():
            teach(self._learner, lessons)
            yield self._learner.learned
        self._positions = past.positions

    def save(self) -> None:
        """Leaves the model for the learner, which may take it up and drop it at once."""
        learner = self._learner
        progress = checkpoint.Progress(self._positions, learner.status(0.0, 0), learner.memory())
        checkpoint.save(self._checkpoints / checkpoint.RETRAINED, learner.model, progress)

    async def publish(self, models: Path) -> int:
        """The version that the model was published as; raises PublishError."""
        spec = self._pipeline.spec
        named = spec.serving.named_versions
        publisher = Publisher(models, spec.model.storage.keep_versions, lambda: named)
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=ASIDE, dir=self._checkpoints) as folder:
            file = Path(folder, checkpoint.MODEL)
            self._learner.model.save(file)
            publisher.publish(file)
            return await publisher.published()
