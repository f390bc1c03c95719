"""What the functions tell Prometheus, batch by batch."""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import Counter, Histogram

EVENTS = Counter(
    "recpipe_function_events_total", "Events by verdict and reason.", ["function", "verdict", "reason"]
)
BATCH_SECONDS = Histogram(
    "recpipe_function_batch_seconds", "From receiving a batch to its acknowledgement.", ["function"]
)
DELAY_SECONDS = Histogram(
    "recpipe_function_delay_seconds",
    "From the arrival of a batch's oldest event to its acknowledgement.",
    ["function"],
)


def observe(function: str, tally: Mapping[str, int], begun: float, arrivals: Iterable[int]) -> None:
    """One batch that has just been acknowledged.

    Args:
        function: the part of the tally's names before the first dot.
        tally: its counts; `rejected` is the sum of `rejected.REASON` and left out.
        begun: when the batch was received, by the monotonic clock.
        arrivals: when its events arrived, in milliseconds since the Unix epoch.
    """
    for name, count in tally.items():
        _, verdict, *reason = name.split(".")
        if verdict != "rejected" or reason:
            EVENTS.labels(function, verdict, reason[0] if reason else "").inc(count)
    BATCH_SECONDS.labels(function).observe(time.monotonic() - begun)
    if oldest := min(arrivals, default=0):
        DELAY_SECONDS.labels(function).observe(max(time.time() - oldest / 1_000, 0.0))
