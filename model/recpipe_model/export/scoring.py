"""The hybrid's formulae in TensorFlow: each function computes what its namesake in recpipe_model.hybrid does.

Evidence has the component first, [C, S], since TensorFlow is quickest along long last dimensions.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recpipe_model.hybrid.arrays import Floats
from recpipe_model.hybrid.blend import GAPS, LENGTHS
from recpipe_model.hybrid.component import UNIT

NONE = np.finfo(np.float32).max
"""In place of a numeric attribute that an item has not: finite, so that 0 times it is 0."""


def columns(rows: tf.Tensor, wanted: Sequence[int]) -> tf.Tensor:
    """[W, S] the wanted columns of finite rows [S, C].

    By a product with zeros and ones, which is exact: TensorFlow takes ten times as long to transpose.
    """
    chosen = np.eye(rows.shape[1], dtype=np.float32)[list(wanted)]
    return tf.matmul(tf.constant(chosen), rows, transpose_b=True)


def covisits(strengths: tf.Tensor, ages: tf.Tensor, weights: tf.Tensor, limit: int) -> tf.Tensor:
    """Evidence [5, E] of each entry of the rows: covisit, next, soon, similar, nearby (see `cosines`).

    Args:
        strengths: [E, 4] of the entries, equally many of each of the R rows.
        ages, weights: [R] of the recent items; weight 0 for none.
        limit: the greatest R.
    """
    k = np.arange(limit)
    fast, slow, one = 0.8**k, 0.95**k, np.ones(limit)
    # attention = weight (slope near + offset)
    slope = tf.constant(np.stack([fast, fast, one, 0 * one, one]), tf.float32)
    offset = tf.constant(np.stack([0.2 * fast, 0.2 * fast, 0.02 * one, slow, 0.001 * one]), tf.float32)
    rows = tf.size(ages)
    attention = weights * (slope[:, :rows] / (1 + ages / 300) + offset[:, :rows])
    attention = tf.math.divide_no_nan(attention, tf.reduce_sum(attention, 1, keepdims=True))
    strengths = columns(strengths, [0, 1, 2, 3, 3])
    size = tf.shape(strengths)[1] // tf.maximum(rows, 1)
    return tf.reshape(tf.reshape(strengths, [5, rows, size]) * attention[..., None], [5, -1])


def cosines(evidence: tf.Tensor, statistics: tf.Tensor) -> tf.Tensor:
    """The [5, S] evidence with similar and nearby as cosines; `statistics` [4, S] begin with the items' visits."""
    cosine = 1e3 * tf.math.rsqrt(statistics[:1] + 1)
    return tf.concat([evidence[:3], evidence[3:] * cosine], 0)


def trends(statistics: tf.Tensor, totals: tf.Tensor) -> tf.Tensor:
    """Evidence [4, S]: popular, trending, fresh, new.

    Args:
        statistics: [4, S] count, decayed count, events since last seen, seconds since first known.
        totals: [2] summed event weights, all and decayed.
    """
    count, age = tf.split(statistics, 2)
    popularity = count / ((totals + 1) * UNIT)[:, None]
    freshness = _column(1e5, 1e3) / (_column(50, 1) + age * _column(1, 1 / 86400))
    return tf.concat([popularity, freshness], 0)


