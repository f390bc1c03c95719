"""Writes a small SavedModel with the pipeline's scoring signature; run in a process of its own.

It has the items item-0 to item-59. Its score has three components that show what the graph was given:
`base` is 1/(1 + number of the item), `recent` the item's weight in the user's history, `rows` a
thousandth for each live row.
"""

import sys
from pathlib import Path

import tensorflow as tf

ITEMS = 60
STRINGS = tf.TensorSpec([None, None], tf.string)
FLOATS = tf.TensorSpec([None, None], tf.float32)


class TinyModel(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = tf.Variable([1.0 / (1 + number) for number in range(ITEMS)], trainable=False)

    @tf.function
    def score(self, recent_items, recent_ages, recent_weights, rows, live, exclude, context, k):
        items = tf.constant([f"item-{number}" for number in range(ITEMS)])
        batch = tf.shape(recent_items)[0]
        base = tf.tile(self.base[None], [batch, 1])
        is_recent = tf.cast(recent_items[:, :, None] == items, tf.float32)
        recent = tf.reduce_sum(is_recent * recent_weights[:, :, None], 1)
        live_rows = tf.reduce_sum(tf.cast(tf.strings.length(rows) > 0, tf.float32), 1, keepdims=True)
        shares = tf.stack([base, recent, tf.tile(live_rows / 1_000, [1, ITEMS])], -1)
        excluded = tf.reduce_any(exclude[:, :, None] == items, 1)
        scores = tf.where(excluded, float("-inf"), tf.reduce_sum(shares, -1))
        best, order = tf.math.top_k(scores, tf.minimum(k, ITEMS))
        missing = [[0, 0], [0, tf.maximum(k - ITEMS, 0)]]
        return {
            "items": tf.pad(
                tf.where(best > float("-inf"), tf.gather(items, order), ""), missing, constant_values=""
            ),
            "scores": tf.pad(best, missing),
            "shares": tf.pad(tf.gather(shares, order, batch_dims=1), [*missing, [0, 0]]),
            "components": tf.constant(["base", "recent", "rows"]),
        }


def main(directory: Path) -> None:
    model = TinyModel()
    signature = model.score.get_concrete_function(
        recent_items=STRINGS,
        recent_ages=FLOATS,
        recent_weights=FLOATS,
        rows=STRINGS,
        live=tf.TensorSpec([], tf.string),
        exclude=STRINGS,
        context=STRINGS,
        k=tf.TensorSpec([], tf.int32),
    )
    tf.saved_model.save(model, directory, signatures={"serving_default": signature})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
