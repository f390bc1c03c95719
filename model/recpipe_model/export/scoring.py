"""The hybrid's formulae in TensorFlow: each function computes what its namesake in recpipe_model.hybrid does.

All queries of a batch are scored at once: what costs is the number of operations. Evidence has the
candidates last, [B, C, S], since TensorFlow is quickest along long last dimensions.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recpipe_model.hybrid.arrays import Floats
from recpipe_model.hybrid.blend import GAPS, LENGTHS
from recpipe_model.hybrid.component import UNIT

SCALE = 0.3
"""Of the logarithms of evidence that the blend weighs."""
NONE = np.finfo(np.float32).max
"""In place of a numeric attribute that an item has not: finite, so that 0 times it is 0."""


def columns(rows: tf.Tensor, wanted: Sequence[int]) -> tf.Tensor:
    """[B, W, S] the wanted columns of finite rows [B, S, C].

    By a product with zeros and ones, which is exact: TensorFlow takes ten times as long to transpose.
    """
    chosen = np.eye(rows.shape[2], dtype=np.float32)[list(wanted)]
    return tf.matmul(tf.constant(chosen), rows, transpose_b=True)


def covisits(strengths: tf.Tensor, ages: tf.Tensor, weights: tf.Tensor, limit: int) -> tf.Tensor:
    """Evidence [B, 5, E] of each entry of the rows: covisit, next, soon, similar, nearby (see `cosines`).

    Args:
        strengths: [B, E, 4] of the entries, equally many of each of the R rows.
        ages, weights: [B, R] of the recent items; weight 0 for none.
        limit: the greatest R.
    """
    k = np.arange(limit)
    fast, slow, one = 0.8**k, 0.95**k, np.ones(limit)
    # attention = weight (slope near + offset)
    slope = tf.constant(np.stack([fast, fast, one, 0 * one, one]), tf.float32)
    offset = tf.constant(np.stack([0.2 * fast, 0.2 * fast, 0.02 * one, slow, 0.001 * one]), tf.float32)
    rows = tf.shape(ages)[1]
    near = (1 / (1 + ages / 300))[:, None]
    attention = weights[:, None] * (slope[:, :rows] * near + offset[:, :rows])
    attention = tf.math.divide_no_nan(attention, tf.reduce_sum(attention, 2, keepdims=True))
    strengths = columns(strengths, [0, 1, 2, 3, 3])
    shape = tf.shape(strengths)
    by_row = tf.reshape(strengths, tf.concat([tf.shape(attention), [-1]], 0))
    return tf.reshape(by_row * attention[..., None], shape)


def cosines(evidence: tf.Tensor, statistics: tf.Tensor) -> tf.Tensor:
    """The [B, 5, S] evidence with similar and nearby as cosines; `statistics` [B, 4, S] begin with the visits."""
    cosine = 1e3 * tf.math.rsqrt(statistics[:, :1] + 1)
    return tf.concat([evidence[:, :3], evidence[:, 3:] * cosine], 1)


def trends(statistics: tf.Tensor, totals: tf.Tensor) -> tf.Tensor:
    """Evidence [B, 4, S]: popular, trending, fresh, new.

    Args:
        statistics: [B, 4, S] count, decayed count, events since last seen, seconds since first known.
        totals: [2] summed event weights, all and decayed.
    """
    count, age = tf.split(statistics, 2, 1)
    popularity = count / ((totals + 1) * UNIT)[:, None]
    freshness = _column(1e5, 1e3) / (_column(50, 1) + age * _column(1, 1 / 86400))
    return tf.concat([popularity, freshness], 1)


def repeats(recent: tf.Tensor, ages: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Evidence [B, 2, S]: seen, repeat.

    Args:
        recent: [B, H] which candidate each recent item is, counted through all queries.
        ages: [B, H] seconds, infinite for none.
        shape: B, S.
    """
    k = tf.range(tf.shape(ages)[1], dtype=tf.float32)
    repeat = 1e3 / ((1 + k) * (1 + ages / 300))
    repeat = tf.math.unsorted_segment_max(
        tf.reshape(repeat, [-1]), tf.reshape(recent, [-1]), tf.reduce_prod(shape)
    )
    repeat = tf.reshape(tf.maximum(repeat, 0), shape)
    return tf.stack([20 * tf.sign(repeat), repeat], 1)


