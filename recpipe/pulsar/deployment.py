"""A pipeline on a Pulsar cluster: what is wanted, what is there, and the changes between them.

`recpipe deploy` and the operator use the same functions: `desired` (pure), `observe`, `plan` (pure), `apply`,
`until_running`; `removal` (pure) for the end; recpipe.pulsar.status reads how a deployment fares.

What is wanted is a pure function of the resource, and so is the plan; applying a plan twice changes
nothing the second time. Policies are set on the topics and not on their namespace, so that pipelines can
share one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recpipe.pulsar.admin import Admin
from recpipe.pulsar.errors import ConflictError, NotFoundError, RefusedError
from recpipe.pulsar.function_settings import PACKAGE, DesiredFunction
from recpipe.pulsar.functions import Config, FunctionName
from recpipe.pulsar.names import TopicName
from recpipe.pulsar.schemas import Definition
from recpipe.pulsar.topics import Retention
from recpipe.spec import DeletionPolicy, RecommenderPipeline
from recpipe.topics import Topics

COMPATIBILITY = "FULL_TRANSITIVE"
"""Retained records of every version are read by new readers, and new ones by readers not yet updated."""


POLL_SECONDS = 0.2


@dataclass(frozen=True)
class DesiredTopic:
    name: TopicName
    partitions: int
    retention: Retention
    definition: Definition
    subscriptions: tuple[str, ...]


@dataclass(frozen=True)
class Desired:
    """Everything a pipeline wants of Pulsar."""

    tenant: str
    namespace: str
    topics: tuple[DesiredTopic, ...]
    functions: tuple[DesiredFunction, ...] = ()


@dataclass(frozen=True)
class ObservedTopic:
    partitions: int
    """0 where it is not partitioned."""
    retention: Retention | None = None
    compatibility: str | None = None
    definitions: tuple[Definition, ...] = ()
    """Avro schemas registered so far, oldest first."""
    subscriptions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Observed:
    """What there is of it."""

    tenant: bool = False
    namespace: bool = False
    topics: Mapping[TopicName, ObservedTopic] = field(default_factory=dict)
    functions: Mapping[FunctionName, Config] = field(default_factory=dict)


class Change(NamedTuple):
    """One step towards what is wanted."""

    text: str
    """For people: `+` makes, `~` alters, `-` removes."""
    carry_out: Callable[[Admin], Awaitable[object]]

    def __str__(self) -> str:
        return self.text


class Plan(NamedTuple):
    """Changes in the order to apply them, and what cannot be had, with what to do."""

    changes: list[Change]
    obstacles: list[str]


def desired(pipeline: RecommenderPipeline, functions: tuple[DesiredFunction, ...] = ()) -> Desired:
    """The pipeline's topics by its spec, and functions as recpipe.pulsar.function_settings gives them."""
    where, events = pipeline.spec.pulsar, pipeline.spec.events
    return Desired(
        where.tenant,
        where.namespace,
        tuple(
            DesiredTopic(
                TopicName(where.tenant, where.namespace, topic.name),
                topic.partitions,
                Retention.of(events.retention),
                topic.schema.definition,
                topic.groups,
            )
            for topic in Topics.of(pipeline)
        ),
        functions,
    )


async def observe(admin: Admin, wanted: Desired) -> Observed:
    """What the cluster has of what is wanted."""
    try:
        namespaces = await admin.namespaces.of(wanted.tenant)
    except NotFoundError:
        return Observed()
    if wanted.namespace not in namespaces:
        return Observed(tenant=True)
    names = [topic.name for topic in wanted.topics]
    found = await asyncio.gather(*(_observe(admin, name) for name in names))
    topics = {name: topic for name, topic in zip(names, found, strict=True) if topic}
    running = [function.name for function in wanted.functions]
    configs = await asyncio.gather(*(_config(admin, name) for name in running))
    functions = {name: config for name, config in zip(running, configs, strict=True) if config}
    return Observed(tenant=True, namespace=True, topics=topics, functions=functions)


async def _observe(admin: Admin, name: TopicName) -> ObservedTopic | None:
    try:
        partitions = await admin.topics.partitions(name)
        if partitions == 0:
            return ObservedTopic(0)
        versions = await admin.schemas.versions(name)
        return ObservedTopic(
            partitions,
            await admin.topics.retention(name),
            await admin.topics.compatibility(name),
            tuple(version.definition for version in versions if version.definition),
            frozenset(await admin.topics.subscriptions(name)),
        )
    except NotFoundError:
        return None


async def _config(admin: Admin, name: FunctionName) -> Config | None:
    try:
        return await admin.functions.config(name)
    except NotFoundError:
        return None


def plan(wanted: Desired, observed: Observed) -> Plan:
    """The changes that are missing."""
    changes, obstacles = list(_places(wanted, observed)), []
    for topic in wanted.topics:
        there = observed.topics.get(topic.name)
        if there is not None and there.partitions == 0:
            obstacles.append(
                f"{topic.name} exists without partitions: move what is in it, then delete the topic"
            )
            continue
        if there is not None and there.partitions > topic.partitions:
            obstacles.append(
                f"{topic.name} keeps {there.partitions} partitions: they never shrink to {topic.partitions}"
            )
        changes += _topic(topic, there)
    for function in wanted.functions:
        changes += _function(function, observed.functions.get(function.name))
    return Plan(changes, obstacles)


