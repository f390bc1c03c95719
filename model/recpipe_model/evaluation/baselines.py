"""Methods of the field that learn event by event, to be seen beside."""

import numpy as np

from recpipe_model.evaluation.events import InputError
from recpipe_model.evaluation.histories import Visit
from recpipe_model.evaluation.methods import Scored
from recpipe_model.hybrid.arrays import Floats, Ints


class Popularity(Scored):
    """Items by their number of events so far, the same for everyone.

    A rank costs the visitor's history, not the catalogue: `_at_least` counts the items of each count.
    """

    name = "popularity"

    def __init__(self, items: int) -> None:
        super().__init__(items)
        self._at_least = [items]

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        super().learn(visit, item, weight)
        count = int(self.counts[item])
        if count == len(self._at_least):
            self._at_least.append(0)
        self._at_least[count] += 1

    def rank(self, visit: Visit, item: int) -> int:
        count = int(self.counts[item])
        if not count:
            return 0
        if not visit.excludes:
            return self._at_least[count]
        if (visit.items == item).any():
            return 0
        return self._at_least[count] - int((self.counts[visit.items] >= count).sum())

    def scores(self, visit: Visit) -> Floats:
        return self.counts.astype(np.float32)


class Isgd(Scored):
    """Incremental SGD matrix factorisation of positive-only feedback (ISGD; Vinagre, Jorge and Gama 2014).

    Each event is one step towards p_u . q_i = 1. A visitor it never learned of is folded in: the same
    steps over the history, the items held still.
    """

    name = "isgd"
    dimensions, rate, regularisation = 16, np.float32(0.05), np.float32(0.01)

    def __init__(self, items: int, visitors: int, seed: int) -> None:
        super().__init__(items)
        self._random = np.random.default_rng(seed)
        self._items = self._normal(items)
        self._visitors = self._normal(visitors)
        self._met = np.zeros(visitors, np.bool_)

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        super().learn(visit, item, weight)
        p, q = self._visitors[visit.visitor], self._items[item]
        error = 1 - p @ q
        change = self.rate * (error * q - self.regularisation * p)
        q += self.rate * (error * p - self.regularisation * q)
        p += change
        self._met[visit.visitor] = True

    def scores(self, visit: Visit) -> Floats:
        p = self._visitors[visit.visitor]
        if not self._met[visit.visitor]:
            p = p.copy()
            for q in self._items[visit.items]:
                p += self.rate * ((1 - p @ q) * q - self.regularisation * p)
        scores: Floats = self._items @ p
        return scores

    def _normal(self, rows: int) -> Floats:
        return self._random.normal(0, 0.1, (rows, self.dimensions)).astype(np.float32)


class ItemKnn(Scored):
    """Incremental item-based collaborative filtering, cosine (Sarwar 2001; Miranda and Jorge 2009).

    score(j) = sum over the latest items h at k = 0, .. 19 of .9^k C[h, j] / sqrt(n_h n_j), C counting the
    visitors of both and n those of one. C is kept whole: 4 bytes a pair of items.
    """

    name = "item-knn"
    attention: Floats = (0.9 ** np.arange(19, -1, -1)).astype(np.float32)
    most_items = 20_000

    def __init__(self, items: int) -> None:
        if items > self.most_items:
            raise InputError(
                f"item-knn: {items:,} items would take {items * items * 4 / 2**30:.1f} GiB of pairs; "
                f"it takes {self.most_items:,} at most, leave it out of --baselines"
            )
        super().__init__(items)
        self._both: Floats = np.zeros((items, items), np.float32)
        self._visitors: Floats = np.zeros(items, np.float32)

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        super().learn(visit, item, weight)
        if (visit.items == item).any():
            return
        self._both[visit.items, item] += 1
        self._both[item, visit.items] += 1
        self._visitors[item] += 1

    def scores(self, visit: Visit) -> Floats:
        latest: Ints = visit.items[-len(self.attention) :]
        attention = self.attention[len(self.attention) - len(latest) :]
        scale = (1 / np.sqrt(np.maximum(self._visitors, 1))).astype(np.float32)
        weights: Floats = scale[latest] * attention
        return np.asarray(weights @ self._both[latest] * scale, np.float32)
