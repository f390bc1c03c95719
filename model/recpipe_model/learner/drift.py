"""Whether the stream has changed: quality that falls faster than chance would have it."""

import math
from collections import deque

from recpipe import spec

BUCKET = 100
BUCKETS = 200


class Drift:
    """ADWIN over hits, in buckets: two parts of the window whose means differ by more than chance.

    The cut and its confidence are those of Bifet and Gavaldà (2007), section 3; the window is kept
    in equal buckets, at most 20,000 tests, which bounds both memory and the cost of a check.
    """

    def __init__(self, settings: spec.Drift) -> None:
        self._settings = settings
        self._buckets: deque[int] = deque(maxlen=BUCKETS)
        self._hits = self._seen = 0
        self.drifted = False
        self.reason = ""

    def see(self, hit: bool) -> None:
        """Takes one test's outcome; checks after every bucket."""
        if not self._settings.enabled:
            return
        self._hits += hit
        self._seen += 1
        if self._seen == BUCKET:
            self._buckets.append(self._hits)
            self._hits = self._seen = 0
            self._check()

    def _check(self) -> None:
        total, count = sum(self._buckets), len(self._buckets)
        before = 0
        for cut in range(1, count):
            before += self._buckets[cut - 1]
            old, new = before / (cut * BUCKET), (total - before) / ((count - cut) * BUCKET)
            if count * BUCKET >= self._settings.min_events and abs(old - new) > self._bound(
                cut, count, total
            ):
                self.drifted = new < old
                self.reason = f"HR@10 went from {old:.3f} to {new:.3f}" if self.drifted else ""
                for _ in range(cut):  # forget what no longer holds
                    self._buckets.popleft()
                return

    def _bound(self, cut: int, count: int, total: int) -> float:
        """The difference of means that chance explains with confidence 1 - delta."""
        harmonic = 1 / (1 / (cut * BUCKET) + 1 / ((count - cut) * BUCKET))
        mean = total / (count * BUCKET)
        log = math.log(2 * math.log(count * BUCKET) / self._settings.delta)
        return math.sqrt(2 / harmonic * mean * (1 - mean) * log) + 2 / (3 * harmonic) * log
