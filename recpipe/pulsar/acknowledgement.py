"""Which of a subscription's message ids to acknowledge, once records have been handled.

What is redelivered replaces what was delivered before: a broker counts a batch as acknowledged only when
all ids of one delivery are.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

from recpipe.topics import Topic

Place = tuple[int, ...]
"""Partition, then position: recpipe.bus.Record.place."""
Handled = Iterable[tuple[Topic, Place]]
Done = list[tuple[Topic, Any]]


class Acknowledgement(Protocol):
    """Remembers message ids (opaque here) between delivery and acknowledgement."""

    def delivered(self, topic: Topic, place: Place, message_id: Any) -> None: ...

    def handled(self, records: Handled) -> Done:
        """The ids to acknowledge now."""
        ...


class EachRecord:
    """Every id by itself, in any order: for members that share partitions."""

    def __init__(self) -> None:
        self._ids: dict[tuple[Topic, Place], Any] = {}

    def delivered(self, topic: Topic, place: Place, message_id: Any) -> None:
        self._ids[topic, place] = message_id

    def handled(self, records: Handled) -> Done:
        return [
            (topic, self._ids.pop((topic, place))) for topic, place in records if (topic, place) in self._ids
        ]


class UpToRecord:
    """One id a partition, for it and all before it: what lies behind a gap waits until the gap is closed."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Topic, int], dict[Place, Any]] = defaultdict(dict)
        self._behind: dict[tuple[Topic, int], dict[Place, Any]] = defaultdict(dict)

    def delivered(self, topic: Topic, place: Place, message_id: Any) -> None:
        partition = topic, place[0]
        self._behind[partition].pop(place, None)
        self._waiting[partition][place] = message_id

    def handled(self, records: Handled) -> Done:
        touched = set()
        for topic, place in records:
            partition = topic, place[0]
            if place in self._waiting[partition]:
                self._behind[partition][place] = self._waiting[partition].pop(place)
                touched.add(partition)
        return [(topic, last) for topic, number in touched for last in self._last_before_gap((topic, number))]

    def _last_before_gap(self, partition: tuple[Topic, int]) -> list[Any]:
        first_waiting = min(self._waiting[partition], default=None)
        behind = self._behind[partition]
        settled = [place for place in behind if first_waiting is None or place < first_waiting]
        if not settled:
            return []
        last = behind[max(settled)]
        for place in settled:
            del behind[place]
        return [last]
