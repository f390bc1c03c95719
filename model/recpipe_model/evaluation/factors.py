"""Matrix factorisations that learn from a whole training set at once, through `implicit`."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from recpipe_model.evaluation.events import InputError
from recpipe_model.evaluation.histories import Visit
from recpipe_model.evaluation.methods import Scored
from recpipe_model.hybrid.arrays import Floats


class Factors(Scored):
    """Fits at the first question after it has learned something.

    als  alternating least squares on confidences (Hu, Koren and Volinsky 2008)
    bpr  Bayesian personalised ranking by SGD (Rendle 2009)
    """

    def __init__(self, name: str, items: int, visitors: int, seed: int) -> None:
        if find_spec("implicit") is None:
            raise InputError(
                f"baselines: {name} needs implicit: pip install 'recpipe[dev]', or implicit alone"
            )
        super().__init__(items)
        self.name = name
        self._shape = (visitors, items)
        self._seed = seed
        self._model: Any = None
        self._pairs: list[tuple[int, int]] = []
        self._fitted = False

    def learn(self, visit: Visit, item: int, weight: float) -> None:
        super().learn(visit, item, weight)
        self._pairs.append((visit.visitor, item))
        self._fitted = False

    def scores(self, visit: Visit) -> Floats:
        if not self._fitted:
            self._fit()
        scores: Floats = self._model.item_factors @ self._model.user_factors[visit.visitor]
        return scores

    def _fit(self) -> None:
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

        visitors, items = np.unique(np.array(self._pairs), axis=0).T
        ones = np.ones(len(items), np.float32)
        # implicit has threads of its own; with BLAS's as well it is many times slower.
        with threadpool_limits(1, "blas"):
            self._model = _model(self.name, self._seed)
            self._model.fit(csr_matrix((ones, (visitors, items)), self._shape), show_progress=False)
        self._fitted = True


def _model(name: str, seed: int) -> Any:
    if name == "als":
        from implicit.als import AlternatingLeastSquares

        return AlternatingLeastSquares(
            factors=64, regularization=0.05, alpha=2.0, iterations=15, random_state=seed
        )
    from implicit.bpr import BayesianPersonalizedRanking

    # One thread, or the order of its updates and so its figures would differ from run to run.
    return BayesianPersonalizedRanking(factors=64, iterations=100, random_state=seed, num_threads=1)
