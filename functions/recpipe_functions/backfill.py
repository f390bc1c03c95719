"""Clean and features over a file's worth of events, without a bus: the very logic that runs on the stream."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from recpipe.catalogue import Item
from recpipe.records import CleanEvent, Event, FeatureRow
from recpipe.spec import RecommenderPipeline
from recpipe.state import UserState
from recpipe.topics import Topics
from recpipe_functions.clean.bots import BotFilter, Watch
from recpipe_functions.clean.checks import Checks, UnusableError
from recpipe_functions.clean.crowd import Crowd
from recpipe_functions.features.update import Update


class Backfill:
    """Gives the rows and states that the stream would give for the same events in the same order.

    Deduplication goes by arrival (`ingested_at`), as there is no other clock. `states` and `tally` (named as
    on the bus) may be read at any time.
    """

    def __init__(
        self,
        pipeline: RecommenderPipeline,
        items: Mapping[str, Item] | None = None,
        profiles: Mapping[str, dict[str, str]] | None = None,
    ) -> None:
        spec = pipeline.spec
        self._items = items if items and spec.features.items else {}
        self._profiles = profiles if profiles and spec.features.profiles else {}
        self._checks, self._bots = Checks(spec), BotFilter(spec.cleaning.bots)
        self._update = Update(spec.features)
        self._window = spec.cleaning.deduplication_window // timedelta(milliseconds=1)
        self._partition_of = Topics.of(pipeline).events.partition_of
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._watches: defaultdict[str, Watch] = defaultdict(Watch)
        self._crowds: defaultdict[int, Crowd] = defaultdict(Crowd)
        self.states: defaultdict[str, UserState] = defaultdict(UserState)
        self.tally: Counter[str] = Counter()

    def rows(self, events: Iterable[Event]) -> Iterator[FeatureRow]:
        """The feature row of each event that is accepted, as soon as the event is given."""
        for event in events:
            clean = self._cleaned(event)
            if clean is None:
                continue
            user, item = clean["user_id"], clean["item_id"]
            metadata = self._items.get(item) if item is not None else None
            profile = self._profiles.get(user, {})
            self.states[user], row = self._update(self.states[user], clean, metadata, profile)
            self.tally["features.rows"] += 1
            yield row

    def _cleaned(self, event: Event) -> CleanEvent | None:
        try:
            clean = self._checks(event)
        except UnusableError as error:
            self._reject(error.reason)
            return None
        if self._is_duplicate(clean["event_id"], clean["ingested_at"]):
            self.tally["clean.duplicate"] += 1
            return None
        user = clean["user_id"]
        partition = self._partition_of(user)
        judgement, self._watches[user], self._crowds[partition] = self._bots(
            clean, self._watches[user], self._crowds[partition]
        )
        clean["bot_score"] = judgement.score
        if self._bots.rejects(judgement):
            self._reject("bot")
            return None
        self.tally["clean.accepted"] += 1
        return clean

    def _reject(self, reason: str) -> None:
        self.tally["clean.rejected"] += 1
        self.tally[f"clean.rejected.{reason}"] += 1

    def _is_duplicate(self, event_id: str, arrival: int) -> bool:
        """Whether the id is known within the window; it is known from its first event on."""
        while self._seen and next(iter(self._seen.values())) <= arrival - self._window:
            self._seen.popitem(last=False)
        if event_id in self._seen:
            return True
        self._seen[event_id] = arrival
        return False
