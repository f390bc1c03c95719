"""Topics, their policies and their subscriptions."""

from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from recpipe.pulsar.names import TopicName
from recpipe.pulsar.rest import Rest

UNLIMITED = -1
_EARLIEST = {"ledgerId": -1, "entryId": -1, "partitionIndex": -1}


class Retention(msgspec.Struct, frozen=True, rename="camel"):
    """How long a topic keeps what every subscription has acknowledged."""

    retention_time_in_minutes: int
    retention_size_in_m_b: int = msgspec.field(default=UNLIMITED, name="retentionSizeInMB")

    @classmethod
    def of(cls, time: timedelta) -> "Retention":
        """For so long, rounded up to minutes, whatever the size."""
        return cls(-(-time // timedelta(minutes=1)))


class Progress(NamedTuple):
    """How far a subscription has come."""

    entries: int
    """Not acknowledged, as the broker counts: a batch of records is one, until all of it is acknowledged."""
    records: int
    """Not acknowledged, estimated from bytes, as the broker does not count them; exact where it is 0."""
    members: int
    """Consumers connected, counted for each partition."""


class Topics:
    """Persistent, partitioned topics. Policies are a topic's own, so that pipelines can share a namespace."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def all(self, tenant: str, namespace: str) -> list[TopicName]:
        """Partitioned topics of a namespace."""
        found: list[str] = await self._rest.get(f"v2/persistent/{tenant}/{namespace}/partitioned")
        return [TopicName.parse(name) for name in found]

    async def partitions(self, topic: TopicName) -> int:
        """0 where the topic exists and is not partitioned; NotFoundError where there is none."""
        found = await self._rest.get(f"{_of(topic)}/partitions", checkAllowAutoCreation=False)
        return int(found["partitions"])

    async def create(self, topic: TopicName, partitions: int) -> None:
        await self._rest.put(f"{_of(topic)}/partitions", partitions)

    async def grow(self, topic: TopicName, partitions: int) -> None:
        """To that many partitions in all; RefusedError where there are more. Subscriptions grow along."""
        await self._rest.post(f"{_of(topic)}/partitions", partitions)

    async def delete(self, topic: TopicName) -> None:
        """With its data, subscriptions, policies and schemas, even where it is in use."""
        await self._rest.delete(f"{_of(topic)}/partitions", force=True, deleteSchema=True)

    async def retention(self, topic: TopicName) -> Retention | None:
        """The topic's own; None where the namespace's applies."""
        found = await self._rest.get(f"{_of(topic)}/retention")
        return msgspec.convert(found, Retention) if found else None

    async def set_retention(self, topic: TopicName, retention: Retention) -> None:
        await self._rest.post(f"{_of(topic)}/retention", msgspec.to_builtins(retention))

    async def compatibility(self, topic: TopicName) -> str | None:
        """The topic's own schema compatibility strategy; None where the namespace's applies."""
        found: str | None = await self._rest.get(f"{_of(topic)}/schemaCompatibilityStrategy")
        return None if found in {None, "UNDEFINED"} else found

    async def set_compatibility(self, topic: TopicName, strategy: str) -> None:
        await self._rest.put(f"{_of(topic)}/schemaCompatibilityStrategy", strategy)

    async def subscriptions(self, topic: TopicName) -> list[str]:
        found: list[str] = await self._rest.get(f"{_of(topic)}/subscriptions")
        return found

    async def subscribe(self, topic: TopicName, subscription: str) -> None:
        """Makes a subscription that starts with the oldest record there is."""
        await self._rest.put(f"{_of(topic)}/subscription/{subscription}", _EARLIEST)

    async def unsubscribe(self, topic: TopicName, subscription: str) -> None:
        await self._rest.delete(f"{_of(topic)}/subscription/{subscription}", force=True)

    async def stats(self, topic: TopicName) -> dict[str, Any]:
        """The broker's figures over all partitions."""
        found: dict[str, Any] = await self._rest.get(
            f"{_of(topic)}/partitioned-stats", perPartition=False, subscriptionBacklogSize=True
        )
        return found

    async def progress(self, topic: TopicName) -> dict[str, Progress]:
        """By subscription."""
        return progress_in(await self.stats(topic))


def progress_in(stats: dict[str, Any]) -> dict[str, Progress]:
    """How far each subscription has come, by a topic's figures."""
    bytes_each = stats["bytesInCounter"] / max(stats["msgInCounter"], 1)
    return {name: _progress(found, bytes_each) for name, found in stats["subscriptions"].items()}


def _progress(stats: dict[str, Any], bytes_each: float) -> Progress:
    entries = int(stats["msgBacklog"])
    records = round(stats["backlogSize"] / bytes_each) if bytes_each else entries
    return Progress(entries, max(entries, records) if entries else 0, len(stats["consumers"]))


def _of(topic: TopicName) -> str:
    return f"v2/persistent/{topic.path}"
