"""The graph of the taste horizon: a history to the items that the user likes at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from recpipe_model.export.decoding import live_state
from recpipe_model.export.tables import Tables


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
        deleted = live_state(live, self.tables).deleted

        def answer(query: Any) -> tuple[tf.Tensor, tf.Tensor]:
            return self._best(*query, deleted, k)

        items, scores = tf.map_fn(
            answer, (recent_items, recent_weights, exclude), fn_output_signature=(tf.string, tf.float32)
        )
        return {
            "items": items,
            "scores": scores,
            "shares": scores[:, :, None],
            "components": tf.constant(["taste"]),
        }

    def _best(
        self, names: tf.Tensor, weights: tf.Tensor, exclude: tf.Tensor, deleted: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The best items and their scores for one query, by the formula of the learner's `Taste`."""
        last = self.tables.large["liked"].shape[0] - 1  # the row of nothing
        found = self.vocabulary.lookup(names)
        known = tf.cast(found >= 0, tf.float32)
        items = tf.where(found < 0, last, found)
        roots = tf.sqrt(weights) * known
        count = tf.reduce_sum(known)
        shares = tf.math.divide_no_nan(roots * tf.sqrt(count), tf.reduce_sum(roots))
        scales = tf.gather(self.variables["scales"], items)
        common = self.tables.common / tf.sqrt(tf.maximum(count, 1))
        user = tf.linalg.matvec(
            tf.gather(self.variables["liked"], items),
            tf.math.divide_no_nan(shares, scales**2),
            transpose_a=True,
        )
        scores = tf.linalg.matvec(self.variables["liked"], user + common)

        out = tf.concat([self.vocabulary.lookup(exclude), tf.minimum(deleted, last)], 0)
        out = tf.where(out < 0, last, out)
        scores = tf.where(self.variables["scales"] > 0, scores, float("-inf"))
        scores = tf.tensor_scatter_nd_update(scores, out[:, None], tf.fill([tf.size(out)], float("-inf")))
        scores, best = tf.math.top_k(tf.concat([scores, tf.fill([k], float("-inf"))], 0), k)
        ranked = scores > float("-inf")
        names = tf.gather(self.variables["names"], tf.minimum(best, last))
        return tf.where(ranked, names, ""), tf.where(ranked, scores, 0)
