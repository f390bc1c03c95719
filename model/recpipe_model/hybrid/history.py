"""Users' recent items, bounded per user and in users."""

from collections import OrderedDict

import numpy as np

from recpipe_model.hybrid.arrays import Array, Doubles, Floats, Ints, State, grown, kernel
from recpipe_model.hybrid.query import EMPTY, Query
from recpipe_model.hybrid.vocabulary import packed, unpacked


class _Recent:
    """One user's distinct items, oldest first, each with its last time and greatest weight."""

    __slots__ = ("count", "items", "times", "weights")

    def __init__(self) -> None:
        self.count = 0
        self.items: Ints = np.zeros(8, np.int32)
        self.times: Doubles = np.zeros(8)
        self.weights: Floats = np.zeros(8, np.float32)

    def add(self, item: int, time: float, weight: float, limit: int) -> None:
        if self.count == len(self.items):
            self.items = grown(self.items, self.count + 1)
            self.times = grown(self.times, self.count + 1)
            self.weights = grown(self.weights, self.count + 1)
        self.count = _push(self.items, self.times, self.weights, self.count, item, time, weight, limit)


class Histories:
    """Least-recently-active users leave first, a user's oldest items leave first."""

    def __init__(self, users: int, items: int) -> None:
        self._users: OrderedDict[str, _Recent] = OrderedDict()
        self._max_users = users
        self._max_items = items

    def __len__(self) -> int:
        return len(self._users)

    def add(self, user: str, item: int, time: float, weight: float) -> None:
        recent = self._users.get(user)
        if recent is None:
            if len(self._users) >= self._max_users:
                self._users.popitem(last=False)
            recent = self._users[user] = _Recent()
        else:
            self._users.move_to_end(user)
        recent.add(item, time, weight, self._max_items)

    def items(self, user: str) -> Ints:
        """[n] every item kept of the user, oldest first."""
        recent = self._users.get(user)
        return EMPTY.items if recent is None else recent.items[: recent.count]

    def query(self, user: str, now: float, limit: int, context: tuple[str, ...] = ()) -> Query:
        """The user's `limit` latest items; an unknown user's query is empty."""
        recent = self._users.get(user)
        if recent is None:
            return Query(EMPTY.items, EMPTY.ages, EMPTY.weights, context)
        latest = slice(max(0, recent.count - limit), recent.count)
        ages = np.maximum(now - recent.times[latest][::-1], 0).astype(np.float32)
        return Query(recent.items[latest][::-1].copy(), ages, recent.weights[latest][::-1].copy(), context)

    def state(self) -> State:
        recents = list(self._users.values())
        columns: dict[str, list[Array]] = {
            "items": [recent.items[: recent.count] for recent in recents],
            "times": [recent.times[: recent.count] for recent in recents],
            "weights": [recent.weights[: recent.count] for recent in recents],
        }
        state = {name: np.concatenate(parts) for name, parts in columns.items()} if recents else {}
        state["counts"] = np.array([recent.count for recent in recents], np.int64)
        return state | packed(list(self._users))

    def restore(self, state: State) -> None:
        self._users.clear()
        start = 0
        for user, count in zip(unpacked(state), state["counts"].tolist(), strict=True):
            recent = self._users[user] = _Recent()
            part = slice(start, start + count)
            recent.count = count
            recent.items = state["items"][part].copy()
            recent.times = state["times"][part].copy()
            recent.weights = state["weights"][part].copy()
            start += count


@kernel
def _push(
    items: Ints,
    times: Doubles,
    weights: Floats,
    count: int,
    item: int,
    time: float,
    weight: float,
    limit: int,
) -> int:
    """Appends the item, or moves it to the end; drops the oldest beyond the limit."""
    gone = -1
    for k in range(count - 1, -1, -1):
        if items[k] == item:
            gone = k
            break
    if gone >= 0:
        weight = max(weight, weights[gone])
    elif count == limit:
        gone = 0
    else:
        gone = count
        count += 1
    for k in range(gone, count - 1):
        items[k] = items[k + 1]
        times[k] = times[k + 1]
        weights[k] = weights[k + 1]
    items[count - 1] = item
    times[count - 1] = time
    weights[count - 1] = weight
    return count
