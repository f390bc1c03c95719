"""Time and memory of learning by size of the catalogue: neither may grow with it but memory by the item.

Times are the processor's, of the learning thread alone, so that other programs move them little.

Baseline, in the same run: incremental matrix factorisation (ISGD), which does far less of an event.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from recpipe.bench.stream import CLUSTER, Catalogue, name

USERS = 500
"""So few that their histories are at full length while it is measured."""
WARM, MEASURED = 30_000, 10_000
CHUNK = 100
"""Events timed together; the median of these means is not moved by what else the machine does now and then."""
SECONDS = 10.0
"""Between a user's events."""


@dataclass(frozen=True)
class Size:
    """Figures at one size of the catalogue."""

    learn_us: float
    """An event learned from."""
    test_and_learn_us: float
    """An event tested before it is learned from."""
    baseline_us: float
    """An event in ISGD, tests left out."""
    put_us: float
    """An item's metadata put into the catalogue."""
    mib: float
    """Everything that grows with the catalogue."""


@dataclass(frozen=True)
class Learning:
    bytes_per_item: int
    """What an item may take at most."""
    flatness: float
    """Slowest size over fastest, of learning."""
    sizes: dict[str, Size]


Event = tuple[str, int, float]


def measure_learning(sizes: Sequence[int], step: Callable[[str], None]) -> Learning:
    figures, per_item = {}, 0
    step("compiling")
    _measure(CLUSTER, warm=100, measured=100)
    for items in sizes:
        step(f"{items:,} items")
        figures[str(items)], per_item = _measure(items)
    slowest = max(size.learn_us for size in figures.values())
    fastest = min(size.learn_us for size in figures.values())
    return Learning(per_item, slowest / fastest, figures)


def _measure(items: int, warm: int = WARM, measured: int = MEASURED) -> tuple[Size, int]:
    from recpipe_model.hybrid import HybridModel

    model = HybridModel()
    begun = time.perf_counter()
    for item in range(items):
        model.put_item(name(item), categories=[f"cluster-{item // CLUSTER}"], title=f"Item {item}", time=0.0)
    put = (time.perf_counter() - begun) / items
    stream = _events(items, warm + 2 * measured)

    def learn(events: Sequence[Event], test: bool) -> float:
        taken = []
        for first in range(0, len(events), CHUNK):
            begun = time.thread_time()
            for user, item, moment in events[first : first + CHUNK]:
                model.learn(user, name(item), moment, context=("device=mobile",), test=test)
            taken.append((time.thread_time() - begun) / CHUNK * 1e6)
        return median(taken)

    learn(stream[:warm], test=False)
    learned = learn(stream[warm : warm + measured], test=False)
    tested = learn(stream[warm + measured :], test=True)
    size = Size(learned, tested, _baseline(items, stream), put * 1e6, model.bytes_per_item * items / 2**20)
    return size, model.bytes_per_item


def _baseline(items: int, stream: Sequence[Event]) -> float:
    import numpy as np

    from recpipe_model.evaluation.baselines import Isgd
    from recpipe_model.evaluation.histories import Visit

    method = Isgd(items, USERS, seed=0)
    nothing = (np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.float32))
    begun = time.thread_time()
    for user, item, moment in stream:
        method.learn(Visit(int(user), moment, *nothing, excludes=False), item, 1.0)
    return (time.thread_time() - begun) / len(stream) * 1e6


def _events(items: int, count: int) -> list[Event]:
    """User, item, seconds: sessions over a power-law catalogue with clusters of taste."""
    choose, catalogue = random.Random(0), Catalogue(items)
    latest: dict[int, int] = {}
    stream: list[Event] = []
    for number in range(count):
        user = choose.randrange(USERS)
        item = catalogue.follow(latest.get(user), choose)
        latest[user] = item
        stream.append((str(user), item, number * SECONDS / USERS))
    return stream
