"""The one loop that drives methods over a stream: test each event, then learn from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np

from recpipe_model.evaluation.events import Stream
from recpipe_model.evaluation.histories import Histories
from recpipe_model.evaluation.methods import Method
from recpipe_model.hybrid.arrays import Ints, Mask

STRIDE = 250
Step = Callable[[int], None]
"""Called with the number of events done since it was called last."""


@dataclass(slots=True, eq=False)
class Trial:
    """A method and what became of it.

    Attributes:
        ranks: [n] of each event's item, 0 a miss; only where the event was tested.
        lists: what it would have shown at some of the tests, best first.
        events: replayed so far.
        ns: time that testing and learning took for them, nanoseconds.
    """

    method: Method
    ranks: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    lists: list[Ints] = field(default_factory=list)
    events: int = 0
    ns: int = 0


def replay(
    stream: Stream,
    visitors: Ints,
    trials: Sequence[Trial],
    *,
    histories: Histories,
    step: Step,
    tests: Mask | None = None,
    shows: Mask | None = None,
    k: int = 10,
    learns: bool = True,
    excludes: bool = False,
) -> None:
    """Takes every event of the stream in order.

    Args:
        visitors: [n] whose history each event joins: a user or a session.
        tests: [n] the events to test before they are learned from; None for none.
        shows: [n] the events at which the k best are kept as well, outside of the time taken.
        learns: whether methods learn; histories grow in any case.
        excludes: whether a visitor's own items are left out of the ranking.
    """
    n = len(stream)
    none = np.zeros(n, np.bool_)
    for trial in trials:
        trial.ranks = np.zeros(n, np.int32)
        trial.events += n
    columns = (visitors, stream.items, stream.times, stream.weights, none if tests is None else tests)
    rows = zip(*(column.tolist() for column in (*columns, none if shows is None else shows)), strict=True)
    for event, (visitor, item, time, weight, is_test, is_shown) in enumerate(rows):
        visit = histories.visit(visitor, time, excludes)
        for trial in trials:
            method = trial.method
            if is_shown:
                trial.lists.append(method.top(visit, k))
            begun = perf_counter_ns()
            if is_test and learns:
                trial.ranks[event] = method.rank_and_learn(visit, item, weight)
            elif is_test:
                trial.ranks[event] = method.rank(visit, item)
            elif learns:
                method.learn(visit, item, weight)
            trial.ns += perf_counter_ns() - begun
        histories.add(visitor, item, time, weight)
        if event % STRIDE == STRIDE - 1:
            step(STRIDE)
    step(n % STRIDE)


def earlier(groups: Ints) -> Ints:
    """[n] how many earlier events are of the same group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    place = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    counts = np.empty(len(groups), np.int32)
    counts[order] = place
    return counts


def repeats(visitors: Ints, items: Ints) -> Mask:
    """[n] whether the visitor has touched the item before."""
    pairs = visitors.astype(np.int64) * (int(items.max()) + 1) + items
    return earlier(pairs) > 0


def spread(tests: Mask, lists: int) -> Mask:
    """[n] about `lists` of the tests, evenly spaced."""
    places = np.flatnonzero(tests)
    chosen = np.zeros(len(tests), np.bool_)
    if lists:
        chosen[places[:: max(1, len(places) // lists)]] = True
    return chosen
