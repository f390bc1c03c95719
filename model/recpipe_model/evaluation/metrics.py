"""The metrics, each a function of what was ranked; means are the caller's to take.

Accuracy metrics take `hits` [n, k], whether the item at each place of n lists was relevant, and give
one value a list. Metrics beyond accuracy take lists of item indices, best first.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from recpipe_model.hybrid.arrays import Doubles, Ints, Mask

RESAMPLES = 1000
BLOCKS = 2000


def hits_of_ranks(ranks: Ints, k: int) -> Mask:
    """[n, k] for lists with one relevant item each, at `ranks` [n] (1 the best, 0 a miss)."""
    hits: Mask = ranks[:, None] == np.arange(1, k + 1)
    return hits


def hits_of_lists(lists: Sequence[Ints], relevant: Sequence[Ints], k: int) -> Mask:
    """[n, k] for lists of any length, each with its own relevant items."""
    hits = np.zeros((len(lists), k), np.bool_)
    for row, (best, wanted) in enumerate(zip(lists, relevant, strict=True)):
        found = np.isin(best[:k], wanted)
        hits[row, : len(found)] = found
    return hits


def hit_rate(hits: Mask) -> Doubles:
    """[n] 1 where any of the k is relevant."""
    found: Doubles = np.any(hits, axis=1).astype(np.float64)
    return found


def recall(hits: Mask, relevant: Ints) -> Doubles:
    """[n] share of the `relevant` [n] items (how many there are) that is among the k."""
    shares: Doubles = hits.sum(axis=1) / relevant
    return shares


def reciprocal_rank(hits: Mask) -> Doubles:
    """[n] 1 / place of the first relevant item, 0 where none is among the k (MRR; Voorhees 1999)."""
    best: Doubles = np.max(hits / np.arange(1, hits.shape[1] + 1), axis=1)
    return best


def ndcg(hits: Mask, relevant: Ints) -> Doubles:
    """[n] discounted gain over the best that `relevant` [n] items allow (Järvelin and Kekäläinen 2002)."""
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discounts)[np.minimum(relevant, hits.shape[1]) - 1]
    gains: Doubles = hits @ discounts / ideal
    return gains


def coverage(lists: Sequence[Ints], items: int) -> float:
    """Share of the catalogue of `items` that is recommended to anyone."""
    return len(np.unique(np.concatenate(lists))) / items


def gini(lists: Sequence[Ints], items: int) -> float:
    """How unevenly the catalogue is shown: 0 all items equally often, towards 1 a single item."""
    shown = np.sort(np.bincount(np.concatenate(lists), minlength=items))
    shown = shown[-items:].astype(np.float64)
    ranks = np.arange(1, items + 1)
    return float((2 * ranks - items - 1) @ shown / (items * shown.sum()))


def novelty(lists: Sequence[Ints], counts: Ints) -> float:
    """Mean self-information of what is shown, in bits: -log2 of the item's share of all events (Zhou 2010)."""
    shares = np.maximum(counts, 1) / counts.sum()
    return float(-np.log2(shares[np.concatenate(lists)]).mean())


def intra_list_diversity(lists: Sequence[Ints], categories: Mapping[int, frozenset[str]]) -> float:
    """Mean Jaccard distance of the categories of a list's pairs (Ziegler 2005), over lists of two or more.

    An item without categories is as far as can be from every other.
    """
    distances = [
        _mean_distance([categories.get(item, frozenset()) for item in best.tolist()]) for best in lists
    ]
    known = [distance for distance in distances if distance is not None]
    return float(np.mean(known)) if known else 0.0


def bootstrap_interval(values: Doubles, groups: Ints, seed: int) -> tuple[float, float]:
    """95% interval of the mean of `values` [n], by resampling whole groups [n] (Field and Welsh 2007).

    The events of one user are not independent, so users are drawn, not events. Above BLOCKS groups
    they are merged into that many blocks, which are as independent and bound the cost.
    """
    _, group = np.unique(groups, return_inverse=True)
    block = group % BLOCKS
    sums, sizes = np.bincount(block, values), np.bincount(block)
    draws = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _mean_distance(of_items: Sequence[frozenset[str]]) -> float | None:
    distances = [
        1 - len(one & other) / len(one | other) if one and other else 1.0
        for place, one in enumerate(of_items)
        for other in of_items[:place]
    ]
    return sum(distances) / len(distances) if distances else None
