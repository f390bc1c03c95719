"""The features function on one machine: clean events in, states and feature rows out."""

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from recpipe.bus import Bus, Message, Record, Subscription
from recpipe.catalogue import ITEM_DECODER, Item
from recpipe.records import CleanEvent
from recpipe.schema import CLEAN, FEATURES
from recpipe.spec import RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys
from recpipe.topics import FEATURES_GROUP, Topics
from recpipe_functions.features.update import Update
from recpipe_functions.local import run_function

ITEMS_CACHED = 20_000
ITEM_SECONDS = 5.0
_NEVER: tuple[float, Item | None] = (0.0, None)
_PROFILE = msgspec.json.Decoder(dict[str, str])


class Features:
    """Enriches batches: rows are published, then states written, then the events acknowledged.

    A state's position says which events are in it. An event that comes again after a crash and is in
    its user's state was published before; one that is not gives the very same row again.
    """

    def __init__(
        self, pipeline: RecommenderPipeline, bus: Bus, subscription: Subscription, store: Redis
    ) -> None:
        self._topics, self._keys = Topics.of(pipeline), Keys(pipeline.name)
        self._spec = pipeline.spec.features
        self._update = Update(pipeline.spec.features)
        self._ttl = round(self._spec.state_ttl.total_seconds())
        self._bus, self._subscription, self._store = bus, subscription, store
        self._items: OrderedDict[str, tuple[float, Item | None]] = OrderedDict()

    async def handle(self, records: Sequence[Record]) -> None:
        tally: Counter[str] = Counter()
        events: list[CleanEvent] = [CLEAN.decode(record.value) for record in records]  # type: ignore[misc]
        states, profiles = await self._read(events)
        rows, changed = [], {}
        for record, event in zip(records, events, strict=True):
            user, item = event["user_id"], event["item_id"]
            state = states[user]
            if state.position and record.place <= state.position:
                tally["features.repeat"] += 1
                continue
            metadata = self._items.get(item or "", _NEVER)[1]
            state, row = self._update(state, event, metadata, profiles.get(user, {}))
            state.position = record.place
            states[user] = changed[user] = state
            rows.append(Message(record.key, FEATURES.encode(row)))
        tally["features.rows"] += len(rows)
        if rows:
            await self._bus.publish(self._topics.features, rows)
            await self._write(changed)
        await self._subscription.acknowledge(records, tally=tally)

    async def _read(
        self, events: Sequence[CleanEvent]
    ) -> tuple[dict[str, UserState], dict[str, dict[str, str]]]:
        """The users' states and profiles, and the items' metadata not known just now: one round trip."""
        users = list(dict.fromkeys(event["user_id"] for event in events))
        profiled = users if self._spec.profiles else []
        unknown = self._unknown(event["item_id"] for event in events) if self._spec.items else []
        keys = [self._keys.state(user) for user in users]
        keys += [self._keys.profile(user) for user in profiled]
        keys += [self._keys.item(item) for item in unknown]
        values: Any = await self._store.mget(keys)
        states = {user: UserState.decode(value) for user, value in zip(users, values, strict=False)}
        profiles = {
            user: _PROFILE.decode(value)
            for user, value in zip(profiled, values[len(users) :], strict=False)
            if value
        }
        self._remember(unknown, values[len(users) + len(profiled) :])
        return states, profiles

    async def _write(self, states: Mapping[str, UserState]) -> None:
        pipe = self._store.pipeline(transaction=False)
        for user, state in states.items():
            pipe.set(self._keys.state(user), state.encode(), ex=self._ttl)
        await pipe.execute()

    def _unknown(self, items: Iterable[str | None]) -> list[str]:
        """Items whose metadata is not in the cache, or was read too long ago."""
        stale = time.monotonic() - ITEM_SECONDS
        wanted = dict.fromkeys(item for item in items if item is not None)
        return [item for item in wanted if self._items.get(item, _NEVER)[0] < stale]

    def _remember(self, items: Sequence[str], values: Sequence[bytes | None]) -> None:
        now = time.monotonic()
        for item, value in zip(items, values, strict=True):
            self._items[item] = (now, ITEM_DECODER.decode(value) if value else None)
            self._items.move_to_end(item)
        while len(self._items) > ITEMS_CACHED:
            self._items.popitem(last=False)


if __name__ == "__main__":
    run_function("features", lambda topics: topics.clean, FEATURES_GROUP, Features)
