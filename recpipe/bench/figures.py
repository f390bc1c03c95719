"""Latencies as people and machines read them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Quantiles of measured times, in milliseconds."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """By nearest rank; raises ValueError for no measurement at all."""
        if not seconds:
            raise ValueError("nothing was measured")
        ordered = sorted(seconds)

        def at(quantile: float) -> float:
            return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)] * 1_000

        return cls(len(ordered), at(0.5), at(0.9), at(0.99), ordered[-1] * 1_000)
