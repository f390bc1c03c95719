"""The second line: is a session unlike the others of its partition?

For each feature of a session the median and the median deviation from it are followed online, by a step
up or down an event: one session more or less moves them by a step, however strange it is. A robust
z-score far out adds to a suspicion that stands already; it never rejects by itself.

Ma, Muthukrishnan, Sandler: Frugal Streaming for Estimating Quantiles (2013).
"""

from typing import NamedTuple

MOST = 0.3
"""Score of a session that is as strange as can be."""
_FEWEST_SEEN = 1_000
_STEP_FLOOR = 0.002
_SMALLEST_DEVIATION = 0.05
_NORMAL = 1.4826  # median deviation to standard deviation, for a normal distribution
_COMMON, _STRANGE = 6.0, 12.0


class Crowd(NamedTuple):
    """What sessions are like: for each feature the median and the deviation from it."""

    seen: int = 0
    medians: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    def strangeness(self, features: tuple[float, ...]) -> tuple[float, float]:
        """Score from 0 to MOST, and the largest robust z-score."""
        if self.seen < _FEWEST_SEEN:
            return 0.0, 0.0
        columns = zip(features, self.medians, self.deviations, strict=True)
        worst = max([abs(value - median) / (_NORMAL * deviation) for value, median, deviation in columns])
        return MOST * min(max((worst - _COMMON) / (_STRANGE - _COMMON), 0.0), 1.0), worst

    def learned(self, features: tuple[float, ...]) -> "Crowd":
        """The crowd with one session's features more."""
        if not self.seen:
            return Crowd(1, features, (1.0,) * len(features))
        step = max(1.0 / self.seen, _STEP_FLOOR)
        medians, deviations = [], []
        for value, median, deviation in zip(features, self.medians, self.deviations, strict=True):
            distance = abs(value - median)
            medians.append(median + (step if value > median else -step if value < median else 0.0))
            deviations.append(max(deviation + (step if distance > deviation else -step), _SMALLEST_DEVIATION))
        return Crowd(self.seen + 1, tuple(medians), tuple(deviations))
