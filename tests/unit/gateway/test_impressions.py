"""Impressions go to the bus at once where few come, and together where many do."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from recpipe.bus import Bus, Message
from recpipe.records import Impression
from recpipe.topics import Topic
from recpipe_gateway.impressions import Impressions


class Calls:
    """A bus that notes how many impressions each call stores."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.called = asyncio.Event()

    async def publish(self, topic: Topic, messages: Sequence[Message], tally: Mapping[str, int]) -> None:
        assert tally == {"gateway.impressions": len(messages)}
        self.sizes.append(len(messages))
        self.called.set()


def impression(number: int) -> Impression:
    return Impression(
        request_id=f"r{number}",
        user_id="u",
        timestamp=number,
        items=["i"],
        scores=[1.0],
        propensity=1.0,
        model_version=1,
        degraded="",
    )


async def test_the_first_is_stored_at_once_and_a_burst_in_one_call() -> None:
    bus = Calls()
    impressions = Impressions(cast(Bus, bus), cast(Topic, None))
    impressions.record(impression(0))
    async with asyncio.timeout(5.0):
        await bus.called.wait()
        for number in range(1, 31):
            impressions.record(impression(number))
            await asyncio.sleep(0)
        await impressions.drain()
    assert bus.sizes == [1, 30]
