"""The online hybrid recommender."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from recpipe.horizon import Horizon
from recpipe.live import Live, encode_live, encode_row
from recpipe_model.hybrid import checkpoint
from recpipe_model.hybrid.arrays import Floats, Ints, State, Stateful
from recpipe_model.hybrid.history import Histories
from recpipe_model.hybrid.query import Query, Recommendation, Tested
from recpipe_model.hybrid.scoring import NONE, UNMET, Scoring, rank_of
from recpipe_model.hybrid.settings import Settings
from recpipe_model.hybrid.vocabulary import Vocabulary

_DELETIONS = 1000


class HybridModel:
    """See the package's documentation for what it does and how it is used.

    Args:
        settings: hyperparameters.
        seed: of everything random; equal seeds and events give equal models, bit for bit.
    """

    def __init__(self, settings: Settings = Settings(), seed: int = 0) -> None:  # noqa: B008 - frozen
        self.settings = settings
        self.seed = seed
        self.vocabulary = Vocabulary()
        self._histories = Histories(settings.users, settings.history)
        self._scoring = Scoring(settings, seed)
        self._deleted: list[int] = []
        self._touched: dict[int, None] = {}

    @property
    def components(self) -> tuple[str, ...]:
        """Names of what is blended, as in `Recommendation.shares`."""
        return self._scoring.names

    @property
    def bytes_per_item(self) -> int:
        """What an item takes at most, its id aside; memory grows in doublings of that."""
        return self._scoring.bytes_per_item

    # --- the catalogue

    def reserve(self, item_ids: Sequence[str]) -> None:
        """Gives ids their indices, in their order, before they are met.

        So a model that takes another's place agrees with what was published of the other.
        """
        for item_id in item_ids:
            if self.vocabulary.find(item_id) < 0:
                self._grow(item_id)

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
        self._scoring.content.describe(item, categories, attributes or {}, title)
        if not self._scoring.alive[item]:
            self._scoring.alive[item] = 1
            self._deleted.remove(item)

    def delete_item(self, item_id: str) -> None:
        """Forgets the item and recommends it no more, until it is put again; unknown ids are ignored."""
        item = self.vocabulary.find(item_id)
        if item < 0 or self._scoring.alive[item] != 1:
            return
        self._scoring.alive[item] = 0
        self._deleted.append(item)
        self._scoring.covisits.clear(item)
        self._scoring.trends.clear(item)
        self._scoring.content.clear(item)
        self._scoring.taste.clear(item)
        self._touched[item] = None

    # --- asking

    def query_of(
        self, user_id: str, now: float, context: tuple[str, ...] = (), horizon: Horizon = Horizon.NEXT
    ) -> Query:
        """The user's items as this model remembers them, at `now` seconds since the epoch.

        They are the recent ones for what comes next, all for the taste.
        """
        limit = self.settings.recent if horizon is Horizon.NEXT else self.settings.history
        return replace(self._histories.query(user_id, now, limit, context), horizon=horizon)

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
        exclude = NONE if exclude is None else exclude
        if query.horizon is Horizon.TASTE:
            candidates, scores = self._scoring.by_taste(query, exclude)
            best = np.argsort(-scores, kind="stable")[:k]
            names = tuple(self.vocabulary[item] for item in candidates[best])
            return Recommendation(names, scores[best], scores[best, None], ("taste",))
        scored = self._scoring.score(query, exclude=exclude, published=True)
        best = np.argsort(-scored.scores, kind="stable")[:k]
        shares = np.vstack([scored.weights[:, None] * scored.features, scored.embedded])[:, best].T
        names = tuple(self.vocabulary[item] for item in scored.candidates[best])
        return Recommendation(names, scored.scores[best], shares, self.components)

    def popular(self, k: int) -> list[str]:
        """The k most popular items, best first (at most the settings' `popular`)."""
        top = self._scoring.trends.popular()
        return [self.vocabulary[item] for item in top[self._scoring.alive[top] > 0][:k]]

    # --- learning

    def test(
        self, query: Query, item_id: str, exclude: Ints | None = None, among: Ints | None = None
    ) -> Tested:
        """Where the item of an event would have been ranked, before learning from the event.

        Args:
            exclude: items not to be ranked.
            among: the only items to be ranked; None for those that the model proposes.
        """
        exclude = NONE if exclude is None else exclude
        if query.horizon is Horizon.TASTE:
            candidates, scores = self._scoring.by_taste(query, exclude, among)
        else:
            scored = self._scoring.score(query, exclude=exclude, among=among)
            candidates, scores = scored.candidates, scored.scores
        return self._rank(candidates, scores, self.vocabulary.find(item_id), exclude)

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
            negatives: items shown and passed over: a lesson of its own, the choice among what was shown.
            test: whether to say where the item would have been ranked, exactly as `test` does.
            exclude: items that are not to be recommended to the user: neither the test nor the lesson
                is about them. What is excluded when asking is to be excluded here.

        Raises:
            ValueError: when the weight is not positive or a number is not finite.
        """
        if not (np.isfinite(weight) and weight > 0):
            raise ValueError(f"weight is {weight!r}: give a positive, finite number")
        if not np.isfinite(time):
            raise ValueError(f"time is {time!r}: give seconds since the epoch")
        known = self._find(item_id)
        query = self.query_of(user_id, time, context)
        exclude = NONE if exclude is None else exclude
        item = self._index(item_id, time)
        self._scoring.blend.meet(context)
        scored = self._scoring.score(query, exclude=exclude)
        tested = self._rank(scored.candidates, scored.scores, known, exclude) if test else None
        self._scoring.prefer(scored, query, known)
        if negatives and known >= 0:
            shown = np.append(self.indices(negatives), np.int32(known))
            self._scoring.prefer(self._scoring.score(query, exclude=exclude, among=shown), query, known)
        self._scoring.follow(item, query, time, weight)
        self._histories.add(user_id, item, time, weight)
        self._touched |= dict.fromkeys(query.items.tolist())
        self._touched[item] = None
        return tested

    def _rank(self, candidates: Ints, scores: Floats, item: int, exclude: Ints) -> Tested:
        if item < 0:
            return Tested(None, None)
        rank = rank_of(candidates, scores, item) or None
        return Tested(rank, self._scoring.popularity_rank(item, exclude))

    # --- publishing

    def touched(self) -> list[str]:
        """Ids of the items whose rows changed since the last call."""
        names = [self.vocabulary[item] for item in self._touched]
        self._touched.clear()
        return names

    def row(self, item_id: str) -> bytes:
        """The item's neighbour row as a blob, "" when the item is unknown."""
        item = self.vocabulary.find(item_id)
        return b"" if item < 0 else encode_row(self._scoring.covisits.row(item))

    def live(self, since: int | None = None) -> bytes:
        """The live state as a blob.

        Args:
            since: size of the vocabulary of the oldest export still served: items from there on
                are named in the blob (the newest `announced` of them); None announces none.
        """
        count = len(self.vocabulary)
        first = count if since is None else max(since, count - self.settings.announced)
        new = np.arange(first, count, dtype=np.int32)
        hot = np.unique(self._scoring.trends.hot[self._scoring.trends.hot >= 0])
        return encode_live(
            Live(
                time=float(self._scoring.trends.totals[2]),
                event=int(self._scoring.trends.totals[3]),
                weights=self._scoring.blend.weights,
                totals=self._scoring.trends.totals[:2].astype(np.float32),
                popular=self._scoring.trends.popular(),
                deleted=np.array(self._deleted[-_DELETIONS:], np.int32),
                hot=hot,
                hot_statistics=self._scoring.trends.statistics(hot),
                first=first,
                names=tuple(self.vocabulary.names(first)),
                new_statistics=self._scoring.trends.statistics(new),
                new_tokens=self._scoring.content.tokens[first:count],
                new_numbers=self._scoring.content.numbers[first:count],
            )
        )

    def export_tables(self) -> tuple[list[str], State]:
        """The vocabulary in order of index, and the arrays that a graph needs to score as this model does."""
        count = len(self.vocabulary)
        items = np.arange(count, dtype=np.int32)
        vectors, scales, common = self._scoring.taste.vectors(self._scoring.covisits.visits[:count])
        return self.vocabulary.names(), {
            "alive": self._scoring.alive[:count],
            "statistics": self._scoring.trends.statistics(items),
            "time": self._scoring.trends.totals[2],
            "event": self._scoring.trends.totals[3],
            "tokens": self._scoring.content.tokens[:count],
            "rarity": self._scoring.content.rarity(),
            "numbers": self._scoring.content.numbers[:count],
            "deviations": self._scoring.content.deviations(),
            "source": self._scoring.embedding.source[:count],
            "taste": self._scoring.embedding.taste[:count],
            "target": self._scoring.embedding.target[:count],
            "liked": vectors * scales[:, None],
            "scales": scales,
            "common": common,
            "weights": self._scoring.blend.weights,
        }

    # --- checkpoints

    def state(self) -> State:
        """Everything learned, as arrays; a model restored from it goes on bit for bit."""
        state = {
            f"{part}.{name}": array for part, it in self._parts.items() for name, array in it.state().items()
        }
        return state | {
            "model.alive": self._scoring.alive,
            "model.deleted": np.array(self._deleted, np.int32),
            "model.touched": np.array(list(self._touched), np.int32),
        }

    def restore(self, state: State) -> None:
        """Takes over what `state` gave, of a model of the same settings and seed."""
        for part, it in self._parts.items():
            it.restore({k.partition(".")[2]: v for k, v in state.items() if k.startswith(part + ".")})
        self._scoring.restored(state["model.alive"], len(self.vocabulary))
        self._deleted = state["model.deleted"].tolist()
        self._touched = dict.fromkeys(state["model.touched"].tolist())

    def save(self, path: Path, during: Callable[[], checkpoint.Pause] = nullcontext) -> None:
        """Writes a checkpoint file, whole or not at all; each piece of it within what `during` makes."""
        checkpoint.save(path, self.settings, self.seed, self.state(), during)

    @classmethod
    def load(cls, path: Path) -> "HybridModel":
        """The model of a checkpoint file.

        Raises:
            VersionError: when the file is a checkpoint of another version.
            ValueError: when it is none.
        """
        settings, seed, state = checkpoint.load(path)
        model = cls(settings, seed)
        model.restore(state)
        return model

    @property
    def _parts(self) -> dict[str, Stateful]:
        return {**self._scoring.parts, "vocabulary": self.vocabulary, "histories": self._histories}

    def _index(self, item_id: str, time: float) -> int:
        """The item's index; an item that is met for the first time is alive from now on."""
        item = self.vocabulary.find(item_id)
        if item < 0:
            item = self._grow(item_id)
        if self._scoring.alive[item] == UNMET:
            self._scoring.meet(item, time)
        return item

    def _find(self, item_id: str) -> int:
        """The item's index, -1 before it is met."""
        item = self.vocabulary.find(item_id)
        return item if item < 0 or self._scoring.alive[item] != UNMET else -1

    def _grow(self, item_id: str) -> int:
        item = self.vocabulary.add(item_id)
        self._scoring.grow(item + 1)
        return item
