"""What a user likes at all, whenever: a linear autoencoder of histories, learned online."""

import numpy as np

from recpipe_model.hybrid.arrays import Arrays, Doubles, Floats, Ints, grown, kernel, scatter
from recpipe_model.hybrid.query import Query

_EVENTS, _WEIGHT, _ITEMS, _SQUARES, _MASS = range(5)
_GROWTH = 1.01
"""The inverse is made anew when what it is the inverse of has grown by this factor."""
_STRICTEST = 0.01
"""Greatest share that regularises: a handful of items would have all learned of them taken for noise."""


class Taste(Arrays):
    """score of j = s_j (u . v_j) where u is the sum of x_h v_h over the items h of the history.

    The v are the regularised linear autoencoder (Kunin 2019, Steck 2020) of the histories x. Alternating
    least squares finds them, and of it only the sums are kept: event t adds t x_h u to b_h for every h of
    its history (itself included), t u u' to G and t |x|^2 to q; v_h = (G + r I)^-1 b_h. What was added while
    the v were still poor counts for less and less, as t grows. r is `ridge` q / N, N items known: with ridge 1,
    a direction that holds less of the histories than the average one is taken for noise.

    With n items in the history, of weight w_h, x_h = (w_h^.5 over its mean) / (n^.5 s_h) and s_h =
    (1 + visits of h)^.25, so that neither busy users nor popular items drown the others. Every history
    holds one thing more, common to all, which speaks for users who have no history.

    Methods are given the visits of every item, summed event weights. 4 bytes a dimension of each item.
    """

    kept = ("sums", "common", "gram", "inverse", "totals")

    def __init__(self, dimensions: int, ridge: float, seed: int) -> None:
        self._seed = seed
        self._ridge = ridge
        self.sums: Floats = np.zeros((1, dimensions), np.float32)
        self.common: Floats = np.zeros(dimensions, np.float32)
        self.gram: Doubles = np.zeros((dimensions, dimensions))
        self.inverse: Doubles = np.eye(dimensions)
        self.totals: Doubles = np.array([0, 0, 0, 1, 1], np.float64)

    def grow(self, items: int) -> None:
        self.sums = grown(self.sums, items)

    def clear(self, item: int) -> None:
        """Forgets the item."""
        if self.sums[item].any():
            self.sums[item] = 0
            self.totals[_ITEMS] -= 1

    def scores(self, query: Query, candidates: Ints, visits: Floats) -> Floats:
        """[n] the scores of items that have been visited."""
        return _scores(
            self.sums,
            visits,
            self.common,
            self.inverse,
            self.totals,
            query.items,
            query.weights,
            candidates,
        )

    def learn(self, item: int, query: Query, weight: float, visits: Floats) -> None:
        """Learns that the item has joined the query's; its visit is counted already."""
        if not self.sums[item].any():
            scatter(self.sums[item], 0.1, self._seed, item)  # where all begin alike, all stay alike
            self.totals[_ITEMS] += 1
        others = query.items != item
        _learn(
            self.sums,
            visits,
            self.common,
            self.gram,
            self.inverse,
            self.totals,
            self._ridge,
            np.append(query.items[others], np.int32(item)),
            np.append(query.weights[others], np.float32(weight)),
        )

    def vectors(self, visits: Floats) -> tuple[Floats, Floats, Floats]:
        """[n, dimensions] v of the first items, [n] their s, 0 where not visited, and [dimensions] the common v / s."""
        scales = np.where(visits > 0, (1 + visits) ** 0.25, 0).astype(np.float32)
        common = self.common @ self.inverse / (1 + self.totals[_WEIGHT]) ** 0.25
        return (self.sums[: len(visits)] @ self.inverse).astype(np.float32), scales, common.astype(np.float32)


