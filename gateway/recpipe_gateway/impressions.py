"""What was shown, on its way to the learner; it never holds up an answer."""

import asyncio
import logging
from collections.abc import Sequence

from recpipe.bus import Bus, Message
from recpipe.records import Impression
from recpipe.schema import IMPRESSION
from recpipe.topics import Topic
from recpipe.worker import OUTAGES
from recpipe_gateway.coalescer import Coalescer, OverloadedError
from recpipe_gateway.metrics import IMPRESSIONS

log = logging.getLogger(__name__)

BATCH, WAITING = 500, 10_000
"""Impressions in one call of the bus, and impressions that may wait; more are dropped and counted."""
REST_SECONDS = 0.05
"""Between two calls: each has a cost of its own here, in the bus and in the learner, and no answer waits for it.
Nobody clicks so soon after an answer."""


class Impressions:
    """Records impressions behind the answers."""

    def __init__(self, bus: Bus, topic: Topic) -> None:
        self._bus, self._topic = bus, topic
        self._publisher: Coalescer[Message, None] = Coalescer(self._publish, batch=BATCH, waiting=WAITING)

    def record(self, impression: Impression) -> None:
        """Returns at once; what cannot be stored is dropped and counted."""
        message = Message(impression["user_id"], IMPRESSION.encode(impression))
        try:
            self._publisher.submit(message).add_done_callback(_count)
        except OverloadedError:
            IMPRESSIONS.labels("dropped").inc()

    async def drain(self) -> None:
        await self._publisher.drain()

    async def _publish(self, messages: Sequence[Message]) -> list[None]:
        await self._bus.publish(self._topic, messages, {"gateway.impressions": len(messages)})
        await asyncio.sleep(REST_SECONDS)
        return [None] * len(messages)


def _count(stored: "asyncio.Future[None]") -> None:
    error = stored.exception()
    IMPRESSIONS.labels("dropped" if error else "stored").inc()
    if error and not isinstance(error, OUTAGES):
        log.error("an impression was dropped", exc_info=error)
