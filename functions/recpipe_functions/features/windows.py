"""Counts in sliding windows, in two buckets each.

Time is cut into buckets of the window's size. The estimate is this bucket's count and as much of the
previous one's as the window still covers: exact where events are spread evenly over a bucket.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import chain


class Windows:
    """Counts are flat: this and the previous bucket of the first window, then of the second, and so on.

    Example: `Windows([timedelta(hours=1)])` counts in tuples such as (3, 7).
    """

    def __init__(self, sizes: Sequence[timedelta]) -> None:
        self._sizes = [size // timedelta(milliseconds=1) for size in sizes]
        self._nothing = (0,) * (2 * len(sizes))

    def move(self, frequency: dict[str, tuple[int, ...]], last: int, now: int) -> dict[str, tuple[int, ...]]:
        """Counts as of `now` instead of `last`, `now` being no earlier; what is empty is left out."""
        steps = [now // size - last // size for size in self._sizes]
        if not any(steps):
            return frequency
        moved = {name: self._moved(counts, steps) for name, counts in frequency.items()}
        return {name: counts for name, counts in moved.items() if any(counts)}

    def _moved(self, counts: tuple[int, ...], steps: list[int]) -> tuple[int, ...]:
        pairs = zip(self._fitting(counts)[::2], self._fitting(counts)[1::2], steps, strict=True)
        return tuple(
            chain.from_iterable(
                (this, previous) if step == 0 else (0, this) if step == 1 else (0, 0)
                for this, previous, step in pairs
            )
        )

    def add(self, counts: tuple[int, ...] | None, at: int, now: int) -> tuple[int, ...]:
        """One event more at the time `at`; one that is too late for a window leaves it alone."""
        added = list(self._fitting(counts or self._nothing))
        for index, size in enumerate(self._sizes):
            behind = now // size - at // size
            if behind <= 1:
                added[2 * index + behind] += 1
        return tuple(added)

    def estimates(self, counts: tuple[int, ...], now: int) -> list[float]:
        """Events in each window that ends at `now`."""
        return [
            this + previous * (1.0 - now % size / size)
            for this, previous, size in zip(counts[::2], counts[1::2], self._sizes, strict=True)
        ]

    def _fitting(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Counts of another number of windows belong to an earlier spec: they start anew."""
        return counts if len(counts) == len(self._nothing) else self._nothing
