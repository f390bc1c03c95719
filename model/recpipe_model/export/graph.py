"""The scoring graph: live inputs to the best items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from recpipe_model.export import scoring
from recpipe_model.export.candidates import Candidates, join
from recpipe_model.export.decoding import LiveState, is_row, live_state, neighbour_rows
from recpipe_model.export.tables import Tables


@dataclass(frozen=True, slots=True)
class Scorer:
    """Builds the graph in the default graph.

    Args:
        tables: of the model; of the large ones only shapes and types are looked at.
        variables: the large tables.
        vocabulary: from item ids to indices, -1 for none.
        contexts: from `key=value` to the number of its bucket, -1 for none.
    """

    tables: Tables
    variables: Mapping[str, Any]
    vocabulary: tf.lookup.StaticHashTable
    contexts: tf.lookup.StaticHashTable

    def __call__(
        self,
        recent_items: tf.Tensor,
        recent_ages: tf.Tensor,
        recent_weights: tf.Tensor,
        rows: tf.Tensor,
        live: tf.Tensor,
        exclude: tf.Tensor,
        context: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Scores queries.

        Args:
            recent_items: [B, H] ids, newest first, "" for none.
            recent_ages: [B, H] seconds since each event.
            recent_weights: [B, H] of the events.
            rows: [B, R] neighbour rows of the latest items, "" for that of the export.
            live: the live blob, "" for that of the export.
            exclude: [B, E] ids never to recommend.
            context: [B, X] `key=value` pairs.
            k: how many items are wanted.

        Returns:
            items [B, k], "" where there are fewer candidates; scores [B, k]; shares [B, k, C], of
            each component in the score; components [C].
        """
        settings = self.tables.settings
        now = live_state(live, self.tables)
        names = recent_items[:, : settings.recent]
        known = tf.not_equal(names, "")
        ages = tf.where(known, recent_ages[:, : settings.recent], np.inf)
        weights = tf.where(known, recent_weights[:, : settings.recent], 0)
        recent, excluded = tf.split(
            self._indices(tf.concat([names, exclude], 1), now),
            [tf.shape(names)[1], tf.shape(exclude)[1]],
            axis=1,
            num=2,
        )
        candidates = self._candidates(recent, ages, weights, excluded, rows, now)
        evidence, alive = self._evidence(candidates, ages, now)
        blend = scoring.blend(now.weights, known, ages, self.contexts.lookup(context))
        embedded = scoring.embedding(
            self._gather("source", recent[:, : settings.embedded]),
            self._gather("taste", recent),
            self._gather("target", candidates.items),
            known,
        )
        shares = tf.concat([tf.math.log1p(evidence) * (scoring.SCALE * blend)[..., None], embedded], 1)
        scores = tf.reduce_sum(shares, 1)
        scores = tf.where(candidates.allowed & (alive > 0), scores, -np.inf)
        return self._best(candidates.items, scores, shares, k, now)

    def _announced(self, now: LiveState) -> tf.Tensor:
        """[new, ...] content of the announced items, as in the exported table."""
        length = tf.reduce_sum(tf.gather(self.tables.rarity, now.tokens + 1) ** 2, 1, keepdims=True)
        floats = [
            tf.math.divide_no_nan(1.0, tf.sqrt(length)),
            tf.where(tf.math.is_nan(now.numbers), scoring.NONE, now.numbers),
            now.statistics,
            tf.ones_like(length),
        ]
        return tf.concat([now.tokens + 1, tf.bitcast(tf.concat(floats, 1), tf.int32)], 1)

    def _best(
        self, items: tf.Tensor, scores: tf.Tensor, shares: tf.Tensor, k: tf.Tensor, now: LiveState
    ) -> dict[str, tf.Tensor]:
        """The outputs, of [B, M] candidates, their scores, -inf where not allowed, and shares [B, C, M]."""
        count = tf.shape(items)[1]
        scores, best = tf.math.top_k(
            tf.pad(scores, tf.stack([[0, 0], tf.stack([0, k])]), constant_values=-np.inf), k
        )
        found = scores > -np.inf
        best = tf.minimum(best, count - 1)
        items = tf.reshape(tf.gather(items, best, axis=1, batch_dims=1), [-1])
        place = items - now.first
        names = _overlaid(self._gather("names", items), now.names, (place >= 0) & (place < now.new), place)
        names = tf.reshape(names, tf.shape(best))
        each = tf.eye(len(self.tables.components))  # a product with it transposes, and quicker
        shares = tf.matmul(tf.gather(shares, best, axis=2, batch_dims=1), each, transpose_a=True)
        return {
            "items": tf.where(found, names, ""),
            "scores": tf.where(found, scores, 0),
            "shares": tf.where(found[..., None], shares, 0),
            "components": tf.constant(self.tables.components),
        }

    def _indices(self, names: tf.Tensor, now: LiveState) -> tf.Tensor:
        """Indices of item ids."""
        exported = self.vocabulary.lookup(names)
        # The announced names come first and are distinct, so that each is numbered by its place.
        _, place = tf.unique(tf.concat([now.names, tf.reshape(names, [-1])], 0))
        place = tf.reshape(place[now.new[0] :], tf.shape(names))
        announced = tf.where(place < now.new, now.first + place, self._nothing(now))
        return tf.where(exported < 0, announced, exported)

    def _candidates(
        self,
        recent: tf.Tensor,
        ages: tf.Tensor,
        weights: tf.Tensor,
        excluded: tf.Tensor,
        rows: tf.Tensor,
        now: LiveState,
    ) -> Candidates:
        settings = self.tables.settings
        latest = recent[:, : settings.rows]
        count = tf.shape(latest)[1]
        rows = tf.pad(rows, [[0, 0], [0, settings.rows]])[:, :count]
        live = is_row(rows)
        nothing = self._nothing(now)
        own = self._gather("rows", tf.where(live, nothing, latest))
        neighbours, strengths = neighbour_rows(tf.where(live, rows, own), settings.neighbours)
        evidence = scoring.covisits(strengths, ages[:, :count], weights[:, :count], settings.rows)
        end = (now.first + now.new)[0]
        newest = tf.range(tf.maximum(end - settings.fresh, 0), end)
        return join(
            recent=recent,
            always=tf.concat([now.popular, newest, [nothing]], 0),
            neighbours=tf.minimum(neighbours, nothing),
            evidence=evidence,
            excluded=excluded,
            deleted=tf.minimum(now.deleted, nothing),
            nothing=nothing,
            shortlist=settings.shortlist,
        )

    def _evidence(
        self, candidates: Candidates, ages: tf.Tensor, now: LiveState
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evidence [B, C, M] of the candidates, and whether each is alive [B, M]."""
        tables, settings = self.tables, self.tables.settings
        shape = tf.shape(candidates.items)
        items = tf.reshape(candidates.items, [-1])
        place = items - now.first
        announced = (place >= 0) & (place < now.new)
        words = _overlaid(self._gather("content", items), self._announced(now), announced, place)
        tokens, floats = tf.split(words, [settings.tokens, 1 + settings.numbers + 4 + 1], 1)
        tokens = tokens[:, : self._longest(now)]
        floats = tf.bitcast(floats, tf.float32)
        content, statistics, alive = tf.split(floats, [1 + settings.numbers, 4, 1], 1)

        faded = 2 ** (-now.seconds / settings.trend_half_life)
        aged = statistics * tf.concat([[1], faded, [1, 1]], 0)
        aged += tf.concat([[0, 0], now.events, now.seconds], 0)
        aged = _overlaid(aged, now.statistics, announced, place)  # which are of now

        place = tf.raw_ops.LowerBound(sorted_inputs=now.hot[None], values=items[None])[0]
        hot = tf.equal(tf.gather(tf.concat([now.hot, [-1]], 0), place), items)
        statistics = _overlaid(aged, now.hot_statistics, hot, place)
        floats = tf.concat([content, statistics, alive], 1)
        floats = tf.reshape(floats, [*tf.unstack(shape, num=2), floats.shape[1]])
        content, statistics, alive = tf.split(
            scoring.columns(floats, range(floats.shape[2])), [1 + settings.numbers, 4, 1], 1
        )
        recent = candidates.recent
        evidence = tf.concat(
            [
                scoring.cosines(candidates.evidence, statistics),
                scoring.trends(statistics, now.totals),
                scoring.repeats(recent + (tf.range(shape[0]) * shape[1])[:, None], ages, shape),
                scoring.content(
                    tf.reshape(tokens, tf.concat([shape, [-1]], 0)),
                    content,
                    recent,
                    tables.rarity,
                    tables.deviations,
                ),
            ],
            1,
        )
        return evidence, alive[:, 0]

    def _longest(self, now: LiveState) -> tf.Tensor:
        """The most tokens that an item has; most items have few, and each is looked up."""
        announced = tf.math.count_nonzero(now.tokens + 1, 1, dtype=tf.int32)
        return tf.reduce_max(tf.concat([[self.tables.longest], announced], 0))

    def _nothing(self, now: LiveState) -> tf.Tensor:
        """Index of an item that neither the export nor the live blob knows, greater than all others."""
        return tf.maximum((now.first + now.new)[0], self.variables["names"].shape[0] - 1)

    def _gather(self, table: str, items: tf.Tensor) -> tf.Tensor:
        variable = self.variables[table]
        return tf.gather(variable, tf.minimum(items, variable.shape[0] - 1))


def _overlaid(rows: tf.Tensor, others: tf.Tensor, which: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """The [S, ...] rows, where `which` [S] replaced by those at `place` [S] of the others."""
    where = tf.where(which)
    return tf.tensor_scatter_nd_update(rows, where, tf.gather(others, tf.gather_nd(place, where)))
