"""The rhythm of a user's hand: are the gaps between deliberate events too regular?

People's gaps are spread over orders of magnitude (about log-normal, the logarithm's standard deviation
0.5 to 1.5); a script's are all alike, or one of a few. Both show in the last few gaps, each kept as one
byte on a logarithmic scale.

Gianvecchio, Wang: Detecting Covert Timing Channels: An Entropy-Based Approach (CCS 2007) uses entropy
in this way; the bins are theirs in spirit only.
"""

from collections import Counter
from math import log, log2, sqrt

MOST_GAPS = 32
FEWEST_GAPS = 20
"""Gaps below which nothing is said; a clock of whole seconds must fill all of MOST_GAPS."""
LONGEST_GAP = 30 * 60_000
"""Milliseconds; a longer silence begins a new session."""
_SHORTEST_GAP = 10
_RATIO = log(1.05)

# Score 1 at the first figure, 0 at the second. Of 30,000 simulated humans of 20 gaps each, those with the
# steadiest hand (spread 0.3) come down to 0.12 and 2.5 bits, those with 0.4 to 0.18 and 2.8 bits.
_SPREAD = (0.10, 0.25)
_ENTROPY = (1.75, 2.5)


def gap_byte(milliseconds: int) -> int:
    """A gap on a scale where one step is five percent: 10 ms is 0, half an hour 248."""
    return min(max(round(log(max(milliseconds, 1) / _SHORTEST_GAP) / _RATIO), 0), 255)


def moments(gaps: bytes) -> tuple[float, float]:
    """Mean and standard deviation of the gaps' natural logarithms (milliseconds)."""
    mean = sum(gaps) / len(gaps)
    variance = sum([gap * gap for gap in gaps]) / len(gaps) - mean * mean
    return mean * _RATIO + log(_SHORTEST_GAP), sqrt(max(variance, 0.0)) * _RATIO


def entropy(gaps: bytes) -> float:
    """Shannon entropy of the gaps, in bits."""
    return -sum(count / len(gaps) * log2(count / len(gaps)) for count in Counter(gaps).values())


def regularity(gaps: bytes, spread: float, *, coarse: bool) -> tuple[float, str]:
    """Score from 0 to 1, and what it stands on.

    Args:
        gaps: the last gaps, see `gap_byte`.
        spread: their logarithms' standard deviation.
        coarse: the clock gives whole seconds: people's gaps then repeat, and entropy says nothing.
    """
    if len(gaps) < (MOST_GAPS if coarse else FEWEST_GAPS):
        return 0.0, ""
    score = _ramp(spread, *_SPREAD)
    if score > 0.0 or coarse:
        return score, f"{len(gaps)} gaps vary by {spread:.0%}"
    bits = entropy(gaps)
    return _ramp(bits, *_ENTROPY), f"{len(gaps)} gaps have {bits:.1f} bits of entropy"


def _ramp(value: float, one: float, zero: float) -> float:
    return min(max((zero - value) / (zero - one), 0.0), 1.0)
