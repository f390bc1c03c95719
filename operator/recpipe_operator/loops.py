"""One loop a pipeline: each waits for its own trigger or timer, so that none waits for another's reconciliation."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from recpipe_operator import metrics
from recpipe_operator.api import ApiError, Object
from recpipe_operator.pulsar_side import PulsarView

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 120.0
GATHER_SECONDS = 0.2
"""Triggers come in bursts: what comes within this time is one."""
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 1.0, 30.0
Key = tuple[str, str]
"""Namespace and name."""


@dataclass
class Known:
    """A pipeline as it was last seen, and what is remembered of it between reconciliations."""

    resource: Object
    status: dict[str, Any] | None = None
    """As last written; None before the first write of this process."""
    figures_at: float = 0.0
    pulsar: PulsarView | None = None
    pulsar_generation: int = 0
    trigger: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def generation(self) -> int:
        return int(self.resource["metadata"].get("generation", 0))


Reconcile = Callable[[Known], Awaitable[float]]
"""Answers the seconds until the next look is due."""


class Loops:
    """A level-triggered loop for each pipeline that there is."""

    def __init__(self, reconcile: Reconcile) -> None:
        self._reconcile = reconcile
        self._known: dict[Key, Known] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def seen(self, resource: Object) -> None:
        """A pipeline is new or has changed."""
        key = _key(resource)
        if known := self._known.get(key):
            changed = _essence(known.resource) != _essence(resource)
            known.resource = resource
            if changed:
                known.trigger.set()
            return
        known = self._known[key] = Known(resource)
        known.trigger.set()
        self._tasks[key] = asyncio.create_task(self._run(key, known), name=f"pipeline {'/'.join(key)}")
        metrics.PIPELINES.set(len(self._known))

    def touched(self, key: Key) -> None:
        """An object of a pipeline has changed."""
        if known := self._known.get(key):
            known.trigger.set()

    def gone(self, resource: Object) -> None:
        key = _key(resource)
        self._known.pop(key, None)
        if task := self._tasks.pop(key, None):
            task.cancel()
        metrics.PIPELINES.set(len(self._known))
        self._count_not_ready()

    async def _run(self, key: Key, known: Known) -> None:
        failures, pause = 0, 0.0
        while self._known.get(key) is known:  # a cancellation may be lost amid an error
            try:
                async with asyncio.timeout(
                    pause
                ):  # wait_for loses a cancellation that meets the trigger (3.11)
                    await known.trigger.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(GATHER_SECONDS)
            known.trigger.clear()
            started = time.monotonic()
            try:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    pause = await self._reconcile(known)
            except Exception as error:
                failures += 1
                pause = min(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1), LONGEST_BACKOFF_SECONDS)
                _tell(key, error, pause)
                metrics.RECONCILES.labels("failed").inc()
            else:
                failures = 0
                metrics.RECONCILES.labels("done").inc()
            metrics.RECONCILE_SECONDS.observe(time.monotonic() - started)
            self._count_not_ready()
            pause *= random.uniform(0.8, 1.0)

    def _count_not_ready(self) -> None:
        metrics.NOT_READY.set(sum(not _is_ready(known.status) for known in self._known.values()))


def _key(resource: Object) -> Key:
    return resource["metadata"]["namespace"], resource["metadata"]["name"]


def _essence(resource: Object) -> tuple[Any, ...]:
    """What a reconciliation depends on: our own writes of the status are no reason for another."""
    metadata = resource["metadata"]
    names = ("uid", "generation", "annotations", "finalizers", "deletionTimestamp")
    return tuple(metadata.get(name) for name in names)


def _is_ready(status: dict[str, Any] | None) -> bool:
    found = (status or {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found)


def _tell(key: Key, error: Exception, pause: float) -> None:
    """An answer of the API server is one line; what nobody expected comes with its trace."""
    known = isinstance(error, ApiError | TimeoutError)
    log.log(
        logging.WARNING if known else logging.ERROR,
        "%s/%s: %s; again in %.0f s",
        *key,
        error or type(error).__name__,
        pause,
        exc_info=None if known else error,
    )
