"""What can be evaluated: the interface of a method, and the ranking that simple ones share."""

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np

from recpipe_model.evaluation.histories import Visit
from recpipe_model.hybrid.arrays import Floats, Ints


class Method(Protocol):
    """A recommender of items by index.

    It ranks the items learned so far, less the visit's own where the visit excludes them; an item that
    it cannot rank has rank 0, a miss. Among items of equal score the one asked for comes last.
    """

    name: str

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        """Learns that the visitor chose the item now."""

    def rank(self, visit: Visit, item: int) -> int:
        """The item's rank among all items, 1 the best."""

    def rank_and_learn(self, visit: Visit, item: int, weight: float) -> int:
        """`rank`, then `learn`: a method may score once for both."""

    def rank_among(self, visit: Visit, item: int, others: Ints) -> int:
        """The item's rank among itself and the others."""

    def top(self, visit: Visit, k: int) -> Ints:
        """The k best items at most, best first."""


class Scored(ABC):
    """A method that scores every item at every question.

    Attributes:
        counts: [N] events learned of each item; those of none are not ranked.
    """

    name: str

    def __init__(self, items: int) -> None:
        self.counts: Ints = np.zeros(items, np.int32)

    @abstractmethod
    def scores(self, visit: Visit) -> Floats:
        """[N] higher is better; the caller may write to it."""

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        self.counts[item] += 1

    def rank(self, visit: Visit, item: int) -> int:
        scores = self._rankable(visit)
        return int((scores >= scores[item]).sum()) if scores[item] > -np.inf else 0

    def rank_and_learn(self, visit: Visit, item: int, weight: float) -> int:
        rank = self.rank(visit, item)
        self.learn(visit, item, weight)
        return rank

    def rank_among(self, visit: Visit, item: int, others: Ints) -> int:
        scores = self._rankable(visit)
        return 1 + int((scores[others] >= scores[item]).sum()) if scores[item] > -np.inf else 0

    def top(self, visit: Visit, k: int) -> Ints:
        scores = self._rankable(visit)
        k = min(k, int((scores > -np.inf).sum()))
        best = np.argpartition(-scores, k - 1)[:k] if 0 < k < len(scores) else np.arange(len(scores))
        return best[np.argsort(-scores[best], kind="stable")][:k].astype(np.int32)

    def _rankable(self, visit: Visit) -> Floats:
        scores = self.scores(visit)
        scores[self.counts == 0] = -np.inf
        if visit.excludes:
            scores[visit.items] = -np.inf
        return scores
