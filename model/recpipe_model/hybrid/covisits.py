"""Which items are visited near which: sparse rows of co-visits, bounded per item."""

from typing import ClassVar

import numpy as np

from recpipe.live import STRENGTHS, Row
from recpipe_model.hybrid.arrays import Arrays, Floats, Ints, State, grown, kernel
from recpipe_model.hybrid.component import UNIT
from recpipe_model.hybrid.query import Neighbours, Query

_SHRINKAGE = np.float32(5)
_COSINE = np.float32(1e3)
"""Evidence of a cosine of 1."""


class CoVisits(Arrays):
    """Item-to-item evidence from four kinds of co-visit, kept together in one row an item.

    When item j follows history items h at lag d = 1, 2, .. and gap seconds, row h gains an entry
    j and row j an entry h, of event weight w times

        covisit  .8^(d-1) for d <= 10, both ways
        next     .8^(d-1) for d <= 10, only h -> j
        soon     1 / (1 + gap / 120), both ways
        visit    1, both ways (item-kNN)

    A row holds at most `neighbours` entries; when it is full a new neighbour wears down the entry
    of least worth and takes its place when nothing is left of it (Misra and Gries 1982), so that
    lasting neighbours stay and passing ones make room. 24 bytes an entry, 32 an item.

    An entry of the first three counts as the probability M[h, j] / (sum of the row + 5), a visit as
    the cosine M[h, j] / sqrt((v_h + 1) (v_j + 1)) of the items' visits v. Evidence of j is the mean
    over the query's items k = 0, 1, .. of age t, weighted by the event and, with n = 1 / (1 +
    t / 300): covisit and next by .8^k (n + .2), soon by n + .02, visit twice, by .95^k and by n.
    """

    names: ClassVar[tuple[str, ...]] = ("covisit", "next", "soon", "similar", "nearby")
    kept = ("neighbours", "worth", "strengths", "sums", "visits", "used")

    def __init__(self, neighbours: int, window: int, rows: int, shortlist: int) -> None:
        self._window = window
        self._rows = rows
        self._shortlist = shortlist
        self.neighbours: Ints = np.zeros((1, neighbours), np.int32)
        self.worth: Floats = np.zeros((1, neighbours), np.float32)
        self.strengths: Floats = np.zeros((1, neighbours, STRENGTHS), np.float32)
        self.sums: Floats = np.zeros((1, STRENGTHS), np.float32)
        self.visits: Floats = np.zeros(1, np.float32)
        self.used: Ints = np.zeros(1, np.int32)
        self._slot: Ints = np.zeros(1, np.int32)
        self._found: Ints = np.zeros(rows * neighbours, np.int32)
        self._sums: Floats = np.zeros((rows * neighbours, len(self.names)), np.float32)

    def grow(self, items: int) -> None:
        for name in (*self.kept, "_slot"):
            setattr(self, name, grown(getattr(self, name), items))

    def clear(self, item: int) -> None:
        """Forgets the item's row."""
        self.used[item] = 0
        self.sums[item] = 0
        self.visits[item] = 0

    def row(self, item: int) -> Row:
        """The item's row as it is published: evidence, of visits the part that the item itself decides."""
        n = self.used[item]
        totals = (self.sums[item] + _SHRINKAGE) * np.float32(UNIT)
        totals[-1] = np.sqrt(self.visits[item] + 1)
        return Row(item, self.neighbours[item, :n], self.strengths[item, :n] / totals)

    def read(self, query: Query) -> Neighbours:
        """What the rows of the query's items say."""
        which = query.items[: self._rows]
        count = _read(
            self.neighbours,
            self.strengths,
            self.sums,
            self.visits,
            self.used,
            which,
            query.ages,
            query.weights,
            self._slot,
            self._found,
            self._sums,
        )
        return Neighbours(self._found[:count], self._sums[:count])

    def reread(self, query: Query) -> Neighbours:
        """The same of the rows as they are once published, in float16."""
        which = query.items[: self._rows]
        published = np.zeros((len(which), *self.strengths.shape[1:]), np.float32)
        for k, item in enumerate(which):
            if item >= 0:
                row = self.row(item).strengths.astype(np.float16)
                published[k, : len(row)] = row
        attention = _attention(query.ages[: self._rows], query.weights[: self._rows])
        known = np.where(which >= 0, np.arange(len(which), dtype=np.int32), np.int32(-1))
        count = _gather(
            self.neighbours[which],
            published,
            self.used[which],
            known,
            attention,
            self._slot,
            self._found,
            self._sums,
        )
        return Neighbours(self._found[:count], self._sums[:count])

    def propose(self, found: Neighbours, exclude: Ints) -> Ints:
        """[n] the neighbours of most evidence that are not in `exclude`, at most `shortlist`."""
        return _propose(found.items, found.evidence, exclude, self._slot, self._shortlist)

    def evidence(self, query: Query, candidates: Ints, out: Floats) -> None:
        found = query.neighbours or self.read(query)
        _evidence(found.items, found.evidence, self.visits, self._slot, candidates, out)

    def learn(self, item: int, query: Query, time: float, weight: float) -> None:
        self.visits[item] += weight
        _learn(
            self.neighbours,
            self.worth,
            self.strengths,
            self.sums,
            self.used,
            item,
            query.items[: self._window],
            query.ages,
            np.float32(weight),
        )

    def restore(self, state: State) -> None:
        super().restore(state)
        self._slot = np.zeros(len(self.used), np.int32)


