"""A user's history as the model takes it: distinct items, newest first."""

from collections.abc import Sequence
from typing import NamedTuple

from recpipe.horizon import Horizon
from recpipe.state import Touch

MOST_RECENT = 50
"""Items the model looks at for what comes next (H); for the taste, at all."""


class Recent(NamedTuple):
    """n items, newest first, with seconds since each one's latest event and its greatest weight."""

    items: list[str]
    ages: list[float]
    weights: list[float]


def recent(
    history: Sequence[Touch], now: float, min_weight: float = 0.0, horizon: Horizon = Horizon.NEXT
) -> Recent:
    """What the model is asked about, as the learner sees it.

    Args:
        history: newest first.
        now: seconds since the epoch.
        min_weight: events below it, and events that speak against their item, are not taken.
        horizon: what is asked.
    """
    most = MOST_RECENT if horizon is Horizon.NEXT else len(history)
    times: dict[str, int] = {}
    weights: dict[str, float] = {}
    for touch in history:
        if not touch.item_id or touch.weight <= 0 or touch.weight < min_weight:
            continue
        if touch.item_id in times:
            weights[touch.item_id] = max(weights[touch.item_id], touch.weight)
        elif len(times) < most:
            times[touch.item_id] = touch.time
            weights[touch.item_id] = touch.weight
    return Recent(list(times), [max(now - time, 0.0) for time in times.values()], list(weights.values()))
