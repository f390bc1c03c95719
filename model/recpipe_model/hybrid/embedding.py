"""Embedding of the recent sequence and of the lasting taste, trained on what the blend leaves over."""

from typing import ClassVar

import numpy as np

from recpipe_model.hybrid.arrays import Arrays, Floats, Ints, grown, kernel, scatter
from recpipe_model.hybrid.query import Query

_NEGLIGIBLE = np.float32(1e-3)
"""Probability below which a candidate that was not chosen teaches too little to be worth its time."""
_BEGINNING = 0.01
"""Squared gradient that AdaGrad starts from."""
_SOURCE, _TASTE, _TARGET = 0, 1, 2


class Embedding(Arrays):
    """score of j = u . target[j], u the sum of two, over the query's items k = 0, 1, .. n - 1:

    sequence  .4 x .8^k source[k] of the latest `embedded`
    taste     .5 / sqrt(n) taste[k] of all

    There is no vector of the user, so that a new user is scored like any other. Trained with the
    blend's softmax gradient by AdaGrad of one rate a vector (Duchi 2011; Mudigere 2021). 12 bytes a
    dimension of each item, and 12.
    """

    names: ClassVar[tuple[str, ...]] = ("sequence", "taste")
    kept = ("source", "taste", "target", "squares", "known")

    def __init__(self, dimensions: int, embedded: int, rate: float, seed: int) -> None:
        self._seed = seed
        self._embedded = embedded
        self._rate = np.float32(rate)
        self.source: Floats = np.zeros((1, dimensions), np.float32)
        self.taste: Floats = np.zeros((1, dimensions), np.float32)
        self.target: Floats = np.zeros((1, dimensions), np.float32)
        self.squares: Floats = np.full((1, 3), _BEGINNING, np.float32)
        self.known: Ints = np.zeros(1, np.int32)

    def grow(self, items: int) -> None:
        for name in ("source", "taste", "target"):
            setattr(self, name, grown(getattr(self, name), items))
        self.squares = grown(self.squares, items, _BEGINNING)
        for item in range(int(self.known[0]), items):
            scatter(self.target[item], 0.3, self._seed, item)
        self.known[0] = items

    def encode(self, query: Query) -> Floats:
        """[2, dimensions] what the user's vector is the sum of: sequence, taste."""
        return _encode(self.source, self.taste, query.items, self._embedded)

    def scores(self, user: Floats, candidates: Ints) -> Floats:
        """[2, n] what each part of `user` adds to each candidate's score."""
        return _scores(self.target, user, candidates)

    def learn(self, query: Query, user: Floats, candidates: Ints, residual: Floats) -> None:
        """One step up the log-likelihood; `residual` [n] is truth less probability."""
        _learn(
            self.source,
            self.taste,
            self.target,
            self.squares,
            query.items,
            self._embedded,
            user,
            candidates,
            residual,
            self._rate,
        )


@kernel
def _encode(source: Floats, taste: Floats, items: Ints, embedded: int) -> Floats:
    user = np.zeros((2, source.shape[1]), np.float32)
    attention = np.float32(0.4)
    even = np.float32(0.5) / np.sqrt(np.float32(max(len(items), 1)))
    for k in range(len(items)):
        h = items[k]
        if h >= 0:
            for i in range(user.shape[1]):
                user[1, i] += even * taste[h, i]
            if k < embedded:
                for i in range(user.shape[1]):
                    user[0, i] += attention * source[h, i]
        attention *= np.float32(0.8)
    return user


@kernel
def _scores(target: Floats, user: Floats, candidates: Ints) -> Floats:
    scores = np.empty((2, len(candidates)), np.float32)
    for s in range(len(candidates)):
        row = target[candidates[s]]
        sequence = taste = np.float32(0)
        for i in range(len(row)):
            sequence += user[0, i] * row[i]
            taste += user[1, i] * row[i]
        scores[0, s] = sequence
        scores[1, s] = taste
    return scores


@kernel
def _learn(
    source: Floats,
    taste: Floats,
    target: Floats,
    squares: Floats,
    items: Ints,
    embedded: int,
    user: Floats,
    candidates: Ints,
    residual: Floats,
    rate: np.float32,
) -> None:
    dimensions = target.shape[1]
    whole = np.empty(dimensions, np.float32)
    gradient = np.zeros(dimensions, np.float32)
    length = np.float32(0)
    for i in range(dimensions):
        whole[i] = user[0, i] + user[1, i]
        length += whole[i] * whole[i]
    length /= dimensions
    for s in range(len(candidates)):
        r, j = residual[s], candidates[s]
        if abs(r) < _NEGLIGIBLE:
            continue
        squares[j, _TARGET] += r * r * length
        step = rate * r / np.sqrt(squares[j, _TARGET])
        row = target[j]
        for i in range(dimensions):
            gradient[i] += r * row[i]
            row[i] += step * whole[i]
    slope = np.float32(0)
    for i in range(dimensions):
        slope += gradient[i] * gradient[i]
    slope /= dimensions
    attention = np.float32(0.4)
    even = np.float32(0.5) / np.sqrt(np.float32(max(len(items), 1)))
    for k in range(len(items)):
        h = items[k]
        if h >= 0:
            squares[h, _TASTE] += even * even * slope
            step = rate * even / np.sqrt(squares[h, _TASTE])
            for i in range(dimensions):
                taste[h, i] += step * gradient[i]
            if k < embedded:
                squares[h, _SOURCE] += attention * attention * slope
                step = rate * attention / np.sqrt(squares[h, _SOURCE])
                for i in range(dimensions):
                    source[h, i] += step * gradient[i]
        attention *= np.float32(0.8)
