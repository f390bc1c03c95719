"""The admission limit of a user: a token bucket each, so that a hot key cannot hold up the rest."""

import time
from collections import OrderedDict
from collections.abc import Callable


class UserRates:
    """A bucket a user, of one second's tokens (one at least); the users silent longest are forgotten first.

    Args:
        per_second: tokens that a bucket regains each second.
        users: buckets kept.
    """

    def __init__(
        self, per_second: float, users: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._users, self._clock = per_second, users, clock
        self._burst = max(per_second, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, user: str) -> float:
        """Takes a token and answers 0, or the seconds until there is one."""
        now = self._clock()
        tokens, since = self._buckets.pop(user, (self._burst, now))
        tokens = min(tokens + (now - since) * self._rate, self._burst)
        taken = tokens >= 1.0
        self._buckets[user] = (tokens - taken, now)
        if len(self._buckets) > self._users:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1.0 - tokens) / self._rate
