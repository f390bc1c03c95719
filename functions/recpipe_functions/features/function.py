"""The features function: clean events in, states and feature rows out."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
from redis.asyncio import Redis

from recpipe.bus import Bus, Message, Record, Subscription, is_behind
from recpipe.catalogue import ITEM_DECODER, Item
from recpipe.records import CleanEvent
from recpipe.schema import CLEAN, FEATURES, UnreadableRecordError
from recpipe.spec import RecommenderPipeline
from recpipe.state import UserState
from recpipe.store import Keys
from recpipe.topics import Topics
from recpipe_functions.features.update import Update
from recpipe_functions.metrics import observe
from recpipe_functions.rejection import rejection
from recpipe_functions.store import BatchStore

log = logging.getLogger(__name__)

ITEM_SECONDS = 5.0
"""How long metadata is taken from memory before the store is asked again."""
MOST_ITEMS = 20_000

_PROFILE = msgspec.json.Decoder(dict[str, str])
T = TypeVar("T")


class Features:
    """Enriches batches: rows are published, then states written, then the events acknowledged.

    A state's position is the place of its newest event on the events topic. A clean event that is in the
    state already had its row published before, be it that it comes again after a crash here or that clean
    stored it twice; one that is not gives the very same row again.
    """

    def __init__(
        self, pipeline: RecommenderPipeline, bus: Bus, subscription: Subscription, store: Redis
    ) -> None:
        self._topics, self._keys = Topics.of(pipeline), Keys(pipeline.name)
        self._spec = pipeline.spec.features
        self._update = Update(self._spec)
        self._bus, self._subscription, self._store = bus, subscription, BatchStore(store)
        self._items: dict[str, Item | None] = {}
        self._items_since = 0.0

    async def handle(self, records: Sequence[Record]) -> None:
        """Gives each event its row; counts as `repeat` those whose row and effect were there already."""
        begun = time.monotonic()
        tally: Counter[str] = Counter()
        events: list[tuple[Record, CleanEvent]] = []
        rejected: list[Message] = []
        for record in records:
            try:
                events.append((record, CLEAN.decode(record.value)))  # type: ignore[arg-type]
            except UnreadableRecordError as error:
                rejected.append(rejection(record, "features", "malformed", str(error), tally))
        states, profiles = await self._read(events)
        rows: list[Message] = []
        changed: set[str] = set()
        for record, event in events:
            user, state, place = record.key, states[record.key], tuple(event["place"])
            if is_behind(place, state.position):
                tally["features.repeat"] += 1
                continue
            item = self._items.get(event["item_id"] or "")
            states[user], row = self._update(state, event, item, profiles.get(user, {}))
            states[user].position = place
            changed.add(user)
            rows.append(Message(user, FEATURES.encode(row)))
        if rows:
            await self._bus.publish(self._topics.features, rows)
        written = {self._keys.state(user): states[user].encode() for user in changed}
        await self._store.set((written, self._spec.state_ttl))
        # A record is acknowledged once, so it counts once: as a row, however often its row was published.
        tally["features.rows"] = len(events)
        outputs = {self._topics.rejected: rejected} if rejected else None
        await self._subscription.acknowledge(records, outputs, tally)
        observe("features", tally, begun, (event["ingested_at"] for _, event in events))

    async def _read(
        self, events: Sequence[tuple[Record, CleanEvent]]
    ) -> tuple[dict[str, UserState], dict[str, dict[str, str]]]:
        """The users' states and profiles, and the metadata of items not known just now: one round trip."""
        users = list(dict.fromkeys(record.key for record, _ in events))
        items = self._unknown(event["item_id"] for _, event in events) if self._spec.items else []
        states, profiles, metadata = await self._store.get(
            [self._keys.state(user) for user in users],
            [self._keys.profile(user) for user in users] if self._spec.profiles else [],
            [self._keys.item(item) for item in items],
        )
        for item, value in zip(items, metadata, strict=True):
            self._items[item] = _readable(ITEM_DECODER, value, f"metadata of item {item!r}")
        known = zip(users, profiles, strict=False)
        return (
            {user: _state(user, value) for user, value in zip(users, states, strict=True)},
            {
                user: _readable(_PROFILE, value, f"profile of {user!r}") or {}
                for user, value in known
                if value
            },
        )

    def _unknown(self, items: Iterable[str | None]) -> list[str]:
        now = time.monotonic()
        if now > self._items_since + ITEM_SECONDS or len(self._items) > MOST_ITEMS:
            self._items, self._items_since = {}, now
        return [item for item in dict.fromkeys(items) if item is not None and item not in self._items]


def _state(user: str, value: bytes | None) -> UserState:
    try:
        return UserState.decode(value)
    except ValueError as error:
        log.error("the state of %r begins anew: %s", user, error)
        return UserState()


def _readable(decoder: "msgspec.json.Decoder[T]", value: bytes | None, what: str) -> T | None:
    """What others wrote; nothing where it cannot be read, for it only enriches."""
    try:
        return decoder.decode(value) if value else None
    except msgspec.DecodeError as error:
        log.warning("%s is left out: %s", what, error)
        return None
