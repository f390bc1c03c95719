"""What is asked of the model, and what it answers."""

from dataclasses import dataclass

import numpy as np

from recpipe.horizon import Horizon
from recpipe_model.hybrid.arrays import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """What the neighbour rows of a query's items say, all rows together.

    Attributes:
        items: [n] distinct item indices.
        evidence: [n, C] of each; of visits the part that the query's items decide.
    """

    items: Ints
    evidence: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A user's recent items, newest first, as the model scores them.

    Attributes:
        items: [n] item indices, -1 for an item the model does not know.
        ages: [n] seconds since each event, never negative.
        weights: [n] event weights, positive; only their proportions count.
        context: `key=value` pairs, such as `device=mobile`.
        neighbours: of the latest items; read by the model.
        horizon: what is asked.
    """

    items: Ints
    ages: Floats
    weights: Floats
    context: tuple[str, ...] = ()
    neighbours: Neighbours | None = None
    horizon: Horizon = Horizon.NEXT


@dataclass(frozen=True, slots=True)
class Tested:
    """Where the item of an event would have been ranked (1 is best, None is a miss).

    Attributes:
        rank: by the hybrid, among its candidates.
        popularity_rank: by popularity alone, within the list of the most popular.
    """

    rank: int | None
    popularity_rank: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Recommendation:
    """The best items for a query, best first.

    Attributes:
        items: n item ids, n at most the k asked for.
        scores: [n] scores.
        shares: [n, C] what each component adds to the score; rows sum to `scores`.
        components: C names.
    """

    items: tuple[str, ...]
    scores: Floats
    shares: Floats
    components: tuple[str, ...]


EMPTY = Query(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))
