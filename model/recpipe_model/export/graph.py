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

_UNKNOWN = np.iinfo(np.int32).max
"""Index of an item that neither the export nor the live blob knows."""


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
        announced = self._announced(now)
        length = tf.minimum(tf.shape(recent_items)[1], settings.recent)
        latest = tf.minimum(length, settings.rows)
        missing = tf.fill([tf.shape(rows)[0], settings.rows], "")
        queries = (
            recent_items[:, :length],
            recent_ages[:, :length],
            recent_weights[:, :length],
            tf.concat([rows, missing], 1)[:, :latest],
            exclude,
            context,
        )

        def answer(query: Any) -> tuple[tf.Tensor, ...]:
            return self._best(query, k, now, announced)

        items, scores, shares = tf.cond(
            tf.equal(tf.shape(recent_items)[0], 1),  # the usual one, without the loop's cost
            lambda: tuple(part[None] for part in answer([each[0] for each in queries])),
            lambda: tf.map_fn(answer, queries, fn_output_signature=(tf.string, tf.float32, tf.float32)),
        )
        return {
            "items": items,
            "scores": scores,
            "shares": shares,
            "components": tf.constant(self.tables.components),
        }

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

    def _best(self, query: Any, k: tf.Tensor, now: LiveState, announced: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The best items, their scores and shares for one query."""
        settings = self.tables.settings
        names, ages, weights, rows, exclude, context = query
        known = tf.not_equal(names, "")
        ages = tf.where(known, ages, np.inf)
        weights = tf.where(known, weights, 0)
        recent, excluded = tf.split(
            self._indices(tf.concat([names, exclude], 0), now), [tf.size(names), tf.size(exclude)], num=2
        )
        candidates = self._candidates(recent, ages, weights, excluded, rows, now)
        evidence, alive = self._evidence(candidates, ages, now, announced)
        blend = scoring.blend(now.weights, known, ages, self.contexts.lookup(context))[:, None]
        embedded = scoring.embedding(
            self._gather("source", recent[: settings.embedded]),
            self._gather("taste", recent),
            self._gather("target", candidates.items),
            known,
        )
        shares = tf.concat([scoring.features(evidence) * blend, embedded], 0)
        scores = tf.reduce_sum(shares, 0)
        scores = tf.where(candidates.allowed & (alive > 0), scores, -np.inf)

        scores, best = tf.math.top_k(tf.concat([scores, tf.fill([k], -np.inf)], 0), k)
        found = scores > -np.inf
        best = tf.minimum(best, tf.size(candidates.items) - 1)
        items = tf.gather(candidates.items, best)
        place = items - now.first
        names = _overlaid(self._gather("names", items), now.names, (place >= 0) & (place < now.new), place)
        each = tf.eye(len(self.tables.components))  # a product with it transposes, and quicker
        shares = tf.matmul(tf.gather(shares, best, axis=1), each, transpose_a=True)
        return tf.where(found, names, ""), tf.where(found, scores, 0), tf.where(found[:, None], shares, 0)

    def _indices(self, names: tf.Tensor, now: LiveState) -> tf.Tensor:
        """Indices of item ids."""
        exported = self.vocabulary.lookup(names)
        # The announced names come first and are distinct, so that each is numbered by its place.
        _, place = tf.unique(tf.concat([now.names, names], 0))
        place = place[now.new[0] :]
        announced = tf.where(place < now.new, now.first + place, _UNKNOWN)
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
        count = tf.size(rows)
        live = is_row(rows)
        own = self._gather("rows", tf.where(live, _UNKNOWN, recent[:count]))
        neighbours, strengths = neighbour_rows(tf.where(live, rows, own), settings.neighbours)
        evidence = scoring.covisits(strengths, ages[:count], weights[:count], settings.rows)
        end = (now.first + now.new)[0]
        newest = tf.range(tf.maximum(end - settings.fresh, 0), end)
        return join(
            recent=recent,
            always=tf.concat([now.popular, newest, [_UNKNOWN]], 0),
            neighbours=neighbours,
            evidence=evidence,
            excluded=excluded,
            deleted=now.deleted,
            shortlist=settings.shortlist,
        )

    def _evidence(
        self, candidates: Candidates, ages: tf.Tensor, now: LiveState, announced: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evidence [C, S] of the candidates, and whether each is alive [S]."""
        tables, settings = self.tables, self.tables.settings
        items = candidates.items
        place = items - now.first
        words = _overlaid(self._gather("content", items), announced, (place >= 0) & (place < now.new), place)
        tokens, floats = tf.split(words, [settings.tokens, 1 + settings.numbers + 4 + 1], 1)
        floats = tf.bitcast(floats, tf.float32)
        content, statistics, alive = tf.split(floats, [1 + settings.numbers, 4, 1], 1)

        faded = 2 ** (-now.seconds / settings.trend_half_life)
        aged = statistics * tf.concat([[1], faded, [1, 1]], 0)
        aged += tf.concat([[0, 0], now.events, now.seconds], 0)

        place = tf.raw_ops.LowerBound(sorted_inputs=now.hot[None], values=items[None])[0]
        hot = tf.equal(tf.gather(tf.concat([now.hot, [-1]], 0), place), items)
        statistics = _overlaid(aged, now.hot_statistics, hot, place)
        floats = tf.concat([content, statistics, alive], 1)
        content, statistics, alive = tf.split(
            scoring.columns(floats, range(floats.shape[1])), [1 + settings.numbers, 4, 1]
        )
        evidence = tf.concat(
            [
                scoring.cosines(candidates.evidence, statistics),
                scoring.trends(statistics, now.totals),
                scoring.repeats(candidates.recent, ages, tf.size(items)),
                scoring.content(tokens, content, candidates.recent, tables.rarity, tables.deviations),
            ],
            0,
        )
        return evidence, alive[0]

    def _gather(self, table: str, items: tf.Tensor) -> tf.Tensor:
        variable = self.variables[table]
        return tf.gather(variable, tf.minimum(items, variable.shape[0] - 1))


def _overlaid(rows: tf.Tensor, others: tf.Tensor, which: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """The [S, ...] rows, where `which` [S] replaced by those at `place` [S] of the others."""
    count = tf.size(place)
    return tf.gather(tf.concat([rows, others], 0), tf.where(which, count + place, tf.range(count)))
