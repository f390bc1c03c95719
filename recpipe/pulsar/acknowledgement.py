"""Which of a consumer's message ids to acknowledge, once records have been handled.

What is redelivered replaces what was delivered before: a broker counts a batch as acknowledged only when
all ids of one delivery are.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Protocol

Place = tuple[int, ...]
"""Partition, then position: recpipe.bus.Record.place."""


class Acknowledgement(Protocol):
    """Remembers ids (opaque here) between delivery and acknowledgement; a stream is a topic's name."""

    def delivered(self, stream: str, place: Place, message_id: Any) -> None: ...

    def handled(self, records: Iterable[tuple[str, Place]]) -> list[Any]:
        """The ids to acknowledge now."""
        ...


class EachRecord:
    """Every id by itself, in any order: for members that share partitions."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, Place], Any] = {}

    def delivered(self, stream: str, place: Place, message_id: Any) -> None:
        self._ids[stream, place] = message_id

    def handled(self, records: Iterable[tuple[str, Place]]) -> list[Any]:
        return [self._ids.pop(record) for record in records if record in self._ids]


class UpToRecord:
    """One id a partition, for it and all before it: what lies behind a gap waits until the gap is closed."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], dict[Place, Any]] = defaultdict(dict)
        self._behind: dict[tuple[str, int], dict[Place, Any]] = defaultdict(dict)

    def delivered(self, stream: str, place: Place, message_id: Any) -> None:
        partition = stream, place[0]
        self._behind[partition].pop(place, None)
        self._waiting[partition][place] = message_id

    def handled(self, records: Iterable[tuple[str, Place]]) -> list[Any]:
        touched = set()
        for stream, place in records:
            partition = stream, place[0]
            if place in self._waiting[partition]:
                self._behind[partition][place] = self._waiting[partition].pop(place)
                touched.add(partition)
        return [each for partition in touched for each in self._last_before_gap(partition)]

    def _last_before_gap(self, partition: tuple[str, int]) -> list[Any]:
        first_waiting = min(self._waiting[partition], default=None)
        behind = self._behind[partition]
        settled = [place for place in behind if first_waiting is None or place < first_waiting]
        if not settled:
            return []
        last = behind[max(settled)]
        for place in settled:
            del behind[place]
        return [last]
