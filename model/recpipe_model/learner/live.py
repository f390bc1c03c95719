"""What must be fresh, in the store: rows of touched items, the live blob, names, trends, status."""

from itertools import count, takewhile
from typing import Any

import msgspec
from redis.asyncio import Redis

from recpipe.status import LearnerStatus
from recpipe.store import Keys
from recpipe_model.hybrid import HybridModel

POPULAR = 200
_CHUNK = 1_000


class LiveState:
    """Writes the changes since its last call; names before the rows that use them."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._named = 0
        self._exported = -1
        self._unwritten: dict[str, None] = {}

    async def names(self) -> list[str]:
        """Item ids in order of the indices that the store has for them, as far as there is no gap."""
        found: Any = await self._client.hgetall(self._keys.vocabulary)
        names = {int(index): name.decode() for index, name in found.items()}
        return [names[index] for index in takewhile(names.__contains__, count())]

    async def flush(self, model: HybridModel, exported: int) -> None:
        """One round trip a thousand rows; `exported` is how many items every version knows that may be served.

        What could not be written, for an outage, is written by the next call.
        """
        self._unwritten |= dict.fromkeys(model.touched())
        if not self._unwritten and exported == self._exported:
            return
        names = model.vocabulary.names(self._named)
        popular = [[item, 1 / rank] for rank, item in enumerate(model.popular(POPULAR), 1)]
        touched = list(self._unwritten)
        for first in range(0, max(1, len(touched)), _CHUNK):  # once where no row changed
            pipe = self._client.pipeline(transaction=False)
            if first == 0:
                if names:
                    pipe.hset(self._keys.vocabulary, mapping=dict(enumerate(names, self._named)))
                pipe.set(self._keys.live, model.live(exported))
                pipe.set(self._keys.popular, msgspec.json.encode(popular))
            for item in touched[first : first + _CHUNK]:
                pipe.set(self._keys.row(item), model.row(item))
            await pipe.execute()
        self._named += len(names)
        self._exported = exported
        self._unwritten.clear()

    async def report(self, status: LearnerStatus) -> None:
        await self._client.set(self._keys.learner, msgspec.json.encode(status))
