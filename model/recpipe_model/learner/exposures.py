"""What each user was shown last: clicks on it close the loop, what was skipped above one is a negative."""

from collections import OrderedDict
from collections.abc import Mapping

from recpipe.records import Impression

ATTENTION_MS = 30 * 60_000
Shown = tuple[int, tuple[str, ...]]
"""When an impression was (ms since the epoch), and its items, best first."""


class Exposures:
    """The latest impression of each of the most recent users."""

    def __init__(self, users: int = 50_000) -> None:
        self._users = users
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self.impressions = 0
        self.clicks = 0

    def show(self, impression: Impression) -> None:
        self.impressions += 1
        self._shown[impression["user_id"]] = (impression["timestamp"], tuple(impression["items"]))
        self._shown.move_to_end(impression["user_id"])
        while len(self._shown) > self._users:
            self._shown.popitem(last=False)

    def shown(self) -> dict[str, Shown]:
        """What `restore` goes on with."""
        return dict(self._shown)

    def restore(self, shown: Mapping[str, Shown]) -> None:
        self._shown = OrderedDict(shown)

    def passed_over(self, user: str, item: str, timestamp: int) -> tuple[str, ...]:
        """Items ranked above the one that was taken and not taken themselves; empty if it was not shown."""
        shown_at, items = self._shown.get(user, (0, ()))
        if item not in items or not 0 <= timestamp - shown_at <= ATTENTION_MS:
            return ()
        self.clicks += 1
        return items[: items.index(item)]