def _places(wanted: Desired, observed: Observed) -> Iterator[Change]:
    tenant, namespace = wanted.tenant, wanted.namespace

    async def create_tenant(admin: Admin) -> None:
        await _unless_there(admin.tenants.create(tenant, await admin.clusters()))

    if not observed.tenant:
        yield Change(f"+ tenant {tenant}", create_tenant)
    if not observed.namespace:
        # A reader whose topic is deleted by hand would make it anew, without partitions, before we can.
        yield Change(
            f"+ namespace {tenant}/{namespace}",
            lambda admin: _unless_there(admin.namespaces.create(tenant, namespace, topics_by_clients=False)),
        )


def _topic(topic: DesiredTopic, there: ObservedTopic | None) -> Iterator[Change]:
    name = topic.name
    if there is None:
        yield Change(
            f"+ topic {name}: {topic.partitions} partitions",
            lambda admin: _unless_there(admin.topics.create(name, topic.partitions)),
        )
    elif there.partitions < topic.partitions:
        yield Change(
            f"~ topic {name}: {there.partitions} -> {topic.partitions} partitions",
            lambda admin: admin.topics.grow(name, topic.partitions),
        )
    there = there or ObservedTopic(topic.partitions)
    if there.compatibility != COMPATIBILITY:
        yield Change(
            f"~ schema compatibility of {name}: {there.compatibility or 'inherited'} -> {COMPATIBILITY}",
            lambda admin: admin.topics.set_compatibility(name, COMPATIBILITY),
        )
    if _without_docs(topic.definition) not in map(_without_docs, there.definitions):
        yield Change(
            f"+ schema {topic.definition['name']} on {name}",
            lambda admin: admin.schemas.register(name, topic.definition),
        )
    if there.retention != topic.retention:
        yield Change(
            f"~ retention of {name}: {_minutes(there.retention)} -> {_minutes(topic.retention)}",
            lambda admin: admin.topics.set_retention(name, topic.retention),
        )
    for group in topic.subscriptions:
        if group not in there.subscriptions:
            yield _subscription(name, group)


def _subscription(name: TopicName, group: str) -> Change:
    return Change(
        f"+ subscription {group} on {name}", lambda admin: _unless_there(admin.topics.subscribe(name, group))
    )


def _function(function: DesiredFunction, there: Config | None) -> Iterator[Change]:
    name, config = function.name, function.config
    package: bytes | None = function.package
    if there is None:
        yield Change(
            f"+ function {name}",
            lambda admin: _unless_there(admin.functions.create(name, config, function.package)),
        )
    elif different := sorted(key for key in config if not _agrees(config[key], there.get(key))):
        if there.get("userConfig", {}).get(PACKAGE) == config["userConfig"][PACKAGE]:
            package = None  # the worker has this version
        yield Change(
            f"~ function {name}: {', '.join(different)}",
            lambda admin: admin.functions.update(name, config, package),
        )


def _agrees(wanted: Any, found: Any) -> bool:
    """The worker adds what it has defaults for, and gives whole numbers back as floats."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() <= found.keys() and all(_agrees(wanted[key], found[key]) for key in wanted)
    return bool(wanted == found)


def removal(observed: Observed, policy: DeletionPolicy) -> list[Change]:
    """What goes with the resource: its functions, and the topics with their data unless they are retained."""
    functions = [_function_deletion(name) for name in observed.functions]
    topics = [] if policy is DeletionPolicy.RETAIN else [_topic_deletion(name) for name in observed.topics]
    return functions + topics


def _function_deletion(name: FunctionName) -> Change:
    return Change(f"- function {name}", lambda admin: _if_there(admin.functions.delete(name)))


def _topic_deletion(name: TopicName) -> Change:
    return Change(f"- topic {name} and its data", lambda admin: _if_there(admin.topics.delete(name)))


async def apply(admin: Admin, changes: list[Change]) -> None:
    """Carries the changes out in their order; raises AdminError at the first that fails."""
    for change in changes:
        await change.carry_out(admin)


async def until_running(admin: Admin, wanted: Desired, seconds: float) -> None:
    """Waits until every instance of every function runs, and restarts those that are stuck.

    Raises TimeoutError that says which function does not run.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    for function in wanted.functions:
        while True:
            status = await admin.functions.status(function.name)
            if status.num_instances == status.num_running == function.config["parallelism"]:
                break
            if asyncio.get_running_loop().time() > deadline:
                errors = {each.status.error for each in status.instances if each.status.error}
                said = f": {'; '.join(sorted(errors))}" if errors else ""
                raise TimeoutError(
                    f"{function.name}: {status.num_running} of {status.num_instances} instances run "
                    f"after {seconds:.0f} s{said}"
                )
            await restart_stuck(admin, function.name, status.stuck)
            await asyncio.sleep(POLL_SECONDS)


async def restart_stuck(admin: Admin, function: FunctionName, stuck: Iterable[int]) -> list[int]:
    """Restarts instances that are stuck (`FunctionStatus.stuck`); those that the worker runs itself and so could."""
    restarted = []
    for instance in stuck:
        with suppress(RefusedError):
            await admin.functions.restart(function, instance)
            restarted.append(instance)
    return restarted


async def _unless_there(creation: Awaitable[None]) -> None:
    """Another one, or a first attempt whose answer was lost, may have made it meanwhile."""
    try:
        await creation
    except ConflictError:
        return


async def _if_there(deletion: Awaitable[None]) -> None:
    try:
        await deletion
    except NotFoundError:
        return


def _minutes(retention: Retention | None) -> str:
    return f"{retention.retention_time_in_minutes} minutes" if retention else "inherited"


def _without_docs(schema: Any) -> Any:
    """What the broker compares: texts for people make no new version."""
    if isinstance(schema, dict):
        return {name: _without_docs(part) for name, part in schema.items() if name != "doc"}
    return [_without_docs(part) for part in schema] if isinstance(schema, list) else schema
