"""What a method makes of items that nobody has touched yet."""

import numpy as np

from recpipe_model.evaluation.histories import Visit
from recpipe_model.evaluation.methods import Method
from recpipe_model.hybrid.arrays import Ints


class AmongNewcomers:
    """The method, but an item that nobody has touched is ranked among the items that nobody has touched.

    Which of the new items would this user take? Among all items a new one hardly ever deserves a place
    near the top, so that the question of the whole list says nothing (Schein 2002 asks it likewise).
    """

    def __init__(self, method: Method, described: Ints, items: int) -> None:
        """`described` [m] are the items to be ranked, of `items` in all."""
        self.name = method.name
        self._method = method
        self._new = np.zeros(items, np.bool_)
        self._new[described] = True

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        self._new[item] = False
        self._method.learn(visit, item, weight)

    def rank(self, visit: Visit, item: int) -> int:
        if not self._new[item]:
            return self._method.rank(visit, item)
        pool = np.flatnonzero(self._new).astype(np.int32)
        return self._method.rank_among(visit, item, pool[pool != item])

    def rank_and_learn(self, visit: Visit, item: int, weight: float) -> int:
        if self._new[item]:
            rank = self.rank(visit, item)
            self.learn(visit, item, weight)
            return rank
        return self._method.rank_and_learn(visit, item, weight)

    def rank_among(self, visit: Visit, item: int, others: Ints) -> int:
        return self._method.rank_among(visit, item, others)

    def top(self, visit: Visit, k: int) -> Ints:
        return self._method.top(visit, k)
