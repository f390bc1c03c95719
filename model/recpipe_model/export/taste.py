"""The graph of the taste horizon: a history to the items that the user likes at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from recpipe_model.export.decoding import live_state
from recpipe_model.export.tables import Tables

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class TasteScorer:
    """Builds the graph in the default graph: every item of the export is ranked, whole histories are read.

    Args:
        tables: of the model; of the large ones only shapes and types are looked at.
        variables: the large tables.
        vocabulary: from item ids to indices, -1 for none.
    """

    tables: Tables
    variables: Mapping[str, Any]
    vocabulary: tf.lookup.StaticHashTable

    def __call__(
        self,
        recent_items: tf.Tensor,
        recent_weights: tf.Tensor,
        live: tf.Tensor,
        exclude: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """As `Scorer`, of whose inputs it takes those that have a meaning here.

        Args:
            live: only for the items that were deleted since the export.
        """
        last = self.tables.large["liked"].shape[0] - 1  # the row of nothing
        scores = self._scores(self.vocabulary.lookup(recent_items), recent_weights, last)

        batch = tf.shape(recent_items)[0]
        deleted = tf.minimum(live_state(live, self.tables).deleted, last)
        excluded = self.vocabulary.lookup(exclude)
        out = tf.concat([excluded, tf.tile(deleted[None], [batch, 1])], 1)
        out = tf.where(out < 0, last, out)
        place = tf.stack([tf.broadcast_to(tf.range(batch)[:, None], tf.shape(out)), out], 2)
        scores = tf.tensor_scatter_nd_update(scores, place, tf.fill(tf.shape(out), _NEVER))

        scores, best = tf.math.top_k(tf.concat([scores, tf.fill([batch, k], _NEVER)], 1), k)
        ranked = scores > _NEVER
        names = tf.gather(self.variables["names"], tf.minimum(best, last))
        scores = tf.where(ranked, scores, 0)
        return {
            "items": tf.where(ranked, names, ""),
            "scores": scores,
            "shares": scores[:, :, None],
            "components": tf.constant(["taste"]),
        }

    def _scores(self, found: tf.Tensor, weights: tf.Tensor, last: int) -> tf.Tensor:
        """[B, N + 1] by the formula of the learner's `Taste`, of histories [B, H] of indices, -1 for unknown items."""
        liked, scales = self.variables["liked"], self.variables["scales"]
        roots = tf.where(found < 0, 0.0, tf.sqrt(weights))
        count = tf.reduce_sum(tf.cast(found >= 0, tf.float32), 1, keepdims=True)
        shares = tf.math.divide_no_nan(roots * tf.sqrt(count), tf.reduce_sum(roots, 1, keepdims=True))
        items = tf.where(found < 0, last, found)
        shares = tf.math.divide_no_nan(shares, tf.gather(scales, items) ** 2)
        user = tf.linalg.matvec(tf.gather(liked, items), shares, transpose_a=True)
        user += self.tables.common / tf.sqrt(tf.maximum(count, 1))
        return tf.where(scales > 0, tf.linalg.matmul(user, liked, transpose_b=True), _NEVER)
