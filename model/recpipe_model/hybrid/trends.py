"""How popular an item is, and how lately it was seen."""

from typing import ClassVar

import numpy as np

from recpipe_model.hybrid.arrays import Arrays, Doubles, Floats, Ints, grown, kernel
from recpipe_model.hybrid.component import UNIT
from recpipe_model.hybrid.query import Query

_NEVER = -1e12


class Trends(Arrays):
    """Popularity of all time and lately, and freshness.

    popular   summed event weights / their total
    trending  the same with exponential decay by `half_life` seconds (forward decay, Cormode 2009)
    fresh     1e5 / (50 + events since the item was last seen)
    new       1e3 / (1 + days since the item was first known)

    28 bytes an item.
    """

    names: ClassVar[tuple[str, ...]] = ("popular", "trending", "fresh", "new")
    kept = ("count", "trend", "time", "event", "born", "totals", "top", "used", "hot")

    def __init__(self, half_life: float, popular: int, hot: int) -> None:
        self._rate = 1 / half_life
        self.count: Floats = np.zeros(1, np.float32)
        self.trend: Floats = np.zeros(1, np.float32)
        self.time: Doubles = np.zeros(1)
        self.event: Doubles = np.full(1, _NEVER)
        self.born: Doubles = np.zeros(1)
        self.totals: Doubles = np.zeros(4)  # weight, decayed weight, time, events
        self.top: Ints = np.zeros(popular, np.int32)
        self.used: Ints = np.zeros(1, np.int32)  # of top
        self.hot: Ints = np.full(hot, -1, np.int32)  # ring of the latest items

    def grow(self, items: int) -> None:
        for name in ("count", "trend", "time", "born"):
            setattr(self, name, grown(getattr(self, name), items))
        self.event = grown(self.event, items, _NEVER)

    def appear(self, item: int, time: float) -> None:
        """Notes when the item became known."""
        self.born[item] = time

    def clear(self, item: int) -> None:
        """Forgets the item's popularity."""
        self.count[item] = 0
        self.trend[item] = 0
        self.event[item] = _NEVER

    def popular(self) -> Ints:
        """[n] the items of greatest count, best first, at most the `popular` of the settings."""
        top = self.top[: self.used[0]]
        return top[np.argsort(-self.count[top], kind="stable")]

    def evidence(self, query: Query, candidates: Ints, out: Floats) -> None:
        _evidence(
            self.count, self.trend, self.time, self.event, self.born, self.totals, self._rate, candidates, out
        )

    def learn(self, item: int, query: Query, time: float, weight: float) -> None:
        _learn(
            self.count,
            self.trend,
            self.time,
            self.event,
            self.totals,
            self.top,
            self.used,
            self.hot,
            self._rate,
            item,
            time,
            np.float32(weight),
        )

    def statistics(self, items: Ints) -> Floats:
        """[n, 4] count, decayed count now, events since last seen, seconds since first known."""
        out = np.empty((len(items), 4), np.float32)
        out[:, 0] = self.count[items]
        out[:, 1] = self.trend[items] * np.exp2((self.time[items] - self.totals[2]) * self._rate)
        out[:, 2] = self.totals[3] - self.event[items]
        out[:, 3] = self.totals[2] - self.born[items]
        return out


@kernel
def _learn(
    count: Floats,
    trend: Floats,
    times: Doubles,
    event: Doubles,
    totals: Doubles,
    top: Ints,
    used: Ints,
    hot: Ints,
    rate: float,
    item: int,
    time: float,
    weight: np.float32,
) -> None:
    time = max(time, totals[2])
    count[item] += weight
    trend[item] = trend[item] * np.float32(2.0 ** ((times[item] - time) * rate)) + weight
    times[item] = time
    event[item] = totals[3]
    hot[int(totals[3]) % len(hot)] = item
    totals[0] += weight
    totals[1] = totals[1] * 2.0 ** ((totals[2] - time) * rate) + weight
    totals[2] = time
    totals[3] += 1
    least = 0
    for e in range(used[0]):
        if top[e] == item:
            return
        if count[top[e]] < count[top[least]]:
            least = e
    if used[0] < len(top):
        top[used[0]] = item
        used[0] += 1
    elif count[item] > count[top[least]]:
        top[least] = item


@kernel
def _evidence(
    count: Floats,
    trend: Floats,
    times: Doubles,
    event: Doubles,
    born: Doubles,
    totals: Doubles,
    rate: float,
    candidates: Ints,
    out: Floats,
) -> None:
    popular = np.float32(1 / ((totals[0] + 1) * UNIT))
    trending = np.float32(1 / ((totals[1] + 1) * UNIT))
    for s in range(len(candidates)):
        j = candidates[s]
        out[0, s] = popular * count[j]
        out[1, s] = trending * trend[j] * np.float32(2.0 ** ((times[j] - totals[2]) * rate))
        out[2, s] = np.float32(1e5) / np.float32(50.0 + totals[3] - event[j])
        out[3, s] = np.float32(1e3) / np.float32(1.0 + (totals[2] - born[j]) / 86400.0)
