"""The hybrid model as a method to be evaluated."""

from collections.abc import Mapping

import numpy as np

from recpipe.catalogue import Item
from recpipe.horizon import Horizon
from recpipe_model.evaluation.histories import Visit
from recpipe_model.hybrid import HybridModel, Query, Settings
from recpipe_model.hybrid.arrays import Ints


class Hybrid:
    """Drives a HybridModel by the evaluation's own indices, with the hour (UTC) as context.

    Args:
        names: item ids by index.
        catalogue: metadata by index; the model is told of it right after an item's first event.
        settings, seed: of the model.
        horizon: what is asked of the model.
        known_at: where given, the model is told of the whole catalogue at this time, before any event.
    """

    name = "hybrid"

    def __init__(
        self,
        names: list[str],
        catalogue: Mapping[int, Item],
        settings: Settings,
        seed: int,
        horizon: Horizon = Horizon.NEXT,
        known_at: float | None = None,
    ) -> None:
        self.model = HybridModel(settings, seed)
        self._horizon = horizon
        self._names = names
        self._index = {name: item for item, name in enumerate(names)}
        self._catalogue = catalogue
        self._known: Ints = np.full(len(names), -1, np.int32)
        if known_at is not None:
            for item in catalogue:
                self._describe(item, known_at)

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        self._learn(visit, item, weight, test=False)

    def rank_and_learn(self, visit: Visit, item: int, weight: float) -> int:
        if self._horizon is Horizon.NEXT:  # the lesson's own scores are the test
            return self._learn(visit, item, weight, test=True)
        rank = self.rank(visit, item)
        self.learn(visit, item, weight)
        return rank

    def _learn(self, visit: Visit, item: int, weight: float, test: bool) -> int:
        name = self._names[item]
        tested = self.model.learn(
            str(visit.visitor),
            name,
            visit.time,
            weight,
            context=_context(visit),
            test=test,
            exclude=self._excluded(visit),
        )
        if self._known[item] < 0:
            self._known[item] = self.model.vocabulary.find(name)
            if item in self._catalogue:
                self._describe(item, visit.time)
        return (tested.rank or 0) if tested else 0

    def rank(self, visit: Visit, item: int) -> int:
        if self._known[item] < 0:
            return 0
        return self.model.test(self.query(visit), self._names[item], self._excluded(visit)).rank or 0

    def rank_among(self, visit: Visit, item: int, others: Ints) -> int:
        if self._known[item] < 0:
            return 0
        asked = np.append(self._known[others], self._known[item])
        return self.model.test(self.query(visit), self._names[item], among=asked[asked >= 0]).rank or 0

    def top(self, visit: Visit, k: int) -> Ints:
        best = self.model.recommend(self.query(visit), k, self._excluded(visit)).items
        return np.array([self._index[name] for name in best], np.int32)

    def query(self, visit: Visit) -> Query:
        """The visit's items, newest first, as the model scores them."""
        settings = self.model.settings
        limit = settings.recent if self._horizon is Horizon.NEXT else settings.history
        latest = slice(-limit, None)
        ages = np.maximum(visit.time - visit.times[latest][::-1], 0).astype(np.float32)
        weights = visit.weights[latest][::-1].copy()
        items = self._known[visit.items[latest][::-1]]
        return Query(items, ages, weights, _context(visit), horizon=self._horizon)

    def _excluded(self, visit: Visit) -> Ints | None:
        if not visit.excludes:
            return None
        known = self._known[visit.items]
        return known[known >= 0]

    def _describe(self, item: int, time: float) -> None:
        known = self._catalogue[item]
        self.model.put_item(
            known.item_id,
            categories=known.categories,
            attributes=known.attributes,
            title=known.title,
            time=time,
        )
        self._known[item] = self.model.vocabulary.find(known.item_id)


def _context(visit: Visit) -> tuple[str, ...]:
    return (f"hour={int(visit.time) // 3600 % 24}",)
