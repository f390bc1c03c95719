"""The clean function on one machine: events in, clean and rejected events out."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from recpipe.bus import Bus, Message, Record, Subscription
from recpipe.records import CleanEvent, Rejected
from recpipe.schema import CLEAN, REJECTED
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import CLEAN_GROUP, Topics
from recpipe_functions.clean.bots import BotFilter, Watch
from recpipe_functions.clean.checks import Checks, UnusableError
from recpipe_functions.clean.crowd import Crowd
from recpipe_functions.local import run_function

WATCH_SECONDS = 3_600
_WATCH = msgspec.msgpack.Decoder(Watch)


class Clean:
    """Cleans batches. Markers first, then outputs with the acknowledgement, in one step.

    A marker holds the place of the event that set it, so that an event which comes again after a
    crash knows its own marker and is not taken for a duplicate of itself.
    """

    def __init__(
        self, pipeline: RecommenderPipeline, bus: Bus, subscription: Subscription, store: Redis
    ) -> None:
        self._topics, self._keys = Topics.of(pipeline), Keys(pipeline.name)
        self._checks = Checks(pipeline.spec)
        self._bots = BotFilter(pipeline.spec.cleaning.bots)
        self._crowd = Crowd()
        self._window_ms = round(pipeline.spec.cleaning.deduplication_window.total_seconds() * 1_000)
        self._subscription, self._store = subscription, store

    async def handle(self, records: Sequence[Record]) -> None:
        tally: Counter[str] = Counter()
        clean: list[Message] = []
        rejected: list[Message] = []
        usable: list[tuple[Record, CleanEvent]] = []
        for record in records:
            try:
                usable.append((record, self._checks(record.key, record.value)))
            except UnusableError as error:
                rejected.append(_rejected(record, error, tally))
        earlier, watches = await self._look_up(usable)
        for (record, event), marker in zip(usable, earlier, strict=True):
            if marker is not None and marker != _place(record):
                tally["clean.duplicate"] += 1
            elif verdict := self._judge(event, watches):
                rejected.append(_rejected(record, verdict, tally))
            else:
                tally["clean.accepted"] += 1
                clean.append(Message(record.key, CLEAN.encode(event)))
        outputs = {self._topics.clean: clean, self._topics.rejected: rejected}
        await self._subscription.acknowledge(records, {t: m for t, m in outputs.items() if m}, tally)
        await self._keep(watches)

    def _judge(self, event: CleanEvent, watches: dict[str, Watch]) -> UnusableError | None:
        """Scores the event, and says why it is rejected where it is."""
        if not self._bots.enabled:
            return None
        user = event["user_id"]
        judgement, watches[user], self._crowd = self._bots(event, watches[user], self._crowd)
        event["bot_score"] = judgement.score
        if self._bots.rejects(judgement):
            return UnusableError("bot", f"score {judgement.score:.2f}: {', '.join(judgement.reasons)}")
        return None

    async def _look_up(
        self, events: Sequence[tuple[Record, CleanEvent]]
    ) -> tuple[list[bytes | None], dict[str, Watch]]:
        """Who claimed each event id before, and what is known of the users: one round trip."""
        users = list(dict.fromkeys(event["user_id"] for _, event in events)) if self._bots.enabled else []
        pipe = self._store.pipeline(transaction=False)
        for record, event in events:
            key = self._keys.seen(event["event_id"])
            pipe.set(key, _place(record), nx=True, get=True, px=self._window_ms)
        for user in users:
            pipe.get(self._keys.bot(user))
        answers: list[Any] = await pipe.execute()
        values = answers[len(events) :]
        watches = {
            user: _WATCH.decode(value) if value else Watch()
            for user, value in zip(users, values, strict=True)
        }
        return answers[: len(events)], watches

    async def _keep(self, watches: dict[str, Watch]) -> None:
        """After the acknowledgement: a crash in between forgets a batch, in the humans' favour."""
        if watches:
            pipe = self._store.pipeline(transaction=False)
            for user, watch in watches.items():
                pipe.set(self._keys.bot(user), msgspec.msgpack.encode(watch), ex=WATCH_SECONDS)
            await pipe.execute()


def _place(record: Record) -> bytes:
    return f"{record.partition}:{record.position}".encode()


def _rejected(record: Record, error: UnusableError, tally: Counter[str]) -> Message:
    tally["clean.rejected"] += 1
    tally[f"clean.rejected.{error.reason}"] += 1
    whole: Rejected = {
        "user_id": record.key,
        "stage": "clean",
        "reason": error.reason,
        "detail": error.detail,
        "timestamp": int(time.time() * 1_000),
        "value": record.value,
    }
    return Message(record.key, REJECTED.encode(whole))


if __name__ == "__main__":
    run_function("clean", lambda topics: topics.events, CLEAN_GROUP, Clean)
