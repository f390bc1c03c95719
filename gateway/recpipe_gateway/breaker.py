"""A circuit breaker: a dead dependency is not asked again at every request (Nygard, Release It!, 2007)."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CircuitOpenError(Exception):
    """The dependency has failed lately and is left alone for a while."""


class CircuitBreaker:
    """Opens after `failures` in a row; then lets one call through after each pause, until one succeeds.

    Args:
        failures: calls in a row that must fail.
        pause: seconds until the first trial; doubled, with jitter, by each trial that fails.
        longest: the longest pause in seconds.
    """

    def __init__(
        self,
        failures: int = 3,
        pause: float = 0.25,
        longest: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._first, self._longest, self._clock = failures, pause, longest, clock
        self._failures = 0
        self._pause = pause
        self._until = 0.0
        self._trying = False

    @property
    def closed(self) -> bool:
        return self._failures < self._limit

    @property
    def admits(self) -> bool:
        """Whether a call made now would be let through."""
        return self.closed or (not self._trying and self._clock() >= self._until)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around a call: raises CircuitOpenError instead of making it, and learns from how it ends."""
        if not self.admits:
            raise CircuitOpenError
        self._trying = not self.closed
        try:
            yield
        except Exception:
            self._fail()
            raise
        else:
            self._failures, self._pause = 0, self._first
        finally:
            self._trying = False

    def _fail(self) -> None:
        self._failures += 1
        if not self.closed:
            self._until = self._clock() + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(self._pause * 2, self._longest)
