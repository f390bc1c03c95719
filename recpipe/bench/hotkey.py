"""One user floods a pipeline on Pulsar: what do the others wait for?

Others click at a steady rate, and some of their clicks are followed into recommendations: with nobody flooding,
with one user who sends as many events as all others together or many times as many, and with the same
user under the gateway's limit (`gateway.userEventsPerSecond`).
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recpipe.bench.figures import Latency
from recpipe.bench.hops import fill, follow
from recpipe.bench.running import PIPELINE, Cluster, pipeline_running
from recpipe.bench.stream import name
from recpipe.bench.traffic import click, traffic
from recpipe.local.home import Home

REFUSED = 429
OTHERS, ITEMS = 2_000, 500
FOLLOWED_PER_SECOND = 5
LIMIT = 20.0
"""Events a second of one user that the gateway takes, in the pipeline with a limit."""


@dataclass(frozen=True)
class Flooded:
    """The others' time from a click to a changed recommendation."""

    others: Latency
    hot_events_taken: int
    hot_events_refused: int


@dataclass(frozen=True)
class HotKey:
    others_events_per_second: int
    hot_events_per_second: int
    quiet: Latency
    """Baseline: nobody floods."""
    unlimited: Flooded
    limited: Flooded


async def measure_hotkey(cluster: Cluster, seconds: int, per_second: int) -> HotKey:
    """The hot user sends as many events as all others together: half of the traffic."""
    clicks = seconds * FOLLOWED_PER_SECOND
    async with pipeline_running(PIPELINE, cluster) as home:
        await fill(home)
        async with traffic(home, per_second, _others()):
            quiet = _latency(await follow(home, clicks, "quiet"))
            unlimited = await _flooded(home, clicks, per_second)
    async with pipeline_running(PIPELINE.replace("100000", f"{LIMIT:g}"), cluster) as home:
        await fill(home)
        async with traffic(home, per_second, _others()):
            limited = await _flooded(home, clicks, per_second)
    return HotKey(per_second, per_second, quiet, unlimited, limited)


async def _flooded(home: Home, clicks: int, per_second: int) -> Flooded:
    async with traffic(home, per_second, lambda: click("hot", name(0))) as statuses:
        others = _latency(await follow(home, clicks, "flooded"))
    refused = statuses[REFUSED]
    return Flooded(others, statuses.total() - refused, refused)


def _others() -> Callable[[], bytes]:
    choose = random.Random(0)
    return lambda: click(f"other-{choose.randrange(OTHERS)}", name(choose.randrange(ITEMS)))


def _latency(clicks: Mapping[str, tuple[float, float]]) -> Latency:
    return Latency.of([end - begun for begun, end in clicks.values()])
