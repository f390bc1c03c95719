"""What publishing costs: time, size and memory of an export, and what learning feels of it.

Baseline, in the same run: learning with nothing beside it.
"""

import asyncio
import resource
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recpipe.bench.figures import Latency
from recpipe.bench.serving import EVENTS, trained
from recpipe.bench.stream import name

TURN = 32
"""Events learned at a stretch, as the learner does."""
USERS = 3_000
KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Learning:
    """Learning, without tests, in turns of 32 events."""

    seconds: float
    events_per_second: float
    turn: Latency


@dataclass(frozen=True)
class Export:
    items: int
    dimensions: int
    version_mib: float
    checkpoint_mib: float
    export_peak_mib: float
    """Of the process that exports; the learner's own memory is not in it."""
    learner_mib: float
    """The most that this process needed."""
    alone: Learning
    """Baseline."""
    during_checkpoint: Learning
    during_export: Learning
    longest_stall_ms: float
    """The longest turn during checkpoint and export, less the longest of the baseline."""


def measure_export(items: int, dimensions: int, seconds: float) -> Export:
    return asyncio.run(_measure(items, dimensions, seconds))


async def _measure(items: int, dimensions: int, seconds: float) -> Export:
    from recpipe.status import LearnerStatus
    from recpipe_model.learner import checkpoint
    from recpipe_model.learner.learner import Memory
    from recpipe_model.learner.publisher import Publisher

    model, _ = trained(items, dimensions)
    stream = _Stream(model, items)
    await stream.beside(asyncio.sleep(1.0))  # warm
    alone = await stream.beside(asyncio.sleep(seconds))
    with tempfile.TemporaryDirectory(prefix="recpipe-bench-") as folder:
        checkpoints, models = Path(folder) / "checkpoints", Path(folder) / "models"
        progress = checkpoint.Progress({}, LearnerStatus(), Memory([], {}))
        saving = await stream.beside(checkpoint.save_aside(checkpoints, model, lambda: progress))
        file = checkpoint.newest(checkpoints)
        assert file
        publisher = Publisher(models, keep=1)
        publisher.publish(file)
        exporting = await stream.beside(publisher.published())
        size = sum(path.stat().st_size for path in (models / "1").rglob("*") if path.is_file())
        saved = file.stat().st_size
    stall = max(saving.turn.max_ms, exporting.turn.max_ms) - alone.turn.max_ms
    return Export(
        items=items,
        dimensions=dimensions,
        version_mib=size / MIB,
        checkpoint_mib=saved / MIB,
        export_peak_mib=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / KIB,
        learner_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB,
        alone=alone,
        during_checkpoint=saving,
        during_export=exporting,
        longest_stall_ms=max(stall, 0.0),
    )


class _Stream:
    """Events that go on."""

    def __init__(self, model: Any, items: int) -> None:
        self._model, self._items, self._number = model, items, EVENTS

    async def beside(self, work: Awaitable[object]) -> Learning:
        """Learns until the work is done, which has its turn after each turn of learning."""
        other, turns = asyncio.ensure_future(work), list[float]()
        begun = time.perf_counter()
        while not other.done() or not turns:
            started = time.perf_counter()
            for _ in range(TURN):
                self._number += 1
                item = self._number * 7919 % self._items
                self._model.learn(str(self._number % USERS), name(item), float(self._number))
            await asyncio.sleep(0)
            turns.append(time.perf_counter() - started)
        await other
        seconds = time.perf_counter() - begun
        return Learning(seconds, len(turns) * TURN / seconds, Latency.of(turns))
