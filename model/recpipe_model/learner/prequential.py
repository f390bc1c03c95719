"""Prequential quality: each event is a test before it is a lesson (Gama et al. 2013)."""

import math

from recpipe.status import Quality


class Prequential:
    """Hit rate and NDCG at k with one relevant item; a miss counts as zero."""

    def __init__(self, k: int = 10, tested: int = 0, hits: float = 0.0, gain: float = 0.0) -> None:
        self.k, self.tested, self.hits, self.gain = k, tested, hits, gain

    def count(self, rank: int | None) -> bool:
        """Takes one test's rank, 1 the best; whether it was a hit."""
        hit = rank is not None and rank <= self.k
        self.tested += 1
        if hit and rank is not None:
            self.hits += 1
            self.gain += 1 / math.log2(rank + 1)
        return hit

    @property
    def quality(self) -> Quality:
        tests = max(self.tested, 1)
        return Quality(k=self.k, tested=self.tested, hit_rate=self.hits / tests, ndcg=self.gain / tests)

    @classmethod
    def of(cls, quality: Quality) -> "Prequential":
        """Goes on from what was measured before a restart."""
        tested = quality.tested
        return cls(quality.k, tested, round(quality.hit_rate * tested), quality.ndcg * tested)
