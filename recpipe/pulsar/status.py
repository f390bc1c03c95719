"""How a deployed pipeline fares on its cluster: topics, backlogs, functions, exceptions."""

import asyncio
from dataclasses import dataclass, field

from recpipe.pulsar.admin import Admin
from recpipe.pulsar.deployment import Desired
from recpipe.pulsar.errors import NotFoundError
from recpipe.pulsar.functions import FunctionName, InstanceStatus
from recpipe.pulsar.names import TopicName
from recpipe.pulsar.topics import Progress, progress_in


@dataclass(frozen=True)
class TopicFares:
    """One topic; without partitions where it is missing."""

    name: str
    partitions: int = 0
    records_per_second: float = 0.0
    """Coming in, by the broker's last minute."""
    bytes_stored: int = 0
    progress: dict[str, Progress] = field(default_factory=dict)
    """By reading group."""


@dataclass(frozen=True)
class FunctionFares:
    """One function; without instances where it is missing."""

    name: str
    instances: int = 0
    running: int = 0
    restarts: int = 0
    received: int = 0
    """Messages since its instances started."""
    exceptions: list[str] = field(default_factory=list)
    """What ended instances, and what the framework has caught."""
    stuck: list[int] = field(default_factory=list)
    """Instances that only a restart helps."""


@dataclass(frozen=True)
class DeploymentStatus:
    topics: list[TopicFares]
    functions: list[FunctionFares]

    @property
    def healthy(self) -> bool:
        """Whether every topic is there and every instance runs."""
        return all(topic.partitions for topic in self.topics) and all(
            0 < function.instances == function.running for function in self.functions
        )


async def read_status(admin: Admin, wanted: Desired) -> DeploymentStatus:
    """Of everything that is wanted; raises AdminError where the cluster does not answer."""
    topics = asyncio.gather(*(_topic(admin, topic.name) for topic in wanted.topics))
    functions = asyncio.gather(*(_function(admin, function.name) for function in wanted.functions))
    return DeploymentStatus(list(await topics), list(await functions))


async def _topic(admin: Admin, name: TopicName) -> TopicFares:
    try:
        partitions = await admin.topics.partitions(name)
        stats = await admin.topics.stats(name) if partitions else {}
    except NotFoundError:
        return TopicFares(str(name))
    if not stats:
        return TopicFares(str(name))
    return TopicFares(
        str(name), partitions, float(stats["msgRateIn"]), int(stats["storageSize"]), progress_in(stats)
    )


async def _function(admin: Admin, name: FunctionName) -> FunctionFares:
    try:
        status = await admin.functions.status(name)
    except NotFoundError:
        return FunctionFares(str(name))
    instances = [each.status for each in status.instances]
    return FunctionFares(
        str(name),
        status.num_instances,
        status.num_running,
        sum(each.num_restarts for each in instances),
        sum(each.num_received for each in instances),
        [text for each in instances for text in _exceptions(each)],
        status.stuck,
    )


def _exceptions(instance: InstanceStatus) -> list[str]:
    raised = (*instance.latest_user_exceptions, *instance.latest_system_exceptions)
    return [text for text in (instance.error, *(each.exception_string for each in raised)) if text]
