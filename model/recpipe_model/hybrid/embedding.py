"""Embedding of the recent sequence, trained on what the blend leaves over."""

import numpy as np

from recpipe_model.hybrid.arrays import Floats, Ints, State, grown, kernel
from recpipe_model.hybrid.query import Query

_NEGLIGIBLE = np.float32(2e-4)
"""Probability below which a candidate that was not chosen teaches too little to be worth its time."""
_NAMES = ("source", "target", "source_squares", "target_squares", "known")


class Embedding:
    """score of j = u . target[j], u = sum over the latest items k = 0, 1, .. of .4 x .8^k source[k].

    There is no vector of the user, so that a new user is scored like any other. Trained with the
    blend's softmax gradient by AdaGrad (Duchi 2011). 16 bytes a dimension of each item.
    """

    def __init__(self, dimensions: int, embedded: int, rate: float, seed: int) -> None:
        self._seed = seed
        self._embedded = embedded
        self._rate = np.float32(rate)
        self.source: Floats = np.zeros((1, dimensions), np.float32)
        self.target: Floats = np.zeros((1, dimensions), np.float32)
        self.source_squares: Floats = np.zeros((1, dimensions), np.float32)
        self.target_squares: Floats = np.zeros((1, dimensions), np.float32)
        self.known: Ints = np.zeros(1, np.int32)

    def grow(self, items: int) -> None:
        for name in _NAMES[:4]:
            setattr(self, name, grown(getattr(self, name), items))
        for item in range(int(self.known[0]), items):
            _begin(self._seed, item, self.target[item])
            self.source_squares[item] = self.target_squares[item] = 0.01
        self.known[0] = items

    def encode(self, query: Query) -> Floats:
        """[dimensions] the user's vector."""
        return _encode(self.source, query.items[: self._embedded])

    def scores(self, user: Floats, candidates: Ints) -> Floats:
        """[n] what the embedding adds to each candidate's score."""
        return _scores(self.target, user, candidates)

    def learn(self, query: Query, user: Floats, candidates: Ints, residual: Floats) -> None:
        """One step up the log-likelihood; `residual` [n] is truth less probability."""
        latest = query.items[: self._embedded]
        _learn(
            self.source,
            self.target,
            self.source_squares,
            self.target_squares,
            latest,
            user,
            candidates,
            residual,
            self._rate,
        )

    def state(self) -> State:
        return {name: getattr(self, name) for name in _NAMES}

    def restore(self, state: State) -> None:
        for name in _NAMES:
            setattr(self, name, state[name])


@kernel
def _begin(seed: int, item: int, vector: Floats) -> None:
    """Small random values that depend on the seed and the item alone."""
    np.random.seed((seed * 1_000_003 + item) & 0xFFFFFFFF)
    for i in range(len(vector)):
        vector[i] = 0.3 * (np.random.random() - 0.5)


@kernel
def _encode(source: Floats, items: Ints) -> Floats:
    user = np.zeros(source.shape[1], np.float32)
    attention = np.float32(0.4)
    for h in items:
        if h >= 0:
            user += attention * source[h]
        attention *= np.float32(0.8)
    return user


@kernel
def _scores(target: Floats, user: Floats, candidates: Ints) -> Floats:
    scores = np.empty(len(candidates), np.float32)
    for s in range(len(candidates)):
        row = target[candidates[s]]
        total = np.float32(0)
        for i in range(len(user)):
            total += user[i] * row[i]
        scores[s] = total
    return scores


@kernel
def _learn(
    source: Floats,
    target: Floats,
    source_squares: Floats,
    target_squares: Floats,
    items: Ints,
    user: Floats,
    candidates: Ints,
    residual: Floats,
    rate: np.float32,
) -> None:
    gradient = np.zeros(len(user), np.float32)
    for s in range(len(candidates)):
        r = residual[s]
        if abs(r) < _NEGLIGIBLE:
            continue
        row, squares = target[candidates[s]], target_squares[candidates[s]]
        for i in range(len(user)):
            gradient[i] += r * row[i]
        for i in range(len(user)):
            squares[i] += r * user[i] * r * user[i]
        for i in range(len(user)):
            row[i] += rate * r * user[i] / np.sqrt(squares[i])
    attention = np.float32(0.4)
    for h in items:
        if h >= 0:
            for i in range(len(user)):
                step = attention * gradient[i]
                source_squares[h, i] += step * step
                source[h, i] += rate * step / np.sqrt(source_squares[h, i])
        attention *= np.float32(0.8)