@kernel
def _attention(ages: Floats, weights: Floats) -> Floats:
    """[C, R] attention to each row, in sum 1."""
    attention = np.empty((5, len(ages)), np.float32)
    fast = slow = np.float32(1)
    for k in range(len(ages)):
        near = np.float32(1) / (np.float32(1) + ages[k] / np.float32(300))
        attention[0, k] = attention[1, k] = weights[k] * fast * (near + np.float32(0.2))
        attention[2, k] = weights[k] * (near + np.float32(0.02))
        attention[3, k] = weights[k] * slow
        attention[4, k] = weights[k] * (near + np.float32(0.001))
        fast *= np.float32(0.8)
        slow *= np.float32(0.95)
    for c in range(5):
        attention[c] /= attention[c].sum()
    return attention


@kernel
def _read(
    neighbours: Ints,
    strengths: Floats,
    sums: Floats,
    visits: Floats,
    used: Ints,
    which: Ints,
    ages: Floats,
    weights: Floats,
    slot: Ints,
    found: Ints,
    evidence: Floats,
) -> int:
    factors = _attention(ages[: len(which)], weights[: len(which)])
    for k in range(len(which)):
        for c in range(3):
            factors[c, k] /= (sums[which[k], c] + _SHRINKAGE) * np.float32(UNIT)
        for c in range(3, 5):
            factors[c, k] /= np.sqrt(visits[which[k]] + np.float32(1))
    return _gather(neighbours, strengths, used, which, factors, slot, found, evidence)


@kernel
def _gather(
    neighbours: Ints,
    strengths: Floats,
    used: Ints,
    which: Ints,
    factors: Floats,
    slot: Ints,
    found: Ints,
    evidence: Floats,
) -> int:
    """Collects every neighbour of the rows once with its summed evidence; returns how many there are."""
    count = 0
    for k in range(len(which)):
        h = which[k]
        if h < 0:
            continue
        for e in range(used[h]):
            j = neighbours[h, e]
            s = slot[j] - 1
            if s < 0:
                s = count
                found[s] = j
                evidence[s] = 0
                count += 1
                slot[j] = count
            x = strengths[h, e]
            evidence[s, 0] += factors[0, k] * x[0]
            evidence[s, 1] += factors[1, k] * x[1]
            evidence[s, 2] += factors[2, k] * x[2]
            evidence[s, 3] += factors[3, k] * x[3]
            evidence[s, 4] += factors[4, k] * x[3]
    for s in range(count):
        slot[found[s]] = 0
    return count


