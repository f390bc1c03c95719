"""What is learned from each record, with nothing of buses, stores or files in it."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from recpipe.records import FeatureRow, Impression, Item
from recpipe.spec import RecommenderPipeline
from recpipe.status import LearnerStatus
from recpipe_model.hybrid import HybridModel, Settings
from recpipe_model.learner.drift import Drift
from recpipe_model.learner.exposures import Exposures, Shown
from recpipe_model.learner.pace import Pace
from recpipe_model.learner.prequential import Prequential

REPEATS_REMEMBERED = 20_000


class Memory(msgspec.Struct, frozen=True):
    """What a learner remembers of late, besides its model."""

    recent: list[str]
    """Ids of the rows most recently learned, oldest first: what tells a repeat."""
    shown: dict[str, Shown]
    """What each user was shown last, the longest ago first: what tells a skip."""


class Learner:
    """Tests, then learns; a pure function of its state and the records given to it."""

    def __init__(
        self,
        pipeline: RecommenderPipeline,
        model: HybridModel | None = None,
        test_rate: float | None = None,
    ) -> None:
        """`model` to go on with, and the share of events to test, where it is not the spec's."""
        spec = pipeline.spec
        self.model = model or HybridModel(Settings(dimensions=spec.model.dimensions))
        self._min_weight = spec.model.min_weight
        self._excludes_seen = spec.serving.exclude_seen
        self.pace = Pace(spec.model.test_rate if test_rate is None else test_rate)
        self._hybrid, self._popularity = Prequential(), Prequential()
        self._drift = Drift(spec.model.drift)
        self._exposures = Exposures()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self.learned = 0
        self.repeats = 0
        self._lag = 0.0

    def put_item(self, item: Item) -> None:
        if item["deleted"]:
            self.model.delete_item(item["item_id"])
            return
        self.model.put_item(
            item["item_id"],
            categories=item["categories"],
            attributes=item["attributes"],
            title=item["title"],
            time=item["timestamp"] / 1_000,
        )

    def show(self, impression: Impression) -> None:
        self._exposures.show(impression)

    def learn(self, rows: Iterable[FeatureRow], now: float) -> None:
        """Learns from rows in their order, at `now` (seconds); repeats of a row change nothing."""
        ingested_at = 0
        for row in rows:
            if row["event_id"] in self._recent:
                self.repeats += 1
                continue
            self._remember(row["event_id"])
            self._learn(row)
            self.learned += 1
            ingested_at = row["ingested_at"]
        if ingested_at:
            self._lag = max(now - ingested_at / 1_000, 0.0)
            self.pace.follow(self._lag)

    def _learn(self, row: FeatureRow) -> None:
        item, user, weight = row["item_id"], row["user_id"], row["weight"]
        # Dislike and disinterest are evidence of their own in the user's state; the model takes positives.
        if item is None or weight <= 0 or weight < self._min_weight:
            return
        moment = row["timestamp"] / 1_000
        context = (f"device={row['device']}", f"hour={row['hour']}")
        seen = self.model.seen(user)
        test = bool(len(seen)) and self.pace.tests_next()
        tested = self.model.learn(
            user,
            item,
            moment,
            weight,
            context=context,
            negatives=self._exposures.passed_over(user, item, row["timestamp"]),
            test=test,
            exclude=seen if self._excludes_seen else None,
        )
        if tested:
            self._drift.see(self._hybrid.count(tested.rank))
            self._popularity.count(tested.popularity_rank)

    def _remember(self, event_id: str) -> None:
        self._recent[event_id] = None
        if len(self._recent) > REPEATS_REMEMBERED:
            self._recent.popitem(last=False)

    def status(self, events_per_second: float, model_version: int) -> LearnerStatus:
        return LearnerStatus(
            learned=self.learned,
            repeats=self.repeats,
            items=len(self.model.vocabulary),
            hybrid=self._hybrid.quality,
            popularity=self._popularity.quality,
            test_rate=self.pace.rate,
            events_per_second=events_per_second,
            lag_seconds=self._lag,
            model_version=model_version,
            impressions=self._exposures.impressions,
            clicks=self._exposures.clicks,
            drifted=self._drift.drifted,
            drift_reason=self._drift.reason,
        )

    def memory(self) -> Memory:
        """What a restart needs besides the model and the counts."""
        return Memory(list(self._recent), self._exposures.shown())

    def resume(self, status: LearnerStatus, memory: Memory) -> None:
        """Goes on with the counts of an earlier life."""
        self.learned, self.repeats = status.learned, status.repeats
        self._hybrid = Prequential.of(status.hybrid)
        self._popularity = Prequential.of(status.popularity)
        self._exposures.impressions, self._exposures.clicks = status.impressions, status.clicks
        self._exposures.restore(memory.shown)
        self._recent = OrderedDict.fromkeys(memory.recent)