def repeats(recent: tf.Tensor, ages: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Evidence [2, S]: seen, repeat.

    Args:
        recent: [H] which candidate each recent item is.
        ages: [H] seconds, infinite for none.
        candidates: scalar S.
    """
    k = tf.range(tf.size(ages), dtype=tf.float32)
    repeat = tf.math.unsorted_segment_max(1e3 / ((1 + k) * (1 + ages / 300)), recent, candidates)
    repeat = tf.maximum(repeat, 0)
    return tf.stack([20 * tf.sign(repeat), repeat])


def content(
    tokens: tf.Tensor, floats: tf.Tensor, recent: tf.Tensor, rarity: Floats, deviations: Floats
) -> tf.Tensor:
    """Evidence [2, S]: content, numbers.

    Args:
        tokens: [S, T] one more than each candidate's tokens, 0 for none.
        floats: [1 + N, S] 1 / length of their tf-idf vectors, 0 where that is 0; and numeric
            attributes, NONE for none.
        recent: [H] which candidate each recent item is.
        rarity: [1 + buckets] of each token; none comes first.
        deviations: [N] of the numeric attributes.
    """
    decay = 0.9 ** tf.range(tf.size(recent), dtype=tf.float32)

    mine = tf.gather(tokens, recent)
    attributes = tf.gather(floats, recent, axis=1)
    share = tf.sign(attributes[0]) * decay
    tfidf = tf.gather(rarity, mine) * (attributes[0] * share * (1e3 / (1e-6 + tf.reduce_sum(share))))[:, None]
    profile = tf.math.unsorted_segment_sum(tfidf, mine, len(rarity)) * rarity
    # gather_nd is the quicker one for single numbers
    likeness = tf.reduce_sum(tf.gather_nd(profile, tokens[..., None]), 1) * floats[0]

    known = tf.cast(attributes < NONE, tf.float32) * decay
    mass = tf.reduce_sum(known, 1, keepdims=True)
    mean = tf.reduce_sum(attributes * known, 1, keepdims=True) / mass
    mean = tf.where(mass > 0, mean, -np.inf)[1:]
    z = (floats[1:] - mean) / deviations[:, None]
    nearness = tf.reduce_sum(1e3 / (1 + 10 * z * z), 0)
    return tf.stack([likeness, nearness])


def blend(weights: tf.Tensor, known: tf.Tensor, ages: tf.Tensor, contexts: tf.Tensor) -> tf.Tensor:
    """[C] weights of the query's buckets, summed.

    Args:
        weights: [buckets, C].
        known: [H] bool, of the recent items those that are there.
        ages: [H] seconds, infinite for none.
        contexts: [X] number of each `key=value`, -1 for those without a bucket.
    """
    latest = tf.concat([ages[:1], [np.inf]], 0)[:1]
    count = tf.reduce_sum(tf.cast(known, tf.float32), keepdims=True)
    # Lengths count from their bound on, gaps beyond it.
    bounds = tf.constant(np.stack([GAPS, LENGTHS - 0.5]), tf.float32)
    place = tf.raw_ops.LowerBound(sorted_inputs=bounds, values=tf.stack([latest, count]))
    first_length = 1 + len(GAPS) + 1
    first_context = first_length + len(LENGTHS) + 1
    contexts = tf.boolean_mask(contexts, contexts >= 0)
    first = tf.reshape(place, [-1]) + tf.constant([1, first_length])
    rows = tf.concat([[0], first, first_context + contexts], 0)
    return tf.reduce_sum(tf.gather(weights, rows), 0)


def features(evidence: tf.Tensor) -> tf.Tensor:
    """Evidence on the scale that the blend weighs."""
    return 0.3 * tf.math.log1p(evidence)


def embedding(sources: tf.Tensor, tastes: tf.Tensor, targets: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """[2, S] what the embedding adds to the scores: sequence, taste.

    Args:
        sources: [E, D] vectors of the latest items, 0 for none.
        tastes: [H, D] vectors of all recent items, likewise.
        targets: [S, D] vectors of the candidates.
        known: [H] bool, of the recent items those that are there.
    """
    attention = 0.4 * 0.8 ** tf.range(tf.shape(sources)[0], dtype=tf.float32)
    count = tf.maximum(tf.reduce_sum(tf.cast(known, tf.float32)), 1)
    sequence = tf.matmul(attention[None], sources)
    taste = tf.reduce_sum(tastes, 0, keepdims=True) * (0.5 * tf.math.rsqrt(count))
    return tf.matmul(tf.concat([sequence, taste], 0), targets, transpose_b=True)


def _column(*values: float) -> tf.Tensor:
    return tf.constant(values, tf.float32)[:, None]
