"""What items are about: shared categories, attributes and title words, and near numbers."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from zlib import crc32

import numpy as np

from recpipe_model.hybrid.arrays import Arrays, Doubles, Floats, Ints, State, grown, kernel
from recpipe_model.hybrid.query import Query
from recpipe_model.hybrid.vocabulary import packed, unpacked

_WORD = re.compile(r"\w{3,}")


class Content(Arrays):
    """Likeness to the user's profile, from metadata alone: it ranks an item nobody has seen.

    content  cosine of the items' tf-idf vectors, mean over the query's items weighted .9^k, x 1e3
    numbers  1e3 / (1 + 10 z^2) with z the distance from the profile's mean in deviations

    Tokens are hashed, the numeric attributes are the first `numbers` names met. 4 bytes a token
    and a number of each item.
    """

    names: ClassVar[tuple[str, ...]] = ("content", "numbers")
    kept = ("tokens", "frequency", "numbers", "moments")

    def __init__(self, tokens: int, buckets: int, numbers: int) -> None:
        self._numeric: list[str] = []
        self.tokens: Ints = np.full((1, tokens), -1, np.int32)
        self.frequency: Floats = np.zeros(buckets + 1, np.float32)  # the last counts described items
        self.numbers: Floats = np.full((1, numbers), np.nan, np.float32)
        self.moments: Doubles = np.zeros((3, numbers))  # count, sum, sum of squares
        self._rarity = self.rarity()
        self._deviations = self.deviations()
        self._stale = False  # the two above
        self._profile: Floats = np.zeros(buckets, np.float32)

    def grow(self, items: int) -> None:
        self.tokens = grown(self.tokens, items, -1)
        self.numbers = grown(self.numbers, items, np.nan)

    def describe(
        self, item: int, categories: Sequence[str], attributes: Mapping[str, str | float], title: str
    ) -> None:
        """Sets the item's metadata."""
        self.clear(item)
        words = [f"category={name}" for name in categories]
        words += [f"{name}={value}" for name, value in attributes.items() if isinstance(value, str)]
        words += [f"title={word}" for word in _WORD.findall(title.lower())]
        buckets = dict.fromkeys(crc32(word.encode()) % len(self._profile) for word in words)
        tokens = list(buckets)[: self.tokens.shape[1]]
        self.tokens[item, : len(tokens)] = tokens
        self.frequency[[*tokens, -1]] += 1
        self._stale = True
        for name, value in attributes.items():
            if isinstance(value, str):
                continue
            if name not in self._numeric and len(self._numeric) < self.numbers.shape[1]:
                self._numeric.append(name)
            if name in self._numeric:
                column = self._numeric.index(name)
                self.numbers[item, column] = value
                self.moments[:, column] += 1, value, value * value

    def clear(self, item: int) -> None:
        """Forgets the item's metadata."""
        tokens = self.tokens[item][self.tokens[item] >= 0]
        if len(tokens):
            self.frequency[[*tokens, -1]] -= 1
        known = ~np.isnan(self.numbers[item])
        old = self.numbers[item, known].astype(np.float64)
        self.moments[:, known] -= [np.ones_like(old), old, old * old]
        self.tokens[item] = -1
        self.numbers[item] = np.nan
        self._stale = True

    def rarity(self) -> Floats:
        """[buckets] inverse document frequency of each token."""
        rarity: Floats = np.log1p(self.frequency[-1] / (self.frequency[:-1] + 1))
        return rarity

    def deviations(self) -> Floats:
        """[numbers] standard deviation of each numeric attribute."""
        n = np.maximum(self.moments[0], 1)
        variance = self.moments[2] / n - (self.moments[1] / n) ** 2
        deviations: Floats = np.sqrt(np.maximum(variance, 1e-12)).astype(np.float32)
        return deviations

    def evidence(self, query: Query, candidates: Ints, out: Floats) -> None:
        if self._stale:
            self._rarity, self._deviations, self._stale = self.rarity(), self.deviations(), False
        _evidence(
            self.tokens,
            self._rarity,
            self.numbers,
            self._deviations,
            query.items,
            self._profile,
            candidates,
            out,
        )

    def learn(self, item: int, query: Query, time: float, weight: float) -> None: ...

    def state(self) -> State:
        return super().state() | {f"numeric.{name}": array for name, array in packed(self._numeric).items()}

    def restore(self, state: State) -> None:
        super().restore(state)
        self._stale = True
        self._numeric = unpacked({name: state[f"numeric.{name}"] for name in ("bytes", "ends")})


@kernel
def _evidence(
    tokens: Ints,
    rarity: Floats,
    numbers: Floats,
    deviations: Floats,
    items: Ints,
    profile: Floats,
    candidates: Ints,
    out: Floats,
) -> None:
    decay = np.float32(1)
    total = np.float32(1e-6)
    mean = np.zeros(len(deviations), np.float32)
    mass = np.zeros(len(deviations), np.float32)
    for k in range(len(items)):
        h = items[k]
        if h >= 0:
            norm = np.float32(0)
            for t in tokens[h]:  # -1 from the first that is not there
                if t < 0:
                    break
                norm += rarity[t] * rarity[t]
            if norm > 0:
                total += decay
                share = decay / np.sqrt(norm)
                for t in tokens[h]:
                    if t < 0:
                        break
                    profile[t] += share * rarity[t]
            for i in range(len(deviations)):
                if not np.isnan(numbers[h, i]):
                    mean[i] += decay * numbers[h, i]
                    mass[i] += decay
        decay *= np.float32(0.9)
    for s in range(len(candidates)):
        j = candidates[s]
        norm = np.float32(0)
        dot = np.float32(0)
        for t in tokens[j]:
            if t < 0:
                break
            norm += rarity[t] * rarity[t]
            dot += rarity[t] * profile[t]
        if norm > 0:
            out[0, s] = np.float32(1e3) * dot / (total * np.sqrt(norm))
        for i in range(len(deviations)):
            if mass[i] > 0 and not np.isnan(numbers[j, i]):
                z = (numbers[j, i] - mean[i] / mass[i]) / deviations[i]
                out[1, s] += np.float32(1e3) / (1 + 10 * z * z)
    for h in items:
        if h >= 0:
            for t in tokens[h]:
                if t < 0:
                    break
                profile[t] = 0
