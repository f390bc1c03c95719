"""Coming back to what was looked at before."""

from typing import ClassVar

import numpy as np

from recpipe_model.hybrid.arrays import Floats, Ints, State, kernel
from recpipe_model.hybrid.query import Query


class Repeats:
    """Evidence of an item that is itself at position k = 0, 1, .. of the query, of age t.

    seen    20 (learned to be negative where items do not repeat)
    repeat  1e3 / ((1 + k) (1 + t / 300))
    """

    names: ClassVar[tuple[str, ...]] = ("seen", "repeat")

    def grow(self, items: int) -> None: ...

    def evidence(self, query: Query, candidates: Ints, out: Floats) -> None:
        _evidence(query.items, query.ages, candidates, out)

    def learn(self, item: int, query: Query, time: float, weight: float) -> None: ...

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None: ...


@kernel
def _evidence(items: Ints, ages: Floats, candidates: Ints, out: Floats) -> None:
    for s in range(len(candidates)):
        for k in range(len(items)):
            if items[k] == candidates[s]:
                out[0, s] = 20
                out[1, s] = np.float32(1e3) / ((1 + k) * (1 + ages[k] / np.float32(300)))
                break
