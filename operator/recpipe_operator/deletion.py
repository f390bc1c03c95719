"""The end of a pipeline: its pods, its functions, its data where that is wanted, and last its finalizer.

Each step is looked at anew, so that it may be cut off anywhere. A Pulsar that has gone holds up a deletion
for a while only.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError

from recpipe.spec import KIND, DeletionPolicy, RecommenderPipeline
from recpipe_operator import events
from recpipe_operator.api import Api, Object, Reference, pipeline_reference
from recpipe_operator.desired import Context
from recpipe_operator.learner_report import forget
from recpipe_operator.objects import WORKLOADS
from recpipe_operator.pulsar_side import PulsarRefusalError, PulsarSide
from recpipe_operator.settings import FINALIZER, Settings

log = logging.getLogger(__name__)

AGAIN_SECONDS = 2.0
SECTIONS = ("pulsar", "events", "store", "deletionPolicy")
"""What a deletion goes by, where another part of the spec is invalid."""


class Deletion:
    """Goes on with deletions, one step a call."""

    def __init__(
        self,
        api: Api,
        observed: Callable[[str, str], Iterable[Object]],
        pulsar: PulsarSide,
        settings: Settings,
    ) -> None:
        self._api, self._observed, self._pulsar, self._settings = api, observed, pulsar, settings

    async def go_on(self, resource: Object) -> float:
        """Does what is left to do; the seconds until the next call."""
        metadata = resource["metadata"]
        if FINALIZER not in metadata.get("finalizers", ()):
            return self._settings.resync_seconds
        late = age_seconds(metadata["deletionTimestamp"]) > self._settings.deletion_grace_seconds
        pipeline = _readable(resource)
        if pipeline is None:
            await self._leave(
                resource, "its spec is invalid, so that nothing is known of its place in Pulsar"
            )
        else:
            context = Context(pipeline, metadata["uid"], self._settings)
            if await self._pods_run(context) and not late:
                return AGAIN_SECONDS
            if not await self._pulsar_removed(resource, context, late=late):
                return AGAIN_SECONDS
            if pipeline.spec.deletion_policy is DeletionPolicy.DELETE:
                await self._delete_data(resource, context)
        await self._remove_finalizer(resource)
        return self._settings.resync_seconds

    async def _pods_run(self, context: Context) -> bool:
        """Ends the workloads first: a consumer that comes back would make its topic anew."""
        found = list(self._observed(context.namespace, context.pipeline.name))
        for each in found:
            if each["kind"] in WORKLOADS and not each["metadata"].get("deletionTimestamp"):
                await self._api.delete(Reference.of(each), each["metadata"]["uid"])
        return any(each["kind"] in WORKLOADS or each["kind"] == "Pod" for each in found)

    async def _pulsar_removed(self, resource: Object, context: Context, *, late: bool) -> bool:
        try:
            changes, done = await self._pulsar.remove(context, late=late)
        except PulsarRefusalError as refusal:
            if not late:
                log.warning("%s: deletion waits: %s", context.pipeline.name, refusal)
                return False
            await self._leave(resource, refusal.finding.message)
            return True
        for change in changes:
            log.info("%s/%s: %s", context.namespace, context.pipeline.name, change)
        return done

    async def _delete_data(self, resource: Object, context: Context) -> None:
        """Volumes, generated keys and, in a store of somebody else's, what is the pipeline's."""
        if context.managed_store is None:
            try:
                await forget(self._api, context)
            except (RedisError, OSError, TimeoutError, ValueError) as error:
                await self._leave(resource, f"the store does not answer ({type(error).__name__})")
        data = [("PersistentVolumeClaim", part) for part in ("models", "checkpoints", "store")]
        for kind, part in (*data, ("Secret", "keys")):
            reference = Reference("v1", kind, context.namespace, context.name(part))
            metadata = await self._api.metadata(reference)
            if metadata and not metadata.get("deletionTimestamp"):
                await self._api.delete(reference, metadata["uid"])

    async def _leave(self, resource: Object, why: str) -> None:
        """Says what stays behind, and that nobody waits for it any more."""
        name = resource["metadata"]["name"]
        message = f"{name} is deleted, and what it had elsewhere stays behind: {why}"
        log.warning("%s", message)
        await events.post(self._api, resource, "Warning", "LeftBehind", message)

    async def _remove_finalizer(self, resource: Object) -> None:
        metadata = resource["metadata"]
        kept = [each for each in metadata["finalizers"] if each != FINALIZER]
        patch: dict[str, Any] = {
            "metadata": {"finalizers": kept, "resourceVersion": metadata["resourceVersion"]}
        }
        await self._api.merge(pipeline_reference(metadata["namespace"], metadata["name"]), patch)


def _readable(resource: Object) -> RecommenderPipeline | None:
    """The pipeline as far as a deletion needs it; None where that is invalid too."""
    metadata = {name: resource["metadata"][name] for name in ("name", "namespace")}
    spec = resource.get("spec") or {}
    for read in (spec, {name: spec[name] for name in SECTIONS if name in spec}):
        try:
            return RecommenderPipeline.model_validate(
                {"apiVersion": resource["apiVersion"], "kind": KIND, "metadata": metadata, "spec": read}
            )
        except ValidationError:
            continue
    return None


def age_seconds(timestamp: str, now: datetime | None = None) -> float:
    """Since a time as Kubernetes writes it."""
    then = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    return ((now or datetime.now(UTC)) - then).total_seconds()