@kernel
def _shares(visits: Floats, total_weight: float, items: Ints, weights: Floats) -> Doubles:
    """[n + 1] x of each item of a history, 0 of unknown ones, and of what is common to all."""
    total, count = 0.0, 0
    for k in range(len(items)):
        if items[k] >= 0:
            total += np.sqrt(weights[k])
            count += 1
    shares = np.zeros(len(items) + 1)
    for k in range(len(items)):
        if items[k] >= 0:
            shares[k] = np.sqrt(weights[k] * count) / (total * (1.0 + visits[items[k]]) ** 0.25)
    shares[-1] = 1 / (np.sqrt(max(count, 1)) * (1.0 + total_weight) ** 0.25)
    return shares


@kernel
def _user(sums: Floats, common: Floats, inverse: Doubles, items: Ints, shares: Doubles) -> Doubles:
    """[dimensions] u."""
    summed = np.empty(len(common))
    for i in range(len(common)):
        summed[i] = shares[-1] * common[i]
    for k in range(len(items)):
        if items[k] >= 0:
            for i in range(len(common)):
                summed[i] += shares[k] * sums[items[k], i]
    return _product(inverse, summed)


@kernel
def _product(matrix: Doubles, vector: Doubles) -> Doubles:
    """Of a symmetric matrix. Not by BLAS: the last bit of its products may depend on addresses."""
    product = np.zeros(len(vector))
    for i in range(len(vector)):
        for j in range(len(vector)):
            product[j] += vector[i] * matrix[i, j]
    return product


@kernel
def _scores(
    sums: Floats,
    visits: Floats,
    common: Floats,
    inverse: Doubles,
    totals: Doubles,
    items: Ints,
    weights: Floats,
    candidates: Ints,
) -> Floats:
    user = _user(sums, common, inverse, items, _shares(visits, totals[_WEIGHT], items, weights))
    towards = _product(inverse, user)
    scores = np.empty(len(candidates), np.float32)
    for s in range(len(candidates)):
        j = candidates[s]
        dot = 0.0
        for i in range(len(towards)):
            dot += towards[i] * sums[j, i]
        scores[s] = dot * (1.0 + visits[j]) ** 0.25
    return scores


@kernel
def _learn(
    sums: Floats,
    visits: Floats,
    common: Floats,
    gram: Doubles,
    inverse: Doubles,
    totals: Doubles,
    ridge: float,
    items: Ints,
    weights: Floats,
) -> None:
    """The last of the items is the one that joined."""
    totals[_EVENTS] += 1
    totals[_WEIGHT] += weights[-1]
    time = totals[_EVENTS]
    shares = _shares(visits, totals[_WEIGHT], items, weights)
    user = _user(sums, common, inverse, items, shares)
    for i in range(len(user)):
        common[i] += time * shares[-1] * user[i]
        for j in range(len(user)):
            gram[i, j] += time * user[i] * user[j]
    square = 0.0
    for k in range(len(shares)):
        square += shares[k] * shares[k]
    for k in range(len(items)):
        if items[k] >= 0:
            for i in range(len(user)):
                sums[items[k], i] += time * shares[k] * user[i]
    totals[_SQUARES] += time * square
    regularisation = totals[_SQUARES] * min(ridge / totals[_ITEMS], _STRICTEST)
    mass = len(user) * regularisation
    for i in range(len(user)):
        mass += gram[i, i]
    if mass > _GROWTH * totals[_MASS] or mass * _GROWTH < totals[_MASS]:
        totals[_MASS] = mass
        _invert(gram, regularisation, inverse)


@kernel
def _invert(gram: Doubles, ridge: float, inverse: Doubles) -> None:
    """Sets `inverse` to that of gram + ridge I, which is positive definite (Gauss-Jordan, in place)."""
    n = len(gram)
    inverse[:] = gram
    for i in range(n):
        inverse[i, i] += ridge
    for p in range(n):
        pivot = 1 / inverse[p, p]
        inverse[p, p] = 1
        for j in range(n):
            inverse[p, j] *= pivot
        for i in range(n):
            if i != p:
                factor = inverse[i, p]
                inverse[i, p] = 0
                for j in range(n):
                    inverse[i, j] -= factor * inverse[p, j]
