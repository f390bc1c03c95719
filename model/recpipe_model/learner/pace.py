"""How many events are tested: fewer when the learner is behind, so that learning never waits."""

import random

SLOWEST = 0.01
LAG_SECONDS = 1.0


class Pace:
    """The share of events to test, from the lag of what was just learned.

    Falls by half with each batch that comes late, recovers by a tenth of the way with each in time.
    """

    def __init__(self, rate: float, seed: int = 0) -> None:
        self._most, self.rate = rate, rate
        self._choose = random.Random(seed)

    def follow(self, lag: float) -> None:
        """Takes the lag of a batch, in seconds."""
        if lag > LAG_SECONDS:
            self.rate = max(self.rate / 2, min(SLOWEST, self._most))
        else:
            self.rate = min(self.rate + 0.1 * (self._most - self.rate) + 1e-3, self._most)

    @property
    def in_time(self) -> bool:
        """Whether the learner tests as much as it is asked to."""
        return self.rate >= self._most

    def tests_next(self) -> bool:
        return self.rate >= 1.0 or self._choose.random() < self.rate
