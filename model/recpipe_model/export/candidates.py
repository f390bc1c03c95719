"""Which items each query may be answered with, joined with what neighbour rows say of them."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Candidates:
    """M items for each of B queries, distinct but for `nothing` where a query has fewer.

    Attributes:
        items: [B, M] indices.
        allowed: [B, M] whether they may be recommended.
        evidence: [B, C, M] of co-visits.
        recent: [B, H] where among them each recent item is.
    """

    items: tf.Tensor
    allowed: tf.Tensor
    evidence: tf.Tensor
    recent: tf.Tensor


def join(
    recent: tf.Tensor,
    always: tf.Tensor,
    neighbours: tf.Tensor,
    evidence: tf.Tensor,
    excluded: tf.Tensor,
    deleted: tf.Tensor,
    nothing: tf.Tensor,
    shortlist: int,
) -> Candidates:
    """Finds each query's distinct candidates and sums their evidence.

    Args:
        recent: [B, H] items of the queries, which are candidates.
        always: [A] items that are candidates of every query; the last is `nothing`.
        neighbours: [B, E] items of neighbour rows; the `shortlist` of most evidence are candidates.
        evidence: [B, C, E] for each neighbour; its first three rows count for the shortlist.
        excluded: [B, X] items never to be recommended, nor in the shortlist.
        deleted: [Y] items never to be recommended.
        nothing: the greatest index, which no item has.
    """
    batch = tf.shape(recent)[0]
    queries = tf.range(batch)
    parts = [recent, _shared(always, batch), neighbours, excluded, _shared(deleted, batch)]
    items = tf.concat(parts, 1)
    # An item of a query is one number, so that all queries are joined at once.
    stride = tf.cast(nothing, tf.int64) + 1
    pairs = tf.cast(items, tf.int64) + (tf.cast(queries, tf.int64) * stride)[:, None]
    distinct, place = tf.unique(tf.reshape(pairs, [-1]))
    size = tf.size(distinct)
    place = tf.reshape(place, tf.shape(items))
    recent, always, neighbours, excluded, deleted = tf.split(
        place, [tf.shape(part)[1] for part in parts], axis=1, num=5
    )
    # Pairs are numbered as they appear: query by query, and of each the recent and the always ones first.
    bounds = tf.concat([[0], tf.reduce_max(place, 1) + 1], 0)
    begin = bounds[:-1, None]
    components = evidence.shape[1]
    rows = (size * tf.range(components))[:, None]
    sums = tf.math.unsorted_segment_sum(
        tf.reshape(evidence, [-1]), tf.reshape(neighbours[:, None] + rows, [-1]), components * size
    )

    def among(places: tf.Tensor) -> tf.Tensor:
        counts = tf.raw_ops.DenseBincount(
            input=tf.reshape(places, [-1]), size=size, weights=tf.constant([], tf.float32)
        )
        return counts > 0

    out = among(excluded)
    mass = tf.where(out, 0.0, tf.reduce_sum(tf.reshape(sums[: 3 * size], [3, size]), 0))
    mass = _padded(mass, 0.0, [bounds], ["ROW_SPLITS"])
    longest = tf.shape(mass)[1]
    least = tf.raw_ops.NthElement(input=mass, n=tf.minimum(shortlist, longest) - 1, reverse=True)
    shortlisted = (mass > 0) & (mass >= least[:, None])
    first = tf.reduce_max(always, 1, keepdims=True) - begin
    query, chosen = tf.unstack(
        tf.cast(tf.where(shortlisted | (tf.range(longest) <= first)), tf.int32), num=2, axis=1
    )
    chosen = _padded(
        chosen + tf.gather(bounds, query), always[0, -1], [batch, query], ["FIRST_DIM_SIZE", "VALUE_ROWIDS"]
    )
    return Candidates(
        items=tf.cast(tf.gather(distinct, chosen) % stride, tf.int32),
        allowed=~tf.gather(out | among(deleted), chosen),
        evidence=tf.gather_nd(sums, (chosen[:, None] + rows)[..., None]),
        recent=recent - begin,
    )


def _shared(items: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    return tf.broadcast_to(items, [batch, tf.size(items)])


def _padded(values: tf.Tensor, default: tf.Tensor, partition: list[tf.Tensor], kinds: list[str]) -> tf.Tensor:
    """[B, longest] rows of values, one after the other in `values`, padded with the default."""
    return tf.raw_ops.RaggedTensorToTensor(
        shape=tf.constant([-1, -1]),
        values=values,
        default_value=default,
        row_partition_tensors=partition,
        row_partition_types=kinds,
    )
