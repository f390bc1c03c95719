"""Which items a query may be answered with, joined with what neighbour rows say of them."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Candidates:
    """S distinct items.

    Attributes:
        items: [S] indices.
        allowed: [S] whether they may be recommended.
        evidence: [C, S] of co-visits.
        recent: [H] where among them each recent item is.
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
    shortlist: int,
) -> Candidates:
    """Finds the distinct candidates and sums their evidence.

    Args:
        recent: [H] items of the query, which are candidates.
        always: [A] items that are candidates of every query.
        neighbours: [E] items of neighbour rows; the `shortlist` of most evidence are candidates.
        evidence: [C, E] for each neighbour; its first three rows count for the shortlist.
        excluded: [X] items never to be recommended, nor in the shortlist.
        deleted: [Y] items never to be recommended.
    """
    parts = [recent, always, neighbours, excluded, deleted]
    distinct, place = tf.unique(tf.concat(parts, 0))
    size = tf.size(distinct)
    recent, always, neighbours, excluded, deleted = tf.split(place, [tf.size(part) for part in parts], num=5)
    components = evidence.shape[0]
    segments = neighbours + size * tf.range(components)[:, None]
    sums = tf.math.unsorted_segment_sum(
        tf.reshape(evidence, [-1]), tf.reshape(segments, [-1]), components * size
    )
    sums = tf.reshape(sums, [components, -1])

    def among(places: tf.Tensor) -> tf.Tensor:
        counts = tf.raw_ops.DenseBincount(input=places, size=size, weights=tf.constant([], tf.float32))
        return counts > 0

    out = among(excluded)

    # The places of recent and always are the first: items are numbered as they appear.
    first = tf.reduce_max(always) + 1
    mass = tf.where(out, 0.0, tf.reduce_sum(sums[:3], 0))
    least = tf.raw_ops.NthElement(input=mass, n=tf.minimum(shortlist, size) - 1, reverse=True)
    shortlisted = (mass > 0) & (mass >= least)
    chosen = tf.where(shortlisted | (tf.range(size) < first))[:, 0]
    return Candidates(
        items=tf.gather(distinct, chosen),
        allowed=~tf.gather(out | among(deleted), chosen),
        evidence=tf.gather(sums, chosen, axis=1),
        recent=recent,
    )
