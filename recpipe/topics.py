"""The topics of a pipeline: their names, what is in them and who reads them. The one place for it."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from recpipe import schema
from recpipe.schema import Schema
from recpipe.spec import RecommenderPipeline

CLEAN_GROUP = "clean"
FEATURES_GROUP = "features"
LEARNER_GROUP = "learner"


@dataclass(frozen=True)
class Topic:
    """A named, partitioned log of records of one schema; a key's records stay in order."""

    name: str
    schema: Schema
    partitions: int
    groups: tuple[str, ...] = ()
    max_backlog: int = 250_000

    @property
    def is_shared_by_key(self) -> bool:
        """Whether one of its groups may have several members, among which keys are dealt out."""
        return not {CLEAN_GROUP, FEATURES_GROUP}.isdisjoint(self.groups)

    def partition_of(self, key: str) -> int:
        return zlib.crc32(key.encode()) % self.partitions

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Topics:
    """All topics of one pipeline, left to right."""

    events: Topic
    clean: Topic
    features: Topic
    items: Topic
    impressions: Topic
    rejected: Topic

    @classmethod
    def of(cls, pipeline: RecommenderPipeline) -> "Topics":
        def topic(name: str, record: Schema, *groups: str) -> Topic:
            events = pipeline.spec.events
            return Topic(f"{pipeline.name}-{name}", record, events.partitions, groups, events.max_backlog)

        return cls(
            events=topic("events", schema.EVENT, CLEAN_GROUP),
            clean=topic("clean", schema.CLEAN, FEATURES_GROUP),
            features=topic("features", schema.FEATURES, LEARNER_GROUP),
            items=topic("items", schema.ITEM, LEARNER_GROUP),
            impressions=topic("impressions", schema.IMPRESSION, LEARNER_GROUP),
            rejected=topic("rejected", schema.REJECTED),
        )

    def __iter__(self) -> Iterator[Topic]:
        return iter((self.events, self.clean, self.features, self.items, self.impressions, self.rejected))
