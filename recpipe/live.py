"""The learner's live blobs: neighbour rows and the live state, little-endian, in 32-bit words.

The learner encodes them, the model's graph decodes them, and everything in between carries them
unread; only the gateway's degraded answers decode them here. Items are int32 indices.

    row   magic, item, n, 0 | n x (index int32, STRENGTHS x float16)   (12 bytes an entry)
    live  header (see `_HEADER`) | the arrays of `Live` in their order | names in UTF-8

The magic word ends in the format's version, so that a reader refuses what it does not know. A
decoder of fixed size may pad a row with zero bytes and take n from the header.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRENGTHS = 4
ROW_MAGIC = int.from_bytes(b"RRW\x01", "little")
LIVE_MAGIC = int.from_bytes(b"RLV\x01", "little")
ENTRY = np.dtype([("index", "<i4"), ("strength", "<f2", (STRENGTHS,))])

_ROW_HEADER = struct.Struct("<IiiI")
_HEADER = struct.Struct("<I11idq")

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


class FormatError(ValueError):
    """The bytes are not a blob of this format and version."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The neighbours of one item.

    Attributes:
        item: the item's index.
        neighbours: [n] item indices.
        strengths: [n, STRENGTHS] of each kind of co-visit.
    """

    item: int
    neighbours: Ints
    strengths: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """What must be fresh at every request.

    Attributes:
        time: seconds since the epoch of the latest event learned.
        event: how many events have been learned.
        weights: [B, C] blend weights: the shared row, then the context buckets.
        totals: [T] what the statistics are normalised by.
        popular: [P] items that are always candidates.
        deleted: [D] items deleted lately, never to be recommended.
        hot: [n] items touched lately, with their statistics in `hot_statistics` [n, S].
        first: index of the first of `names`; the others follow.
        names: item ids newer than the export, with their statistics [m, S], content tokens
            [m, A] and numeric attributes [m, N].
    """

    time: float
    event: int
    weights: Floats
    totals: Floats
    popular: Ints
    deleted: Ints
    hot: Ints
    hot_statistics: Floats
    first: int
    names: tuple[str, ...]
    new_statistics: Floats
    new_tokens: Ints
    new_numbers: Floats


def encode_row(row: Row) -> bytes:
    """The row as bytes: 16, and 12 for each neighbour."""
    entries = np.empty(len(row.neighbours), ENTRY)
    entries["index"] = row.neighbours
    entries["strength"] = row.strengths
    return _ROW_HEADER.pack(ROW_MAGIC, row.item, len(entries), 0) + entries.tobytes()


def decode_row(blob: bytes) -> Row:
    """The row of the bytes.

    Raises:
        FormatError: when they are not a row of this version.
    """
    if len(blob) < _ROW_HEADER.size:
        raise FormatError(f"neighbour row of {len(blob)} bytes: shorter than its header")
    magic, item, count, _ = _ROW_HEADER.unpack_from(blob)
    if magic != ROW_MAGIC:
        raise FormatError(
            f"neighbour row begins with {magic:#x}, not {ROW_MAGIC:#x}: another format or version"
        )
    if count < 0 or len(blob) != _ROW_HEADER.size + count * ENTRY.itemsize:
        raise FormatError(f"neighbour row of {len(blob)} bytes does not hold its {count} entries")
    entries = np.frombuffer(blob, ENTRY, count, _ROW_HEADER.size)
    return Row(item, entries["index"].astype(np.int32), entries["strength"].astype(np.float32))


def encode_live(live: Live) -> bytes:
    """The live state as bytes."""
    names = [name.encode() for name in live.names]
    ends = np.cumsum([len(name) for name in names], dtype=np.int32)
    text = b"".join(names)
    text += b"\0" * (-len(text) % 4)
    header = _HEADER.pack(
        LIVE_MAGIC,
        *live.weights.shape,
        len(live.totals),
        len(live.popular),
        len(live.deleted),
        *live.hot_statistics.shape,
        live.first,
        len(names),
        live.new_tokens.shape[1],
        live.new_numbers.shape[1],
        live.time,
        live.event,
    )
    floats, ints = np.dtype("<f4"), np.dtype("<i4")
    parts: list[tuple[NDArray[Any], np.dtype[Any]]] = [
        (live.weights, floats),
        (live.totals, floats),
        (live.popular, ints),
        (live.deleted, ints),
        (live.hot, ints),
        (live.hot_statistics, floats),
        (live.new_statistics, floats),
        (live.new_tokens, ints),
        (live.new_numbers, floats),
        (ends, ints),
    ]
    return header + b"".join(array.astype(kind).tobytes() for array, kind in parts) + text


def decode_live(blob: bytes) -> Live:
    """The live state of the bytes.

    Raises:
        FormatError: when they are not a live state of this version.
    """
    if len(blob) < _HEADER.size:
        raise FormatError(f"live state of {len(blob)} bytes: shorter than its header")
    magic, *sizes, time, event = _HEADER.unpack_from(blob)
    if magic != LIVE_MAGIC:
        raise FormatError(
            f"live state begins with {magic:#x}, not {LIVE_MAGIC:#x}: another format or version"
        )
    buckets, components, totals, popular, deleted, hot, statistics, first, new, tokens, numbers = sizes
    shapes = {
        "weights": (buckets, components),
        "totals": (totals,),
        "popular": (popular,),
        "deleted": (deleted,),
        "hot": (hot,),
        "hot_statistics": (hot, statistics),
        "new_statistics": (new, statistics),
        "new_tokens": (new, tokens),
        "new_numbers": (new, numbers),
        "ends": (new,),
    }
    at = _HEADER.size
    arrays: dict[str, NDArray[Any]] = {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        kind = np.dtype("<i4" if name in _INTS else "<f4")
        if min(shape) < 0 or at + 4 * size > len(blob):
            raise FormatError(f"live state of {len(blob)} bytes ends within {name} {shape}")
        arrays[name] = np.frombuffer(blob, kind, size, at).reshape(shape).astype(kind.newbyteorder("="))
        at += 4 * size
    ends = arrays.pop("ends").tolist()
    if at + (ends[-1] if ends else 0) > len(blob):
        raise FormatError(f"live state of {len(blob)} bytes ends within its names")
    names = tuple(blob[at + a : at + b].decode() for a, b in zip([0, *ends], ends, strict=False))
    return Live(time, event, first=first, names=names, **arrays)


_INTS = {"popular", "deleted", "hot", "new_tokens", "ends"}


def approximate(rows: Sequence[bytes], weights: Sequence[float]) -> tuple[Ints, Floats]:
    """What the rows alone say comes next, for answers without the model.

    Args:
        rows: neighbour rows of the user's recent items, newest first; "" and rows of another
            format count as none.
        weights: the events' weights.

    Returns:
        Item indices [n] and their scores [n], best first.
    """
    indices: list[Ints] = []
    scores: list[Floats] = []
    for position, (blob, weight) in enumerate(zip(rows, weights, strict=True)):
        try:
            row = decode_row(blob)
        except FormatError:
            continue
        indices.append(row.neighbours)
        scores.append(row.strengths.sum(axis=1) * np.float32(weight * 0.8**position))
    if not indices:
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    items, inverse = np.unique(np.concatenate(indices), return_inverse=True)
    total = np.bincount(inverse, np.concatenate(scores), len(items)).astype(np.float32)
    order = np.argsort(-total, kind="stable")
    return items[order], total[order]
