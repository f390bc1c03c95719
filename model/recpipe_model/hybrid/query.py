"""What is asked of the model, and what it answers."""

from dataclasses import dataclass

import numpy as np

from recpipe_model.hybrid.arrays import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Neighbour rows as scoring reads them.

    Attributes:
        which: [R] for each of the query's latest items the row of the arrays below, -1 for none.
        neighbours: [n, K] item indices.
        strengths: [n, K, STRENGTHS] of each kind of co-visit.
        used: [n] entries in use.
        factors: [C, R] what each component multiplies its strength of each row by.
    """

    which: Ints
    neighbours: Ints
    strengths: Floats
    used: Ints
    factors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A user's recent items, newest first, as the model scores them.

    Attributes:
        items: [n] item indices, -1 for an item the model does not know.
        ages: [n] seconds since each event, never negative.
        weights: [n] event weights, positive; only their proportions count.
        context: `key=value` pairs, such as `device=mobile`.
        rows: neighbour rows of the latest items; read by the model.
    """

    items: Ints
    ages: Floats
    weights: Floats
    context: tuple[str, ...] = ()
    rows: Rows | None = None


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
