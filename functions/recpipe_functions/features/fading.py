"""Scores that fade, kept as moments.

A sum of events, each halved every half-life, is kept as the moment at which it will have faded to one.
Such a number stays as it is while time passes, and does not depend on the order of events: a late one
adds what it would have left. An event of weight one is its own timestamp.

Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay: A Practical Time Decay Model for Streaming Systems
(ICDE 2009). Moments and half-lives are milliseconds.
"""

from math import exp2, log2

_HIGHEST_OCTAVE = 64.0  # where a spec's new half-life is shorter, what was kept for the old one looks huge


def moment_of(weight: float, at: int, half_life: int) -> int:
    """The moment at which a positive weight of time `at` will have faded to one."""
    return at + round(half_life * log2(weight))


def joined(one: int, other: int, half_life: int) -> int:
    """The moment of the sum of two scores."""
    return max(one, other) + round(half_life * log2(1.0 + exp2(-abs(one - other) / half_life)))


def score(moment: int, at: int, half_life: int) -> float:
    """What is left at the time `at`."""
    return exp2(min((moment - at) / half_life, _HIGHEST_OCTAVE))
