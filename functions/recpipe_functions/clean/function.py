"""The clean function: events in, clean and rejected events out."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

import msgspec
from redis.asyncio import Redis

from recpipe.bus import Bus, Message, Record, Subscription
from recpipe.records import CleanEvent
from recpipe.schema import CLEAN
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import Topics
from recpipe_functions.clean.bots import BotFilter, Watch
from recpipe_functions.clean.checks import Checks, UnusableError
from recpipe_functions.clean.crowd import Crowd
from recpipe_functions.clean.kept import Kept
from recpipe_functions.metrics import observe
from recpipe_functions.rejection import rejection
from recpipe_functions.store import BatchStore

KEPT_FOR = timedelta(hours=1)
"""Longer than a session's longest silence: what has expired would not have counted."""
CROWD_KEPT_FOR = timedelta(days=30)

_WATCH = msgspec.msgpack.Decoder(Kept[Watch])
_CROWD = msgspec.msgpack.Decoder(Kept[Crowd])
_ENCODER = msgspec.msgpack.Encoder()
Known = TypeVar("Known")


class Clean:
    """Cleans batches: claims event ids, judges, keeps what was learned, then acknowledges with the outputs.

    A claim holds the place of the event that made it: one that comes again after a crash finds its own
    claim and is no duplicate of itself. See `Kept` for how it gets the same verdict.
    """

    def __init__(
        self, pipeline: RecommenderPipeline, bus: Bus, subscription: Subscription, store: Redis
    ) -> None:
        self._topics, self._keys = Topics.of(pipeline), Keys(pipeline.name)
        self._checks = Checks(pipeline.spec)
        self._bots = BotFilter(pipeline.spec.cleaning.bots)
        self._window = pipeline.spec.cleaning.deduplication_window
        self._subscription, self._store = subscription, BatchStore(store)

    async def handle(self, records: Sequence[Record]) -> None:
        """Gives each record one verdict: accepted, duplicate or rejected."""
        begun = time.monotonic()
        tally: Counter[str] = Counter()
        clean: list[Message] = []
        rejected: list[Message] = []
        usable: list[tuple[Record, CleanEvent]] = []
        for record in records:
            try:
                usable.append((record, self._checks.record(record.key, record.value)))
            except UnusableError as error:
                rejected.append(rejection(record, "clean", error.reason, error.detail, tally))
        earlier, (watches, crowds) = await asyncio.gather(self._claim(usable), self._recall(usable))
        for (record, event), claim in zip(usable, earlier, strict=True):
            if claim is not None and claim != _place(record):
                tally["clean.duplicate"] += 1
                continue
            if self._bots.enabled:
                watch, crowd = watches[record.key], crowds[record.partition]
                judgement, now_watched, now_crowd = self._bots(event, watch.after, crowd.after)
                place = record.place
                watch.learn(now_watched, place)
                crowd.learn(now_crowd, place)
                event["bot_score"] = judgement.score
                if self._bots.rejects(judgement):
                    detail = f"score {judgement.score}: {', '.join(judgement.reasons)}"
                    rejected.append(rejection(record, "clean", "bot", detail, tally))
                    continue
            tally["clean.accepted"] += 1
            clean.append(Message(record.key, CLEAN.encode(event)))
        await self._keep(watches, crowds)
        outputs = {self._topics.clean: clean, self._topics.rejected: rejected}
        await self._subscription.acknowledge(
            records, {topic: messages for topic, messages in outputs.items() if messages}, tally
        )
        observe("clean", tally, begun, (event["ingested_at"] for _, event in usable))

    async def _claim(self, events: Sequence[tuple[Record, CleanEvent]]) -> list[bytes | None]:
        """For each event the place of the one that had its id before it; its own where it comes again."""
        claims = [(self._keys.seen(event["event_id"]), _place(record)) for record, event in events]
        return await self._store.claim(claims, self._window)

    async def _recall(
        self, events: Sequence[tuple[Record, CleanEvent]]
    ) -> tuple[dict[str, Kept[Watch]], dict[int, Kept[Crowd]]]:
        """What was known of the batch's users and partitions before it."""
        if not self._bots.enabled:
            return {}, {}
        users = {record.key: record for record, _ in reversed(events)}
        partitions = {record.partition: record for record, _ in reversed(events)}
        watches, crowds = await self._store.get(
            [self._keys.bot(user) for user in users],
            [self._keys.crowd(partition) for partition in partitions],
        )
        return (
            dict(zip(users, _before(users.values(), watches, _WATCH, Watch()), strict=True)),
            dict(zip(partitions, _before(partitions.values(), crowds, _CROWD, Crowd()), strict=True)),
        )

    async def _keep(self, watches: dict[str, Kept[Watch]], crowds: dict[int, Kept[Crowd]]) -> None:
        kept = {self._keys.bot(user): _ENCODER.encode(watch) for user, watch in watches.items()}
        crowd = {self._keys.crowd(partition): _ENCODER.encode(each) for partition, each in crowds.items()}
        await asyncio.gather(self._store.set(kept, KEPT_FOR), self._store.set(crowd, CROWD_KEPT_FOR))


def _before(
    firsts: Iterable[Record],
    values: Sequence[bytes | None],
    decoder: "msgspec.msgpack.Decoder[Kept[Known]]",
    nothing: Known,
) -> list[Kept[Known]]:
    """What each of these first records of the batch finds known."""

    def known(first: Record, value: bytes | None) -> Known:
        try:
            return decoder.decode(value).known_to(first) if value else nothing
        except msgspec.MsgspecError:  # another version wrote it; it would have expired soon
            return nothing

    return [Kept.since(known(first, value)) for first, value in zip(firsts, values, strict=True)]


def _place(record: Record) -> bytes:
    return f"{record.partition}:{record.position}".encode()
