"""The loop of a part that reads the bus: receive, handle, acknowledge; outages pause it and lose nothing."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from recpipe.bus import BusFullError, BusUnavailableError, Record, Subscription

log = logging.getLogger(__name__)

OUTAGES = (BusUnavailableError, BusFullError, RedisError, OSError)
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
RECEIVE_SECONDS = 0.5


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
            log.warning("paused for %.1f s: %s", pause, error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
