"""The learner's blobs, decoded in the graph: see recpipe.live for their format, all in 32-bit words."""

import struct
from dataclasses import dataclass

import tensorflow as tf

from recpipe.live import ENTRY, LIVE_MAGIC, ROW_MAGIC, STRENGTHS
from recpipe_model.export.tables import Tables

_ROW_HEADER = 4
_TOTALS = 2
_STATISTICS = 4
_POPULAR, _DELETED, _HOT, _NEW = 4, 5, 6, 9
"""Words of the live header that count entries."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the live blob says now; items are int32 indices.

    Attributes:
        weights: [buckets, C] blend weights.
        totals: [2] summed weights of events, all and decayed.
        popular: [P] items.
        deleted: [D] items.
        hot: [n] items whose statistics follow, in ascending order.
        hot_statistics: [n, 4].
        first: [1] item, the first of `new` ones, [1]; the others follow.
        names: [new] ids.
        statistics: [new, 4].
        tokens: [new, tokens] of content, -1 for none.
        numbers: [new, numbers], NaN for none.
        seconds, events: [1] float32, since the export.
    """

    weights: tf.Tensor
    totals: tf.Tensor
    popular: tf.Tensor
    deleted: tf.Tensor
    hot: tf.Tensor
    hot_statistics: tf.Tensor
    first: tf.Tensor
    new: tf.Tensor
    names: tf.Tensor
    statistics: tf.Tensor
    tokens: tf.Tensor
    numbers: tf.Tensor
    seconds: tf.Tensor
    events: tf.Tensor


def live_state(blob: tf.Tensor, tables: Tables) -> LiveState:
    """Decodes a blob; "" and blobs of another version or shape count as that of the export."""
    buckets, components = tables.weights
    prefix = struct.pack("<I3i", LIVE_MAGIC, buckets, components, _TOTALS)
    blob = tf.where(tf.equal(tf.strings.substr(blob, 0, len(prefix)), prefix), blob, tables.live)
    words = tf.io.decode_raw(blob, tf.int32)
    tokens, numbers = tables.settings.tokens, tables.settings.numbers
    # Each section's name, how many words an entry has, and where the header counts the entries.
    sections = [
        *(("sizes", 8, None), ("first", 1, None), ("new", 1, None), ("", 2, None)),
        *(("time", 2, None), ("event", 2, None)),
        *(("weights", buckets * components, None), ("totals", _TOTALS, None)),
        *(("popular", 1, _POPULAR), ("deleted", 1, _DELETED)),
        *(("hot", 1, _HOT), ("hot_statistics", _STATISTICS, _HOT)),
        *(("statistics", _STATISTICS, _NEW), ("tokens", tokens, _NEW), ("numbers", numbers, _NEW)),
        *(("ends", 1, _NEW), ("text", -1, None)),
    ]
    varying = [width if count else 0 for _, width, count in sections]
    fixed = [0 if count else width for _, width, count in sections]
    sizes = fixed + varying * tf.gather(words, [count or 0 for *_, count in sections])
    parts = dict(zip([name for name, *_ in sections], tf.split(words, sizes, num=len(sections)), strict=True))

    starts = tf.concat([[0], parts["ends"]], 0)[:-1]
    text = 4 * (tf.size(words) - tf.size(parts["text"]))
    return LiveState(
        weights=tf.reshape(tf.bitcast(parts["weights"], tf.float32), tables.weights),
        totals=tf.bitcast(parts["totals"], tf.float32),
        popular=parts["popular"],
        deleted=parts["deleted"],
        hot=parts["hot"],
        hot_statistics=_floats(parts["hot_statistics"], _STATISTICS),
        first=parts["first"],
        new=parts["new"],
        names=tf.strings.substr(blob, text + starts, parts["ends"] - starts),
        statistics=_floats(parts["statistics"], _STATISTICS),
        tokens=tf.reshape(parts["tokens"], [-1, tokens]),
        numbers=_floats(parts["numbers"], numbers),
        seconds=tf.cast(tf.bitcast(parts["time"][None], tf.float64) - tables.time, tf.float32),
        events=tf.cast(tf.bitcast(parts["event"][None], tf.int64) - int(tables.event), tf.float32),
    )


def neighbour_rows(rows: tf.Tensor, neighbours: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes rows [B, R] of at most `neighbours` entries.

    Returns:
        Items [B, R * neighbours], and their strengths [B, R * neighbours, STRENGTHS]. Where a row is
        shorter, items of strength 0.
    """
    size = 4 * _ROW_HEADER + neighbours * ENTRY.itemsize
    words = tf.io.decode_raw(rows, tf.int32, fixed_length=size)
    batch = tf.shape(rows)[0]
    entries = tf.reshape(words[..., _ROW_HEADER:], [batch, -1, ENTRY.itemsize // 4])
    items, halves = tf.split(entries, [1, STRENGTHS // 2], 2)
    strengths = tf.reshape(tf.bitcast(halves, tf.float16), [batch, -1, STRENGTHS])
    return items[..., 0], tf.cast(strengths, tf.float32)


def is_row(blobs: tf.Tensor) -> tf.Tensor:
    """Which of the blobs are rows of this version."""
    magic = struct.pack("<I", ROW_MAGIC)
    return tf.equal(tf.strings.substr(blobs, 0, len(magic)), magic)


def _floats(words: tf.Tensor, columns: int) -> tf.Tensor:
    return tf.reshape(tf.bitcast(words, tf.float32), [-1, columns])