def content(
    tokens: tf.Tensor, floats: tf.Tensor, recent: tf.Tensor, rarity: Floats, deviations: Floats
) -> tf.Tensor:
    """Evidence [B, 2, S]: content, numbers.

    Args:
        tokens: [B, S, T] one more than each candidate's tokens, 0 for none.
        floats: [B, 1 + N, S] 1 / length of their tf-idf vectors, 0 where that is 0; and numeric
            attributes, NONE for none.
        recent: [B, H] which candidate of its query each recent item is.
        rarity: [1 + buckets] of each token; none comes first.
        deviations: [N] of the numeric attributes.
    """
    decay = 0.9 ** tf.range(tf.shape(recent)[1], dtype=tf.float32)

    batch, buckets = tf.shape(recent)[0], len(rarity)
    mine = tf.gather(tokens, recent, axis=1, batch_dims=1)
    attributes = tf.gather(floats, recent, axis=2, batch_dims=1)
    share = tf.sign(attributes[:, 0]) * decay
    share *= attributes[:, 0] * (1e3 / (1e-6 + tf.reduce_sum(share, 1, keepdims=True)))
    tfidf = tf.gather(rarity, mine) * share[..., None]
    offset = (buckets * tf.range(batch))[:, None, None]
    profile = tf.math.unsorted_segment_sum(
        tf.reshape(tfidf, [-1]), tf.reshape(mine + offset, [-1]), buckets * batch
    )
    profile = tf.reshape(tf.reshape(profile, [-1, buckets]) * rarity, [-1])
    # gather_nd is the quicker one for single numbers
    likeness = tf.reduce_sum(tf.gather_nd(profile, (tokens + offset)[..., None]), 2) * floats[:, 0]

    known = tf.cast(attributes < NONE, tf.float32) * decay
    mass = tf.reduce_sum(known, 2, keepdims=True)
    mean = tf.reduce_sum(attributes * known, 2, keepdims=True) / mass
    mean = tf.where(mass > 0, mean, -np.inf)[:, 1:]
    z = (floats[:, 1:] - mean) / deviations[:, None]
    nearness = tf.reduce_sum(1e3 / (1 + 10 * z * z), 1)
    return tf.stack([likeness, nearness], 1)


def blend(weights: tf.Tensor, known: tf.Tensor, ages: tf.Tensor, contexts: tf.Tensor) -> tf.Tensor:
    """[B, C] weights of each query's buckets, summed.

    Args:
        weights: [buckets, C].
        known: [B, H] bool, of the recent items those that are there.
        ages: [B, H] seconds, infinite for none.
        contexts: [B, X] number of each `key=value`, -1 for those without a bucket.
    """
    latest = tf.pad(ages, [[0, 0], [0, 1]], constant_values=np.inf)[:, 0]
    count = tf.reduce_sum(tf.cast(known, tf.float32), 1)
    # Lengths count from their bound on, gaps beyond it.
    bounds = tf.constant(np.stack([GAPS, LENGTHS - 0.5]), tf.float32)
    place = tf.raw_ops.LowerBound(sorted_inputs=bounds, values=tf.stack([latest, count]))
    first_length = 1 + len(GAPS) + 1
    first_context = first_length + len(LENGTHS) + 1
    gap, length = tf.unstack(place + tf.constant([[1], [first_length]]), axis=0)
    # The last row, of nothing, is that of contexts without a bucket.
    contexts = tf.where(contexts < 0, weights.shape[0], first_context + contexts)
    rows = tf.concat([tf.stack([tf.zeros_like(gap), gap, length], 1), contexts], 1)
    return tf.reduce_sum(tf.gather(tf.pad(weights, [[0, 1], [0, 0]]), rows), 1)


def embedding(sources: tf.Tensor, tastes: tf.Tensor, targets: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """[B, 2, S] what the embedding adds to the scores: sequence, taste.

    Args:
        sources: [B, E, D] vectors of the latest items, 0 for none.
        tastes: [B, H, D] vectors of all recent items, likewise.
        targets: [B, S, D] vectors of the candidates.
        known: [B, H] bool, of the recent items those that are there.
    """
    attention = 0.4 * 0.8 ** tf.range(tf.shape(sources)[1], dtype=tf.float32)
    count = tf.maximum(tf.reduce_sum(tf.cast(known, tf.float32), 1), 1)
    sequence = tf.reduce_sum(sources * attention[:, None], 1)
    taste = tf.reduce_sum(tastes, 1) * (0.5 * tf.math.rsqrt(count))[:, None]
    return tf.matmul(tf.stack([sequence, taste], 1), targets, transpose_b=True)


def _column(*values: float) -> tf.Tensor:
    return tf.constant(values, tf.float32)[:, None]