@kernel
def _propose(found: Ints, evidence: Floats, exclude: Ints, slot: Ints, shortlist: int) -> Ints:
    for j in exclude:
        slot[j] = 1
    items = np.empty(len(found), np.int32)
    mass = np.empty(len(found), np.float32)
    count = 0
    for s in range(len(found)):
        if slot[found[s]] == 0:
            items[count] = found[s]
            mass[count] = evidence[s, 0] + evidence[s, 1] + evidence[s, 2]
            count += 1
    for j in exclude:
        slot[j] = 0
    if count > shortlist:
        _largest_first(items, mass, count, shortlist)
    return items[: min(count, shortlist)]


@kernel
def _evidence(
    found: Ints, evidence: Floats, visits: Floats, slot: Ints, candidates: Ints, out: Floats
) -> None:
    for s in range(len(found)):
        slot[found[s]] = s + 1
    for s in range(len(candidates)):
        at = slot[candidates[s]] - 1
        if at >= 0:
            cosine = _COSINE / np.sqrt(visits[candidates[s]] + np.float32(1))
            for c in range(3):
                out[c, s] = evidence[at, c]
            for c in range(3, 5):
                out[c, s] = cosine * evidence[at, c]
    for s in range(len(found)):
        slot[found[s]] = 0


@kernel
def _learn(
    neighbours: Ints,
    worth: Floats,
    strengths: Floats,
    sums: Floats,
    used: Ints,
    item: int,
    history: Ints,
    ages: Floats,
    weight: np.float32,
) -> None:
    lag = weight
    for k in range(len(history)):
        h = history[k]
        close = lag if k < 10 else np.float32(0)
        soon = weight / (np.float32(1) + ages[k] / np.float32(120))
        lag *= np.float32(0.8)
        if h >= 0 and h != item:
            _add(neighbours, worth, strengths, sums, used, h, item, close, close, soon, weight)
            _add(neighbours, worth, strengths, sums, used, item, h, close, np.float32(0), soon, weight)


@kernel
def _add(
    neighbours: Ints,
    worth: Floats,
    strengths: Floats,
    sums: Floats,
    used: Ints,
    h: int,
    j: int,
    covisit: np.float32,
    following: np.float32,
    soon: np.float32,
    visit: np.float32,
) -> None:
    """Adds to entry j of row h."""
    sums[h, 0] += covisit
    sums[h, 1] += following
    sums[h, 2] += soon
    sums[h, 3] += visit
    value = covisit + following + soon + np.float32(0.1) * visit
    at = -1
    for e in range(used[h]):
        if neighbours[h, e] == j:
            at = e
            break
    if at < 0:
        if used[h] < neighbours.shape[1]:
            at = used[h]
            used[h] += 1
        else:
            at = 0
            for e in range(1, used[h]):
                if worth[h, e] < worth[h, at]:
                    at = e
            worth[h, at] -= value
            if worth[h, at] > 0:
                return
        neighbours[h, at] = j
        worth[h, at] = 0
        strengths[h, at] = 0
    worth[h, at] += value
    strengths[h, at, 0] += covisit
    strengths[h, at, 1] += following
    strengths[h, at, 2] += soon
    strengths[h, at, 3] += visit


@kernel
def _largest_first(found: Ints, mass: Floats, count: int, k: int) -> None:
    """Moves the k of greatest mass to the front, in no order (quickselect, Hoare 1961)."""
    low, high = 0, count - 1
    while low < high:
        pivot = mass[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while mass[i] > pivot:
                i += 1
            while mass[j] < pivot:
                j -= 1
            if i <= j:
                mass[i], mass[j] = mass[j], mass[i]
                found[i], found[j] = found[j], found[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return
