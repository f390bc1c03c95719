"""The log-linear blend, its weights learned online by context."""

from bisect import bisect_left, bisect_right

import numpy as np

from recpipe_model.hybrid.arrays import Floats, Ints, State, kernel
from recpipe_model.hybrid.query import Query
from recpipe_model.hybrid.vocabulary import packed, unpacked

GAPS = np.array([0, 30, 120, 1800], np.float32)
"""Upper bounds, in seconds, of the buckets of the latest item's age."""
LENGTHS = np.array([4, 10, 25, 50], np.int32)
"""Lower bounds of the buckets of how many items a query has."""
_GAPS, _LENGTHS = GAPS.tolist(), LENGTHS.tolist()
_FIRST_LENGTH = 1 + len(GAPS) + 1
_FIRST_CONTEXT = _FIRST_LENGTH + len(LENGTHS) + 1


class Blend:
    """score = sum over components of weight x .3 log(1 + evidence).

    The weights are those shared by all queries plus those of the query's buckets: age of the latest
    item, number of items, and each `key=value` of the context. Softmax cross-entropy over the
    candidates, AdaGrad (Duchi 2011).
    """

    def __init__(self, components: int, contexts: int, rate: float) -> None:
        self._rate = rate
        self._limit = contexts
        self.contexts: dict[str, int] = {}
        self.weights: Floats = np.zeros((_FIRST_CONTEXT + contexts, components), np.float32)
        self.weights[0] = 1
        self.squares: Floats = np.full_like(self.weights, 1e-2)

    def features(self, evidence: Floats) -> Floats:
        """[C, n] evidence on the log scale that the weights apply to; overwrites `evidence`."""
        evidence += np.float32(1)
        np.log(evidence, out=evidence)
        evidence *= np.float32(0.3)
        return evidence

    def buckets(self, query: Query) -> Ints:
        """Rows of `weights` that apply to the query."""
        n = len(query.items)
        gap = bisect_left(_GAPS, float(query.ages[0])) if n else len(GAPS)
        length = bisect_right(_LENGTHS, n)
        known = [_FIRST_CONTEXT + self.contexts[pair] for pair in query.context if pair in self.contexts]
        return np.array([0, 1 + gap, _FIRST_LENGTH + length, *known], np.int32)

    def meet(self, context: tuple[str, ...]) -> None:
        """Gives the context's pairs buckets of their own while there are any left."""
        for pair in context:
            if len(self.contexts) < self._limit:
                self.contexts.setdefault(pair, len(self.contexts))

    def learn(self, buckets: Ints, features: Floats, residual: Floats) -> None:
        """One step up the log-likelihood; `residual` [n] is truth less probability."""
        _learn(self.weights, self.squares, buckets, features, residual, np.float32(self._rate))

    def state(self) -> State:
        names = packed(list(self.contexts))
        return {
            "weights": self.weights,
            "squares": self.squares,
            **{f"contexts.{k}": v for k, v in names.items()},
        }

    def restore(self, state: State) -> None:
        self.weights, self.squares = state["weights"], state["squares"]
        names = unpacked({name: state[f"contexts.{name}"] for name in ("bytes", "ends")})
        self.contexts = {pair: row for row, pair in enumerate(names)}


@kernel
def _learn(
    weights: Floats, squares: Floats, buckets: Ints, features: Floats, residual: Floats, rate: np.float32
) -> None:
    for c in range(len(features)):
        # Not by BLAS: the last bit of its products may depend on addresses.
        gradient = np.float32(0)
        for s in range(len(residual)):
            gradient += features[c, s] * residual[s]
        for b in buckets:
            squares[b, c] += gradient * gradient
            weights[b, c] += rate * gradient / np.sqrt(squares[b, c])
