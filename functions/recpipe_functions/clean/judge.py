"""The bot filter over batches: what it learns is kept in the store, so that a crash changes no verdict.

What is known of a user goes up to the place of the newest event that it was learned from. An event that comes
again is in it already: it teaches nothing, and its verdict is the one that its deduplication marker keeps. A
marker without verdict is a human's, as nearly all are. Verdicts and lessons are written in one step, before
outputs are stored; so it matters neither where a crash fell nor in which batches the events come again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import msgspec

from recpipe.bus import Place, Record, is_behind
from recpipe.records import CleanEvent
from recpipe.spec import PipelineSpec
from recpipe.store import Keys
from recpipe_functions.clean.bots import HUMAN, BotFilter, Judgement, Watch
from recpipe_functions.clean.crowd import Crowd
from recpipe_functions.store import BatchStore

KEPT_FOR = timedelta(hours=1)
"""Longer than a session's longest silence: what has expired would not have counted."""
CROWD_KEPT_FOR = timedelta(days=30)

Known = TypeVar("Known")


class Kept(msgspec.Struct, Generic[Known], array_like=True):
    """What is known, and the place of the newest event that it was learned from."""

    known: Known
    newest: Place = ()


class Marker(msgspec.Struct, array_like=True):
    """Of an event id: the event that came first with it, and what was thought of that one."""

    place: Place
    judgement: Judgement = HUMAN


_WATCH = msgspec.msgpack.Decoder(Kept[Watch])
_CROWD = msgspec.msgpack.Decoder(Kept[Crowd])
_MARKER = msgspec.msgpack.Decoder(Marker)
_ENCODER = msgspec.msgpack.Encoder()


class Judge:
    """Deduplicates and judges the events of one pipeline."""

    def __init__(self, spec: PipelineSpec, keys: Keys, store: BatchStore) -> None:
        self._bots = BotFilter(spec.cleaning.bots)
        self._window = spec.cleaning.deduplication_window
        self._keys, self._store = keys, store

    def rejects(self, judgement: Judgement) -> bool:
        return self._bots.rejects(judgement)

    async def judge(self, events: Sequence[tuple[Record, CleanEvent]]) -> list[Judgement | None]:
        """For each event what is thought of it, or None where it is a duplicate."""
        if not self._bots.enabled:
            return [judgement if first else None for first, judgement in await self._claim(events)]
        markers, (watches, crowds) = await asyncio.gather(self._claim(events), self._recall(events))
        verdicts: dict[str, bytes] = {}
        judgements: list[Judgement | None] = []
        for (record, event), (first, judgement) in zip(events, markers, strict=True):
            if not first:
                judgements.append(None)
                continue
            watch, crowd, place = watches[record.key], crowds[record.partition], record.place
            if not is_behind(place, watch.newest):
                judgement, watch.known, learned = self._bots(event, watch.known, crowd.known)
                watch.newest = place
                if not is_behind(place, crowd.newest):
                    crowd.known, crowd.newest = learned, place
                if judgement != HUMAN:
                    verdicts[self._keys.seen(event["event_id"])] = _ENCODER.encode(Marker(place, judgement))
            judgements.append(judgement)
        await self._store.set(
            (verdicts, self._window),
            ({self._keys.bot(user): _ENCODER.encode(watch) for user, watch in watches.items()}, KEPT_FOR),
            (
                {self._keys.crowd(number): _ENCODER.encode(crowd) for number, crowd in crowds.items()},
                CROWD_KEPT_FOR,
            ),
        )
        return judgements

    async def _recall(
        self, events: Sequence[tuple[Record, CleanEvent]]
    ) -> tuple[dict[str, Kept[Watch]], dict[int, Kept[Crowd]]]:
        """What is known of the users and partitions."""
        users = list(dict.fromkeys(record.key for record, _ in events))
        partitions = list(dict.fromkeys(record.partition for record, _ in events))
        watches, crowds = await self._store.get(
            [self._keys.bot(user) for user in users],
            [self._keys.crowd(partition) for partition in partitions],
        )
        return (
            {user: _read(_WATCH, value) or Kept(Watch()) for user, value in zip(users, watches, strict=True)},
            {
                number: _read(_CROWD, value) or Kept(Crowd())
                for number, value in zip(partitions, crowds, strict=True)
            },
        )

    async def _claim(self, events: Iterable[tuple[Record, CleanEvent]]) -> list[tuple[bool, Judgement]]:
        """For each event whether it is the first with its id, and what its marker says that was thought of it.

        A marker holds the place of the event that set it: one that comes again finds its own, and is no
        duplicate of itself.
        """
        mine = [(event, Marker(record.place)) for record, event in events]
        claims = [(self._keys.seen(event["event_id"]), _ENCODER.encode(marker)) for event, marker in mine]
        earlier = [_read(_MARKER, value) for value in await self._store.claim(claims, self._window)]
        return [
            (there is None or there.place == marker.place, there.judgement if there else HUMAN)
            for (_, marker), there in zip(mine, earlier, strict=True)
        ]


def _read(decoder: "msgspec.msgpack.Decoder[Known]", value: bytes | None) -> Known | None:
    """What was kept; nothing where another version wrote it, for it expires soon."""
    try:
        return decoder.decode(value) if value else None
    except msgspec.MsgspecError:
        return None
