"""What each visitor has touched so far, in arrays sized by the stream to come."""

from dataclasses import dataclass

import numpy as np

from recpipe_model.hybrid.arrays import Doubles, Floats, Ints


@dataclass(slots=True, eq=False)
class Visit:
    """A visitor (a user or a session) at the moment of a question.

    Attributes:
        visitor: index.
        time: seconds since the epoch.
        items: [n] distinct items of the history, oldest first, by last touch.
        times: [n] of the last touch.
        weights: [n] greatest weight of a touch.
        excludes: whether the history's items are not to be ranked.
    """

    visitor: int
    time: float
    items: Ints
    times: Doubles
    weights: Floats
    excludes: bool


class Histories:
    """Every visitor's distinct items, by last touch.

    Args:
        visitors: [n] the visitor of each event to come: no visitor may have more.
        count: how many visitors there are, those without any event included.
    """

    def __init__(self, visitors: Ints, count: int) -> None:
        room = np.bincount(visitors, minlength=count)
        self._start: list[int] = np.concatenate([[0], np.cumsum(room)]).tolist()
        self._count = [0] * len(room)
        self._items: Ints = np.empty(len(visitors), np.int32)
        self._times: Doubles = np.empty(len(visitors))
        self._weights: Floats = np.empty(len(visitors), np.float32)

    def visit(self, visitor: int, time: float, excludes: bool) -> Visit:
        """The visitor at a moment; its arrays are views, good until the visitor's next event is added."""
        known = slice(self._start[visitor], self._start[visitor] + self._count[visitor])
        return Visit(visitor, time, self._items[known], self._times[known], self._weights[known], excludes)

    def add(self, visitor: int, item: int, time: float, weight: float) -> None:
        """Puts the item last."""
        start = self._start[visitor]
        end = start + self._count[visitor]
        at = np.flatnonzero(self._items[start:end] == item)
        if len(at):
            gone = start + int(at[0])
            weight = max(weight, float(self._weights[gone]))
            for column in (self._items, self._times, self._weights):
                column[gone : end - 1] = column[gone + 1 : end]
            end -= 1
        self._items[end], self._times[end], self._weights[end] = item, time, weight
        self._count[visitor] = end + 1 - start
