"""From a query to scored candidates, and from what was chosen among them to better scores."""

from typing import NamedTuple

import numpy as np

from recpipe_model.hybrid.arrays import Floats, Ints, Stateful, grown, kernel
from recpipe_model.hybrid.blend import Blend
from recpipe_model.hybrid.component import Component
from recpipe_model.hybrid.content import Content
from recpipe_model.hybrid.covisits import CoVisits
from recpipe_model.hybrid.embedding import Embedding
from recpipe_model.hybrid.query import EMPTY, Query
from recpipe_model.hybrid.repeats import Repeats
from recpipe_model.hybrid.settings import Settings
from recpipe_model.hybrid.taste import Taste
from recpipe_model.hybrid.trends import Trends

NONE = EMPTY.items
UNMET = -1
"""In place of 0 or 1 for items that are alive or not: named, and not met yet."""


class Scored(NamedTuple):
    """A query's n candidates.

    Attributes:
        candidates: [n] item indices, each once.
        features: [C, n] of the blended components.
        buckets: rows of the blend's weights that apply.
        weights: [C] their sum.
        user: [2, dimensions] the embedding of the query.
        embedded: [2, n] what it adds.
        scores: [n].
    """

    candidates: Ints
    features: Floats
    buckets: Ints
    weights: Floats
    user: Floats
    embedded: Floats
    scores: Floats


class Scoring:
    """The components, their blend, and the embedding of what is left over."""

    def __init__(self, settings: Settings, seed: int) -> None:
        s = self._settings = settings
        self.covisits = CoVisits(s.neighbours, s.window, s.rows, s.shortlist)
        self.trends = Trends(s.trend_half_life, s.popular, s.hot)
        self.content = Content(s.tokens, s.token_buckets, s.numbers)
        self.components: dict[str, Component] = {
            "covisits": self.covisits,
            "trends": self.trends,
            "repeats": Repeats(),
            "content": self.content,
        }
        blended = [name for component in self.components.values() for name in component.names]
        self.names = (*blended, *Embedding.names)
        self.blend = Blend(len(blended), s.contexts, s.blend_rate)
        self.embedding = Embedding(s.dimensions, s.embedded, s.embedding_rate, seed)
        self.taste = Taste(s.taste_dimensions, s.taste_ridge, seed)
        self.alive: Ints = np.full(1, UNMET, np.int32)
        self._slot: Ints = np.zeros(1, np.int32)
        self._fresh = s.fresh
        self._end = 0  # of the items met

    @property
    def parts(self) -> dict[str, Stateful]:
        """What a checkpoint holds of it, by name."""
        return {**self.components, "blend": self.blend, "embedding": self.embedding, "taste": self.taste}

    @property
    def bytes_per_item(self) -> int:
        """Sum over all arrays that have a row an item."""
        room = 1009  # of a length that no other array has
        larger = Scoring(self._settings, 0)
        larger.grow(room)
        arrays = [array for part in (larger, *larger.parts.values()) for array in vars(part).values()]
        rows = [array for array in arrays if isinstance(array, np.ndarray) and len(array) == room]
        return sum(array.nbytes for array in rows) // room

    def grow(self, items: int) -> None:
        """Makes room for items 0 .. items - 1, the new ones not met yet."""
        for component in self.components.values():
            component.grow(items)
        self.embedding.grow(items)
        self.taste.grow(items)
        self.alive, self._slot = grown(self.alive, items, UNMET), grown(self._slot, items)

    def meet(self, item: int, time: float) -> None:
        """The item is alive from now on."""
        self.alive[item] = 1
        self._end = max(self._end, item + 1)
        self.trends.appear(item, time)

    def restored(self, alive: Ints, items: int) -> None:
        """Fits itself to `items` items, after the parts were restored."""
        self.alive, self._slot = alive, np.zeros_like(alive)
        met = np.flatnonzero(alive[:items] != UNMET)
        self._end = int(met[-1]) + 1 if len(met) else 0

    def score(
        self,
        query: Query,
        *,
        exclude: Ints = NONE,
        among: Ints | None = None,
        published: bool = False,
    ) -> Scored:
        """Scores what the query may be answered with.

        Args:
            exclude: items never to be candidates.
            among: the only candidates; None for those that the components propose.
            published: whether to read neighbour rows as they are once published.
        """
        found = self.covisits.reread(query) if published else self.covisits.read(query)
        query = Query(query.items, query.ages, query.weights, query.context, found)
        if among is None:
            proposed, recent = self.covisits.propose(found, exclude), query.items
            popular, first = self.trends.top[: self.trends.used[0]], max(self._end - self._fresh, 0)
        else:
            proposed, recent, popular, first = among, NONE, NONE, self._end
        candidates = _candidates(proposed, recent, popular, first, self._end, exclude, self.alive, self._slot)
        features = np.zeros((self.blend.weights.shape[1], len(candidates)), np.float32)
        row = 0
        for component in self.components.values():
            component.evidence(query, candidates, features[row : row + len(component.names)])
            row += len(component.names)
        self.blend.features(features)
        buckets = self.blend.buckets(query)
        weights = self.blend.weights[buckets].sum(axis=0)
        user = self.embedding.encode(query)
        embedded = self.embedding.scores(user, candidates)
        scores = _sum(weights, features, embedded)
        return Scored(candidates, features, buckets, weights, user, embedded, scores)

    def by_taste(self, query: Query, exclude: Ints = NONE, among: Ints | None = None) -> tuple[Ints, Floats]:
        """The candidates, which are all items visited where `among` names none, and their scores by taste alone."""
        allowed = (self.alive == 1) & (self.covisits.visits > 0)
        allowed[exclude] = False
        candidates = np.flatnonzero(allowed).astype(np.int32) if among is None else among[allowed[among]]
        return candidates, self.taste.scores(query, candidates, self.covisits.visits)

    def popularity_rank(self, item: int, exclude: Ints = NONE) -> int | None:
        """The item's rank by popularity alone; None where it is not among the most popular, or excluded."""
        top = self.trends.top[: self.trends.used[0]]
        return _rank(top, self.trends.count, item, exclude, self.alive, self._slot) or None

    def prefer(self, scored: Scored, query: Query, item: int) -> None:
        """Learns that the item was chosen among the candidates; nothing where it is not one of them."""
        residual = _residual(scored.candidates, scored.scores, item)
        if not len(residual):
            return
        self.blend.learn(scored.buckets, scored.features, residual)
        self.embedding.learn(query, scored.user, scored.candidates, residual)

    def follow(self, item: int, query: Query, time: float, weight: float) -> None:
        """Lets every component learn that `item` followed the query."""
        for component in self.components.values():
            component.learn(item, query, time, weight)
        self.taste.learn(item, query, weight, self.covisits.visits)


