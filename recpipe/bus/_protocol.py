"""What the parts ask of a bus; adapters give it on Valkey Streams, Pulsar and others."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from recpipe.topics import Topic


class BusUnavailableError(Exception):
    """The broker could not be reached in time; nothing is known to be stored."""


class BusFullError(Exception):
    """A topic holds as much unread as it may; nothing was stored. Ask again later."""


Place = tuple[int, ...]
"""Partition and position of a record, as numbers."""


class Message(NamedTuple):
    """What is sent: a key (its records stay in order) and an encoded record."""

    key: str
    value: bytes


class Record(NamedTuple):
    """What is received. `position` grows with every record of a partition and is stable across redelivery.

    It is whole numbers joined by dashes, compared number by number.
    """

    topic: Topic
    partition: int
    position: str
    key: str
    value: bytes

    @property
    def place(self) -> Place:
        """Within a partition, what came later is greater."""
        return _place(self.partition, self.position)


@lru_cache(maxsize=16_384)
def _place(partition: int, position: str) -> Place:
    """Kept, for a part asks for the place of each record half a dozen times."""
    return partition, *map(int, position.split("-"))


def is_behind(place: Place, newest: Place) -> bool:
    """Whether something that goes up to the place `newest` holds the record at `place`.

    Places of two partitions say nothing of each other: keys move when partitions are added.
    """
    return place[:1] == newest[:1] and place <= newest


class Subscription(Protocol):
    """One member's share of a group's partitions."""

    async def receive(self, limit: int, wait: float) -> list[Record]:
        """Up to `limit` records a partition, in order; waits at most `wait` seconds for the first.

        After a restart the records that were received and not acknowledged come first.
        """
        ...

    async def acknowledge(
        self,
        records: Sequence[Record],
        outputs: Mapping[Topic, Sequence[Message]] | None = None,
        tally: Mapping[str, int] | None = None,
    ) -> None:
        """Lets records go, once `outputs` are stored; adds to the pipeline's counts.

        In one atomic step where the bus can (Valkey); else outputs first, so that a crash repeats
        and never loses.
        """
        ...


class Bus(Protocol):
    """A broker connection."""

    async def create(self, topics: Sequence[Topic]) -> None:
        """Makes topics and their groups where they are missing.

        Where topics are deployed, as on Pulsar, raises BusUnavailableError until they are.
        """
        ...

    async def publish(
        self, topic: Topic, messages: Sequence[Message], tally: Mapping[str, int] | None = None
    ) -> None:
        """Returns when all are stored; raises BusFullError or BusUnavailableError."""
        ...

    async def subscribe(
        self, topics: Sequence[Topic], group: str, instance: int = 0, instances: int = 1
    ) -> Subscription:
        """Joins a group; instance i of n reads the partitions p with p % n == i of every topic."""
        ...

    def history(self, topic: Topic, partition: int, after: str = "") -> AsyncIterator[list[Record]]:
        """What a partition still holds beyond a position, in order, until there is no more for now.

        Whoever has read it: no group is touched. Raises BusUnavailableError.
        """
        ...

    async def backlog(self, topic: Topic, group: str) -> int:
        """Records of a topic that the group has not acknowledged."""
        ...

    async def tally(self) -> dict[str, int]:
        """The pipeline's counts so far, by name."""
        ...

    async def close(self) -> None: ...
