"""What the bus still holds for the learner, read again: every topic and partition, merged by time."""

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from recpipe.bus import Bus, Record
from recpipe.schema import FEATURES, IMPRESSION, ITEM
from recpipe.topics import Topic, Topics
from recpipe_model.learner.learner import Learner

CHUNK = 32
"""Lessons given at once: whoever shares the process has a turn after them."""
_KINDS = (ITEM, IMPRESSION, FEATURES)
"""Of lessons of one time, items come first and rows last."""


class Lesson(NamedTuple):
    """A record as the learner takes it."""

    time: int
    """Milliseconds since the epoch: of a row its arrival."""
    kind: int
    content: Any
    partition: str
    position: str

    @classmethod
    def of(cls, record: Record) -> "Lesson":
        schema = record.topic.schema
        content: Any = schema.decode(record.value)
        time = content["ingested_at" if schema is FEATURES else "timestamp"]
        return cls(time, _KINDS.index(schema), content, partition_of(record), record.position)

    @property
    def is_row(self) -> bool:
        return _KINDS[self.kind] is FEATURES


def topics_of(topics: Topics) -> Sequence[Topic]:
    """The topics that the learner reads."""
    return topics.items, topics.features, topics.impressions


def teach(learner: Learner, lessons: Sequence[Lesson], now: float | None = None) -> None:
    """In order of time; `now` in seconds, where None each row counts as learned when it came."""
    in_order = sorted(lessons, key=lambda lesson: (lesson.time, lesson.kind))
    for kind, alike in groupby(in_order, key=lambda lesson: _KINDS[lesson.kind]):
        some = list(alike)
        if kind is FEATURES:
            learner.learn([row.content for row in some], some[-1].time / 1_000 if now is None else now)
            continue
        for lesson in some:
            if kind is ITEM:
                learner.put_item(lesson.content)
            else:
                learner.show(lesson.content)


def partition_of(record: Record) -> str:
    """The record's partition, as checkpoints name it."""
    return _name(record.topic, record.partition)


def order(position: str) -> tuple[int, ...]:
    """Positions of one partition, so that they compare; none comes before all."""
    return tuple(map(int, position.split("-"))) if position else ()


class Past:
    """What is on the topics that the learner reads.

    Args:
        bus: whose groups are left alone.
        topics: of the pipeline.
        after: positions by partition, beyond which to read; from the earliest where there is none.
        until: positions by partition, up to which to read; partitions that have none are left out.
            None reads everything that there is for now.
    """

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        after: Mapping[str, str] | None = None,
        until: Mapping[str, str] | None = None,
    ) -> None:
        self._bus, self._until = bus, until
        self._partitions = [
            (topic, number)
            for topic in topics_of(topics)
            for number in range(topic.partitions)
            if until is None or _name(topic, number) in until
        ]
        self.positions: dict[str, str] = dict(after or {})
        """By partition, of the newest lesson given."""

    async def lessons(self) -> AsyncIterator[list[Lesson]]:
        """In order of time, as far as partitions keep it, some at once. Raises BusUnavailableError."""
        sources = [self._source(*partition) for partition in self._partitions]
        heads: list[tuple[int, int, int, Lesson]] = []
        for number, source in enumerate(sources):
            if first := await anext(source, None):
                heapq.heappush(heads, (first.time, first.kind, number, first))
        given: list[Lesson] = []
        while heads:
            *_, number, lesson = heads[0]
            self.positions[lesson.partition] = lesson.position
            given.append(lesson)
            if following := await anext(sources[number], None):
                heapq.heapreplace(heads, (following.time, following.kind, number, following))
            else:
                heapq.heappop(heads)
            if len(given) == CHUNK or not heads:
                yield given
                given = []

    async def _source(self, topic: Topic, number: int) -> AsyncIterator[Lesson]:
        name = _name(topic, number)
        last = order(self._until[name]) if self._until is not None else None
        async for records in self._bus.history(topic, number, self.positions.get(name, "")):
            for record in records:
                if last is not None and order(record.position) > last:
                    return
                yield Lesson.of(record)


def _name(topic: Topic, partition: int) -> str:
    return f"{topic.name}:{partition}"