@kernel
def _sum(weights: Floats, features: Floats, embedded: Floats) -> Floats:
    scores: Floats = embedded[0] + embedded[1]
    for c in range(len(weights)):
        for s in range(len(scores)):
            scores[s] += weights[c] * features[c, s]
    return scores


@kernel
def _residual(candidates: Ints, scores: Floats, item: int) -> Floats:
    """[n] truth less probability by softmax; nothing where the item is no candidate."""
    at = -1
    greatest = np.float32(-np.inf)
    for s in range(len(candidates)):
        greatest = max(greatest, scores[s])
        if candidates[s] == item:
            at = s
    if at < 0:
        return np.empty(0, np.float32)
    residual = np.empty_like(scores)
    for s in range(len(scores)):
        residual[s] = np.exp(scores[s] - greatest)
    total = np.float32(0)
    for s in range(len(scores)):  # apart: where a loop also writes, the order of a sum depends on addresses
        total += residual[s]
    residual /= -total
    residual[at] += np.float32(1)
    return residual


@kernel
def rank_of(candidates: Ints, scores: Floats, item: int) -> int:
    """The item's rank, 1 the best, others of equal score before it; 0 where it is no candidate."""
    for s in range(len(candidates)):
        if candidates[s] == item:
            return int(np.count_nonzero(scores >= scores[s]))
    return 0


@kernel
def _rank(items: Ints, values: Floats, item: int, exclude: Ints, alive: Ints, slot: Ints) -> int:
    """The item's rank among those allowed, others of equal value before it; 0 where it is none of them."""
    for j in exclude:
        slot[j] = 1
    rank, found = 0, False
    for j in items:
        if slot[j] == 0 and alive[j] == 1 and values[j] >= values[item]:
            rank += 1
            found |= j == item
    for j in exclude:
        slot[j] = 0
    return rank if found else 0


@kernel
def _candidates(
    proposed: Ints,
    recent: Ints,
    popular: Ints,
    first: int,
    end: int,
    exclude: Ints,
    alive: Ints,
    slot: Ints,
) -> Ints:
    """The items of all lists and of first .. end - 1, each once, without excluded, dead and unknown ones."""
    items = np.empty(len(proposed) + len(recent) + len(popular) + end - first, np.int32)
    count = 0
    for j in exclude:
        slot[j] = 1
    for some in (proposed, recent, popular):
        for j in some:
            if j >= 0 and slot[j] == 0 and alive[j] == 1:
                slot[j] = 1
                items[count] = j
                count += 1
    for j in range(first, end):
        if slot[j] == 0 and alive[j] == 1:
            slot[j] = 1
            items[count] = j
            count += 1
    for j in exclude:
        slot[j] = 0
    for s in range(count):
        slot[items[s]] = 0
    return items[:count]
