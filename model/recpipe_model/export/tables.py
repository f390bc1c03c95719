"""What is exported of a model, as arrays: its large tables, and the constants of its graph."""

from dataclasses import dataclass

import numpy as np

from recpipe_model.export.scoring import NONE
from recpipe_model.hybrid import HybridModel, Settings
from recpipe_model.hybrid.arrays import Array, Floats
from recpipe_model.hybrid.vocabulary import unpacked


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """A model of N items. Every table has a last row N, of nothing, for items it does not know.

    Attributes:
        settings: the model's.
        components: C names of what is blended.
        weights: [buckets, C - 2] shape of the blend weights in the live blob.
        contexts: `key=value` pairs that have a bucket of their own, in the buckets' order.
        rarity: [1 + token buckets] of each token, 0 of none, which comes first.
        longest: the most tokens that an item has, 1 at least.
        deviations: [numbers] of each numeric attribute.
        common: [taste dimensions] what every history adds to the user's taste, but for its length.
        time: seconds since the epoch of the statistics.
        event: events learned by then.
        live: the live blob of that time.
        large: by name
            names: [N + 1] item ids, UTF-8.
            rows: [N + 1] neighbour rows as they are published.
            statistics: [N + 1, 4] as in a live blob.
            content: [N + 1, tokens + numbers + 2] int32: tokens (-1 for none), and as bits of
                float32: numbers (NONE for none), 1 / length of the tf-idf vector, alive or not.
            source, taste, target: [N + 1, dimensions].
            liked: [N + 1, taste dimensions] of what the user likes at all, each scaled.
            scales: [N + 1] of these; 0 where the item has had no event, or is deleted.
    """

    settings: Settings
    components: tuple[str, ...]
    weights: tuple[int, int]
    contexts: tuple[str, ...]
    rarity: Floats
    longest: int
    deviations: Floats
    common: Floats
    time: float
    event: float
    live: bytes
    large: dict[str, Array]

    @classmethod
    def of(cls, model: HybridModel) -> "Tables":
        """Takes them from a model, which stays as it is."""
        names, arrays = model.export_tables()
        state = model.state()
        contexts = unpacked({part: state[f"blend.contexts.{part}"] for part in ("bytes", "ends")})
        rarity = np.append(np.float32(0), arrays["rarity"]).astype(np.float32)
        return cls(
            settings=model.settings,
            components=model.components,
            weights=(len(arrays["weights"]), len(model.components) - 2),
            contexts=tuple(contexts),
            rarity=rarity,
            longest=int((arrays["tokens"] >= 0).sum(axis=1).max(initial=1)),
            deviations=arrays["deviations"],
            common=arrays["common"],
            time=float(arrays["time"]),
            event=float(arrays["event"]),
            live=model.live(len(names)),
            large={
                "names": np.array([*(name.encode() for name in names), b""], object),
                "rows": np.array([*map(model.row, names), b""], object),
                "content": _content(
                    arrays["tokens"], arrays["numbers"], arrays["statistics"], arrays["alive"], rarity
                ),
                "source": _and_nothing(arrays["source"], 0),
                "taste": _and_nothing(arrays["taste"], 0),
                "target": _and_nothing(arrays["target"], 0),
                "liked": _and_nothing(arrays["liked"], 0),
                "scales": _and_nothing(arrays["scales"], 0),
            },
        )


def _content(tokens: Array, numbers: Array, statistics: Array, alive: Array, rarity: Floats) -> Array:
    length = np.zeros(len(tokens), np.float32)
    for column in tokens.T:
        length += rarity[column + 1] ** 2
    inverse = np.where(length > 0, 1 / np.sqrt(np.maximum(length, 1e-30)), 0)
    numbers = np.where(np.isnan(numbers), NONE, numbers)
    floats = np.column_stack([inverse, numbers, statistics, alive]).astype(np.float32)
    nothing = np.zeros(floats.shape[1], np.float32)
    nothing[1 : 1 + numbers.shape[1]] = NONE
    return np.hstack([_and_nothing(tokens + 1, 0), np.vstack([floats, nothing]).view(np.int32)])


def _and_nothing(table: Array, fill: float) -> Array:
    larger = np.full((len(table) + 1, *table.shape[1:]), fill, table.dtype)
    larger[:-1] = table
    return larger
