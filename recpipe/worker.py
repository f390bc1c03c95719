"""How a part reads the bus: join a group; receive, handle, acknowledge. Outages pause it and lose nothing."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from recpipe.bus import Bus, BusFullError, BusUnavailableError, Record, Subscription
from recpipe.topics import Topic

log = logging.getLogger(__name__)

OUTAGES = (BusUnavailableError, BusFullError, RedisError, OSError)
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
RECEIVE_SECONDS = 0.5


async def subscribed(
    bus: Bus, topics: Sequence[Topic], group: str, stop: asyncio.Event, instance: int = 0, instances: int = 1
) -> Subscription | None:
    """Joins a group as `Bus.subscribe`, however long the bus is out or another member holds the place.

    None once `stop` is set.
    """

    async def join() -> Subscription:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await bus.subscribe(topics, group, instance, instances)
            except OUTAGES as error:
                pause = await _paused(pause, error)

    joining, stopping = asyncio.create_task(join()), asyncio.create_task(stop.wait())
    await asyncio.wait((joining, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if joining.done():
        return joining.result()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    return None


async def work(
    subscription: Subscription,
    handle: Callable[[Sequence[Record]], Awaitable[None]],
    stop: asyncio.Event,
    limit: int = 256,
) -> None:
    """Feeds batches to `handle`, which acknowledges them, until `stop` is set.

    Where the bus or the store is out, the same records are handled again after a growing, jittered
    pause: `handle` must bear repetition.
    """
    pause = FIRST_PAUSE_SECONDS
    waiting: Sequence[Record] = ()
    while not stop.is_set():
        try:
            waiting = waiting or await subscription.receive(limit, RECEIVE_SECONDS)
            if waiting:
                await handle(waiting)
                waiting = ()
            pause = FIRST_PAUSE_SECONDS
        except OUTAGES as error:
            pause = await _paused(pause, error)


async def _paused(seconds: float, error: Exception) -> float:
    """Waits about so long for an outage to end, and says how long to wait for the next one."""
    log.warning("paused for %.1f s: %s", seconds, error)
    await asyncio.sleep(seconds * random.uniform(0.5, 1.0))
    return min(seconds * 2, LONGEST_PAUSE_SECONDS)
