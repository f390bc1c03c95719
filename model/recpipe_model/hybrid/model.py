"""The online hybrid recommender."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recpipe.live import Live, encode_live, encode_row
from recpipe_model.hybrid import checkpoint
from recpipe_model.hybrid.arrays import Floats, Ints, Mask, State, Stateful, grown, kernel
from recpipe_model.hybrid.blend import Blend
from recpipe_model.hybrid.component import Component
from recpipe_model.hybrid.content import Content
from recpipe_model.hybrid.covisits import CoVisits
from recpipe_model.hybrid.embedding import Embedding
from recpipe_model.hybrid.history import Histories
from recpipe_model.hybrid.query import Query, Recommendation, Tested
from recpipe_model.hybrid.repeats import Repeats
from recpipe_model.hybrid.settings import Settings
from recpipe_model.hybrid.trends import Trends
from recpipe_model.hybrid.vocabulary import Vocabulary

_DELETIONS = 1000
_RESERVED = -1
"""In place of 0 or 1 for items that are alive or not: named, and not met yet."""
NONE = np.zeros(0, np.int32)


class HybridModel:
    """See the package's documentation for what it does and how it is used.

    Args:
        settings: hyperparameters.
        seed: of everything random; equal seeds and events give equal models, bit for bit.
    """

    def __init__(self, settings: Settings = Settings(), seed: int = 0) -> None:  # noqa: B008 - frozen
        s = self.settings = settings
        self.seed = seed
        self.vocabulary = Vocabulary()
        self._alive: Ints = np.zeros(1, np.int32)
        self._slot: Ints = np.zeros(1, np.int32)
        self._end = 0
        self._deleted: list[int] = []
        self._touched: dict[int, None] = {}
        self._histories = Histories(s.users, s.history)
        self._covisits = CoVisits(s.neighbours, s.window, s.rows, s.shortlist)
        self._trends = Trends(s.trend_half_life, s.popular, s.hot)
        self._content = Content(s.tokens, s.token_buckets, s.numbers)
        self._components: dict[str, Component] = {
            "covisits": self._covisits,
            "trends": self._trends,
            "repeats": Repeats(),
            "content": self._content,
        }
        self._names = tuple(name for component in self._components.values() for name in component.names)
        self._blend = Blend(len(self._names), s.contexts, s.blend_rate)
        self._embedding = Embedding(s.dimensions, s.embedded, s.embedding_rate, seed)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of what is blended, as in `Recommendation.shares`."""
        return (*self._names, "sequence")

    # --- the catalogue

    def reserve(self, item_ids: Sequence[str]) -> None:
        """Gives ids their indices, in their order, before they are met.

        So a model that takes another's place agrees with what was published of the other.
        """
        for item_id in item_ids:
            if self.vocabulary.find(item_id) < 0:
                item = self._grow(item_id)
                self._alive[item] = _RESERVED

    def put_item(
        self,
        item_id: str,
        *,
        categories: Sequence[str] = (),
        attributes: Mapping[str, str | float] | None = None,
        title: str = "",
        time: float,
    ) -> None:
        """Makes an item known, or its metadata new; it can be recommended at once.

        Args:
            item_id: not empty.
            categories: its categories, the most telling first.
            attributes: text is compared for equality, numbers by distance.
            title: its words are compared.
            time: seconds since the epoch.
        """
        item = self._index(item_id, time)
        self._content.describe(item, categories, attributes or {}, title)
        if not self._alive[item]:
            self._alive[item] = 1
            self._deleted.remove(item)

    def delete_item(self, item_id: str) -> None:
        """Forgets the item and recommends it no more, until it is put again; unknown ids are ignored."""
        item = self.vocabulary.find(item_id)
        if item < 0 or self._alive[item] != 1:
            return
        self._alive[item] = 0
        self._deleted.append(item)
        self._covisits.clear(item)
        self._trends.clear(item)
        self._content.clear(item)
        self._touched[item] = None

    # --- asking

    def query_of(self, user_id: str, now: float, context: tuple[str, ...] = ()) -> Query:
        """The user's recent items as this model remembers them, at `now` seconds since the epoch."""
        return self._histories.query(user_id, now, self.settings.recent, context)

    def query(
        self,
        items: Sequence[str],
        ages: Sequence[float],
        weights: Sequence[float],
        context: tuple[str, ...] = (),
    ) -> Query:
        """A query of named items, newest first.

        Raises:
            ValueError: when the lengths differ, an age is negative, or a weight is not positive.
        """
        if not len(items) == len(ages) == len(weights):
            raise ValueError(
                f"query of {len(items)} items has {len(ages)} ages and {len(weights)} weights: give one each"
            )
        for name, values, good in (
            ("age", ages, min(ages, default=0) >= 0),
            ("weight", weights, min(weights, default=1) > 0),
        ):
            if not (good and np.isfinite(values).all()):
                raise ValueError(f"query has {name} {min(values)!r}: ages are >= 0, weights > 0, both finite")
        n = self.settings.recent
        indices = np.array([self.vocabulary.find(item) for item in items[:n]], np.int32)
        return Query(indices, np.array(ages[:n], np.float32), np.array(weights[:n], np.float32), context)

    def seen(self, user_id: str) -> Ints:
        """[n] indices of every item kept of the user's history, to exclude."""
        return self._histories.items(user_id)

    def indices(self, item_ids: Iterable[str]) -> Ints:
        """Indices of the ids that are known."""
        found = map(self._find, item_ids)
        return np.array([item for item in found if item >= 0], np.int32)

    def recommend(self, query: Query, k: int, exclude: Ints | None = None) -> Recommendation:
        """The k best items: what an exported graph computes from the same rows and live blob."""
        query = replace(query, rows=self._covisits.publish(query))
        scored = self._score(query, NONE)
        allowed = np.flatnonzero(self._allowed(scored.candidates, exclude))
        best = allowed[np.argsort(-scored.scores[allowed], kind="stable")[:k]]
        scores, candidates = scored.scores[best], scored.candidates[best]
        shares = np.vstack([scored.weights[:, None] * scored.features, scored.sequence])[:, best].T
        names = tuple(self.vocabulary[item] for item in candidates)
        return Recommendation(names, scores, shares, self.components)

    def popular(self, k: int) -> list[str]:
        """The k most popular items, best first (at most the settings' `popular`)."""
        top = self._trends.popular()
        return [self.vocabulary[item] for item in top[self._alive[top] > 0][:k]]

    # --- learning

    def test(self, query: Query, item_id: str, exclude: Ints | None = None) -> Tested:
        """Where the item of an event would have been ranked, before learning from the event."""
        return self._rank(self._score(query, NONE), self.vocabulary.find(item_id), exclude)

    def learn(
        self,
        user_id: str,
        item_id: str,
        time: float,
        weight: float = 1.0,
        *,
        context: tuple[str, ...] = (),
        negatives: Sequence[str] = (),
        test: bool = False,
        exclude: Ints | None = None,
    ) -> Tested | None:
        """Learns that the user chose the item; tested first where asked, for the price of the scores' ranks.

        Args:
            user_id: whose history the item joins.
            item_id: becomes known when it is not.
            time: seconds since the epoch.
            weight: of the event, an explicit rating or its type's.
            context: `key=value` pairs.
            negatives: items shown and passed over.
            test: whether to say where the item would have been ranked, exactly as `test` does.
            exclude: items that the test leaves out.

        Raises:
            ValueError: when the weight is not positive or a number is not finite.
        """
        if not (np.isfinite(weight) and weight > 0):
            raise ValueError(f"weight is {weight!r}: give a positive, finite number")
        if not np.isfinite(time):
            raise ValueError(f"time is {time!r}: give seconds since the epoch")
        known = self._find(item_id)
        query = self.query_of(user_id, time, context)
        tested = None
        item = self._index(item_id, time)
        self._blend.meet(context)
        scored = self._score(query, self.indices(negatives))
        if test:
            tested = self._rank(scored, known, exclude)
        at = np.flatnonzero(scored.candidates == known)
        if len(at):
            residual = np.exp(scored.scores - scored.scores.max())
            residual /= -residual.sum()
            residual[at] += 1
            self._blend.learn(scored.buckets, scored.features, residual)
            self._embedding.learn(query, scored.user, scored.candidates, residual)
        for component in self._components.values():
            component.learn(item, query, time, weight)
        self._histories.add(user_id, item, time, weight)
        self._touched |= dict.fromkeys(query.items.tolist())
        self._touched[item] = None
        return tested

    def _rank(self, scored: "_Scored", item: int, exclude: Ints | None) -> Tested:
        if item < 0 or not self._allowed(np.array([item], np.int32), exclude)[0]:
            return Tested(None, None)
        top = self._trends.top[: self._trends.used[0]]
        return Tested(
            self._rank_among(scored.candidates, scored.scores, item, exclude),
            self._rank_among(top, self._trends.count[top], item, exclude),
        )

    def _rank_among(self, items: Ints, scores: Floats, item: int, exclude: Ints | None) -> int | None:
        """The rank of one of the items among those allowed; others of equal score come before it."""
        at = np.flatnonzero(items == item)
        return int(self._allowed(items[scores >= scores[at[0]]], exclude).sum()) if len(at) else None

    # --- publishing

    def touched(self) -> list[str]:
        """Ids of the items whose rows changed since the last call."""
        names = [self.vocabulary[item] for item in self._touched]
        self._touched.clear()
        return names

    def row(self, item_id: str) -> bytes:
        """The item's neighbour row as a blob, "" when the item is unknown."""
        item = self.vocabulary.find(item_id)
        return b"" if item < 0 else encode_row(self._covisits.row(item))

    def live(self, since: int | None = None) -> bytes:
        """The live state as a blob.

        Args:
            since: size of the vocabulary of the oldest export still served: items from there on
                are named in the blob (the newest `announced` of them); None announces none.
        """
        count = len(self.vocabulary)
        first = count if since is None else max(since, count - self.settings.announced)
        new = np.arange(first, count, dtype=np.int32)
        hot = np.unique(self._trends.hot[self._trends.hot >= 0])
        return encode_live(
            Live(
                time=float(self._trends.totals[2]),
                event=int(self._trends.totals[3]),
                weights=self._blend.weights,
                totals=self._trends.totals[:2].astype(np.float32),
                popular=self._trends.popular(),
                deleted=np.array(self._deleted[-_DELETIONS:], np.int32),
                hot=hot,
                hot_statistics=self._trends.statistics(hot),
                first=first,
                names=tuple(self.vocabulary.names(first)),
                new_statistics=self._trends.statistics(new),
                new_tokens=self._content.tokens[first:count],
                new_numbers=self._content.numbers[first:count],
            )
        )

    def export_tables(self) -> tuple[list[str], State]:
        """The vocabulary in order of index, and the arrays that a graph needs to score as this model does."""
        count = len(self.vocabulary)
        items = np.arange(count, dtype=np.int32)
        rows = self._covisits
        return self.vocabulary.names(), {
            "alive": self._alive[:count],
            "neighbours": rows.neighbours[:count],
            "used": rows.used[:count],
            "strengths": (
                rows.strengths[:count] / ((rows.sums[:count, None] + np.float32(5)) * np.float32(5e-5))
            ).astype(np.float16),
            "statistics": self._trends.statistics(items),
            "time": self._trends.totals[2],
            "event": self._trends.totals[3],
            "tokens": self._content.tokens[:count],
            "rarity": self._content.rarity(),
            "numbers": self._content.numbers[:count],
            "deviations": self._content.deviations(),
            "source": self._embedding.source[:count],
            "target": self._embedding.target[:count],
            "weights": self._blend.weights,
        }

    # --- checkpoints

    def state(self) -> State:
        """Everything learned, as arrays; a model restored from it goes on bit for bit."""
        parts: dict[str, Stateful] = {
            **self._components,
            "vocabulary": self.vocabulary,
            "histories": self._histories,
        }
        parts |= {"blend": self._blend, "embedding": self._embedding}
        state = {f"{part}.{name}": array for part, it in parts.items() for name, array in it.state().items()}
        return state | {
            "model.alive": self._alive,
            "model.deleted": np.array(self._deleted, np.int32),
            "model.touched": np.array(list(self._touched), np.int32),
        }

    def restore(self, state: State) -> None:
        """Takes over what `state` gave, of a model of the same settings and seed."""
        parts: dict[str, Stateful] = {
            **self._components,
            "vocabulary": self.vocabulary,
            "histories": self._histories,
        }
        parts |= {"blend": self._blend, "embedding": self._embedding}
        for part, it in parts.items():
            it.restore({k.partition(".")[2]: v for k, v in state.items() if k.startswith(part + ".")})
        self._alive = state["model.alive"]
        self._slot = np.zeros_like(self._alive)
        met = np.flatnonzero(self._alive[: len(self.vocabulary)] != _RESERVED)
        self._end = int(met[-1]) + 1 if len(met) else 0
        self._deleted = state["model.deleted"].tolist()
        self._touched = dict.fromkeys(state["model.touched"].tolist())

    def save(self, path: Path) -> None:
        """Writes a checkpoint file, whole or not at all."""
        checkpoint.save(path, self.settings, self.seed, self.state())

    @classmethod
    def load(cls, path: Path) -> "HybridModel":
        """The model of a checkpoint file.

        Raises:
            ValueError: when the file is not a checkpoint of this version.
        """
        settings, seed, state = checkpoint.load(path)
        model = cls(settings, seed)
        model.restore(state)
        return model

    # --- scoring

    def _index(self, item_id: str, time: float) -> int:
        """The item's index; an item that is met for the first time is alive from now on."""
        item = self.vocabulary.find(item_id)
        if item < 0:
            item = self._grow(item_id)
        elif self._alive[item] != _RESERVED:
            return item
        self._alive[item] = 1
        self._end = max(self._end, item + 1)
        self._trends.appear(item, time)
        return item

    def _find(self, item_id: str) -> int:
        """The item's index, -1 before it is met."""
        item = self.vocabulary.find(item_id)
        return item if item < 0 or self._alive[item] != _RESERVED else -1

    def _grow(self, item_id: str) -> int:
        item = self.vocabulary.add(item_id)
        for component in self._components.values():
            component.grow(item + 1)
        self._embedding.grow(item + 1)
        self._alive = grown(self._alive, item + 1)
        self._slot = grown(self._slot, item + 1)
        return item

    def _score(self, query: Query, more: Ints) -> "_Scored":
        """Scores the query's candidates: those given, then each component's."""
        rows = query.rows or self._covisits.read(query)
        query = Query(query.items, query.ages, query.weights, query.context, rows)
        newest = np.arange(max(0, self._end - self.settings.fresh), self._end, dtype=np.int32)
        candidates = self._distinct(
            self._covisits.propose(rows), query.items, self._trends.top[: self._trends.used[0]], newest, more
        )
        evidence = np.zeros((len(self._names), len(candidates)), np.float32)
        row = 0
        for component in self._components.values():
            component.evidence(query, candidates, evidence[row : row + len(component.names)])
            row += len(component.names)
        features = self._blend.features(evidence)
        buckets = self._blend.buckets(query)
        weights = self._blend.weights[buckets].sum(axis=0)
        user = self._embedding.encode(query)
        sequence = self._embedding.scores(user, candidates)
        return _Scored(candidates, features, buckets, weights, user, sequence, weights @ features + sequence)

    def _distinct(self, *lists: Ints) -> Ints:
        return _distinct(np.concatenate(lists), self._slot)

    def _allowed(self, items: Ints, exclude: Ints | None) -> Mask:
        allowed: Mask = self._alive[items] > 0
        if exclude is not None and len(exclude):
            allowed &= ~np.isin(items, exclude)
        return allowed


class _Scored(NamedTuple):
    candidates: Ints
    features: Floats
    buckets: Ints
    weights: Floats
    user: Floats
    sequence: Floats
    scores: Floats


@kernel
def _distinct(items: Ints, slot: Ints) -> Ints:
    """The items in their order, each once, without -1."""
    count = 0
    for s in range(len(items)):
        j = items[s]
        if j >= 0 and slot[j] == 0:
            slot[j] = 1
            items[count] = j
            count += 1
    for s in range(count):
        slot[items[s]] = 0
    return items[:count]
