"""The clean function: events in, clean and rejected events out."""

import time
from collections import Counter
from collections.abc import Sequence

from redis.asyncio import Redis

from recpipe.bus import Bus, Message, Record, Subscription
from recpipe.records import CleanEvent
from recpipe.schema import CLEAN
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import Topics
from recpipe_functions.clean.checks import Checks, UnusableError
from recpipe_functions.clean.judge import Judge
from recpipe_functions.metrics import observe
from recpipe_functions.rejection import rejection
from recpipe_functions.store import BatchStore


class Clean:
    """Cleans batches: checks, judges, then acknowledges with the outputs.

    An event that comes again after a crash gets the verdict it had (see `judge`), and the clean event made of
    it is the same: a reader knows it by its place.
    """

    def __init__(
        self, pipeline: RecommenderPipeline, bus: Bus, subscription: Subscription, store: Redis
    ) -> None:
        self._topics = Topics.of(pipeline)
        self._checks = Checks(pipeline.spec)
        self._judge = Judge(pipeline.spec, Keys(pipeline.name), BatchStore(store))
        self._subscription = subscription

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
        for (record, event), judgement in zip(usable, await self._judge.judge(usable), strict=True):
            if judgement is None:
                tally["clean.duplicate"] += 1
            elif self._judge.rejects(judgement):
                detail = f"score {judgement.score}: {', '.join(judgement.reasons)}"
                rejected.append(rejection(record, "clean", "bot", detail, tally))
            else:
                tally["clean.accepted"] += 1
                event["bot_score"], event["place"] = judgement.score, record.place
                clean.append(Message(record.key, CLEAN.encode(event)))
        outputs = {self._topics.clean: clean, self._topics.rejected: rejected}
        await self._subscription.acknowledge(
            records, {topic: messages for topic, messages in outputs.items() if messages}, tally
        )
        observe("clean", tally, begun, (event["ingested_at"] for _, event in usable))
