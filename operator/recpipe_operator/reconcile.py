"""The one way from a resource to the cluster: look, change what differs, say how it stands."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from recpipe.spec import RecommenderPipeline
from recpipe.status import LearnerStatus
from recpipe_operator import events
from recpipe_operator.api import Api, Object, pipeline_reference
from recpipe_operator.conditions import (
    DRIFTED,
    FUNCTIONS,
    PAUSED,
    PROGRESSING,
    READY,
    TOPICS,
    Finding,
    Findings,
    conditions,
    merged,
    transitions,
)
from recpipe_operator.deletion import Deletion
from recpipe_operator.desired import Context, desired_objects
from recpipe_operator.desired.common import GATEWAY_PORT, MODEL_PORT
from recpipe_operator.learner_report import drifted, learner_status, missing_versions, model_fresh
from recpipe_operator.loops import Known
from recpipe_operator.objects import Outcome, bring_about, secret_versions
from recpipe_operator.pulsar_side import PulsarSide, PulsarView
from recpipe_operator.settings import FIELD_MANAGER, FINALIZER, Settings
from recpipe_operator.settings import PAUSED as PAUSED_ANNOTATION
from recpipe_operator.workloads import PARTS, workloads

log = logging.getLogger(__name__)

UNSETTLED_SECONDS = 5.0
"""Until the next look while something is on its way or missing."""
FRESH_SECONDS = 3.0
"""A look at Pulsar serves all triggers within this time."""
API_SECONDS = 300.0
"""How long it is believed that an API is or is not there."""

T = TypeVar("T")
Observed = Callable[[str, str], Iterable[Object]]
"""A pipeline's objects by namespace and name, as the watches last told of them."""


class Reconciler:
    """Holds what reconciliations share; what it remembers of pipelines is with their loops."""

    def __init__(self, api: Api, observed: Observed, settings: Settings) -> None:
        self._api, self._observed, self._settings = api, observed, settings
        self._pulsar = PulsarSide(api, settings)
        self._deletion = Deletion(api, observed, self._pulsar, settings)
        self._monitors: tuple[float, bool] = (-API_SECONDS, False)

    async def close(self) -> None:
        await self._pulsar.close()

    async def reconcile(self, known: Known) -> float:
        """Makes the cluster match the resource; the seconds until the next look is due."""
        resource = known.resource
        metadata = resource["metadata"]
        if metadata.get("deletionTimestamp"):
            return await self._deletion.go_on(resource)
        try:
            pipeline = parse(resource)
        except ValidationError as error:
            await self._report(known, invalid(error), {})
            return self._settings.resync_seconds
        if moved := moved_place(pipeline, status_of(known)):
            await self._report(known, refused(moved), {})
            return self._settings.resync_seconds
        paused = pause_reason(pipeline, metadata.get("annotations") or {})
        if not paused and FINALIZER not in metadata.get("finalizers", ()):
            await self._add_finalizer(known)
        context = Context(
            pipeline, metadata["uid"], self._settings, service_monitors=await self._has_monitors()
        )
        # Each to its end: what fails must not leave the others running into the next reconciliation.
        kubernetes = self._kubernetes(context, paused=bool(paused))
        pulsar = self._looked(known, context, paused=bool(paused))
        learner: Awaitable[LearnerStatus | Finding] = learner_status(self._api, context)
        ended = await asyncio.gather(kubernetes, pulsar, learner, return_exceptions=True)
        outcome, view = _result(ended[0]), _result(ended[1])
        report = cast(LearnerStatus | Finding, _result(ended[2]))
        found = self._findings(context, outcome, view, report, paused)
        await self._tell_changes(known, outcome, view)
        await self._report(known, conditions(found), figures(context, view, report))
        if conditions(found)[PROGRESSING].holds or not view.well:
            return min(UNSETTLED_SECONDS, self._settings.resync_seconds)
        # The next look at Pulsar is due.
        return self._settings.resync_seconds - (time.monotonic() - view.looked_at)

    async def _add_finalizer(self, known: Known) -> None:
        """Before anything is made outside of Kubernetes, so that nothing is ever left behind unknown."""
        metadata = known.resource["metadata"]
        finalizers = [*metadata.get("finalizers", ()), FINALIZER]
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        made = await self._api.merge(pipeline_reference(metadata["namespace"], metadata["name"]), patch)
        if made is not None:
            known.resource = made

    async def _has_monitors(self) -> bool:
        asked, found = self._monitors
        if time.monotonic() - asked > API_SECONDS:
            found = await self._api.serves("monitoring.coreos.com/v1")
            self._monitors = (time.monotonic(), found)
        return found

    async def _kubernetes(self, context: Context, *, paused: bool) -> Outcome:
        if paused:
            return Outcome()
        versions, problems = await secret_versions(self._api, context)
        context = Context(context.pipeline, context.uid, context.settings, versions, context.service_monitors)
        found = [each for each in self._found(context) if each["kind"] != "Pod"]
        outcome = await bring_about(self._api, desired_objects(context), found, context.uid)
        outcome.problems = problems + outcome.problems
        return outcome

    def _found(self, context: Context) -> Iterable[Object]:
        return self._observed(context.namespace, context.pipeline.name)

    async def _looked(self, known: Known, context: Context, *, paused: bool) -> PulsarView:
        """A look at Pulsar, unless the last one is fresh enough: changes of pods are none of Pulsar's."""
        last = known.pulsar
        if last and known.pulsar_generation == known.generation:
            believed = self._settings.resync_seconds / 2 if last.well and not last.changes else FRESH_SECONDS
            if time.monotonic() - last.looked_at < believed:
                return last
        known.pulsar = await self._pulsar.look(context, change=not paused)
        known.pulsar_generation = known.generation
        return known.pulsar

    def _findings(
        self,
        context: Context,
        outcome: Outcome,
        view: PulsarView,
        report: LearnerStatus | Finding,
        paused: str,
    ) -> Findings:
        parts = [part for part in PARTS if part != "store" or context.managed_store]
        return Findings(
            topics=view.topics,
            functions=view.functions,
            workloads=workloads(self._found(context), parts),
            fresh=model_fresh(report, context.pipeline.spec.model.publish_interval.total_seconds()),
            drifted=drifted(report),
            problems=(*outcome.problems, *missing_versions(report, context.pipeline.spec.serving)),
            changed=bool(outcome.changes or view.changes),
            paused=paused,
            has_model=isinstance(report, LearnerStatus) and report.model_version > 0,
        )

    async def _tell_changes(self, known: Known, outcome: Outcome, view: PulsarView) -> None:
        """An Event for what was put right although nobody changed the resource."""
        changes = [*outcome.changes, *(view.changes if view is not known.pulsar or view.changes else ())]
        if not changes:
            return
        metadata = known.resource["metadata"]
        for change in changes:
            log.info("%s/%s: %s", metadata["namespace"], metadata["name"], change)
        settled = status_of(known).get("observedGeneration") == known.generation
        if settled and _is_true(status_of(known), READY):
            await events.post(self._api, known.resource, "Normal", "Repaired", "; ".join(changes))

    async def _report(self, known: Known, found: dict[str, Finding], figures: dict[str, Any]) -> None:
        """Writes the status where it says something new; figures alone are written seldom."""
        before = status_of(known)
        conditions_before = before.get("conditions", [])
        kept = figures if figures else {name: before[name] for name in before if name not in _OWN}
        status = {
            "observedGeneration": known.generation,
            "conditions": merged(found, conditions_before, known.generation),
            **kept,
        }
        if status == before:
            return
        same = {**status, **{name: before.get(name) for name in FIGURES}} == {
            **before,
            **{name: before.get(name) for name in FIGURES},
        }
        if same and time.monotonic() - known.figures_at < self._settings.resync_seconds * 0.75:
            return
        metadata = known.resource["metadata"]
        identity = {name: metadata[name] for name in ("name", "namespace")}
        wanted = {**_kind(known.resource), "metadata": identity, "status": status}
        await self._api.apply(wanted, manager=FIELD_MANAGER, subresource="status")
        new = transitions(found, conditions_before)
        known.status, known.figures_at = status, time.monotonic()
        for kind, finding in new.items():
            await self._tell_transition(known.resource, kind, finding)

    async def _tell_transition(self, resource: Object, kind: str, finding: Finding) -> None:
        """What is told is what people act on: not that pods are starting, nor that nothing is paused."""
        if kind == READY or (kind in TOLD and finding.status == TOLD[kind]):
            bad = (finding.status == "False" and finding.reason not in EXPECTED) or kind == DRIFTED
            message = finding.message or finding.reason
            await events.post(self._api, resource, "Warning" if bad else "Normal", finding.reason, message)


_OWN = {"observedGeneration", "conditions"}
TOLD = {TOPICS: "False", FUNCTIONS: "False", DRIFTED: "True", PAUSED: "True"}
"""Conditions beside Ready that get an Event, and for which status."""
EXPECTED = {"FunctionsStarting", *(f"{part.capitalize()}NotAvailable" for part in PARTS)}
"""Reasons of every new pipeline, for a while."""
FIGURES = ("eventsPerSecond", "backlog", "learner")
"""Parts of the status that change with the traffic."""


def _result(ended: T | BaseException) -> T:
    if isinstance(ended, BaseException):
        raise ended
    return ended


def parse(resource: Object) -> RecommenderPipeline:
    """Raises pydantic's ValidationError."""
    metadata = {name: resource["metadata"][name] for name in ("name", "namespace")}
    return RecommenderPipeline.model_validate(
        {**_kind(resource), "metadata": metadata, "spec": resource.get("spec") or {}}
    )


def _kind(resource: Object) -> Object:
    return {"apiVersion": resource["apiVersion"], "kind": resource["kind"]}


def status_of(known: Known) -> dict[str, Any]:
    """As this process last wrote it, which the watch may not have told of yet; else as it was found."""
    return known.status if known.status is not None else known.resource.get("status") or {}


def pause_reason(pipeline: RecommenderPipeline, annotations: dict[str, str]) -> str:
    """Where it says that nothing is to be changed; empty where nothing does."""
    if pipeline.spec.paused:
        return "spec.paused is true: nothing is changed until it is false"
    if annotations.get(PAUSED_ANNOTATION, "").lower() == "true":
        return f"annotation {PAUSED_ANNOTATION} is true: nothing is changed until it is removed"
    return ""


def moved_place(pipeline: RecommenderPipeline, status: dict[str, Any]) -> str:
    """Says what was moved away from where the data is; empty where nothing was."""
    before, where = status.get("pulsar") or {}, pipeline.spec.pulsar
    for field in ("tenant", "namespace"):
        if field in before and before[field] != getattr(where, field):
            return (
                f"spec.pulsar.{field} was {before[field]!r} when the topics were made, and their data is there: "
                f"set it back, or make a new pipeline there and delete this one"
            )
    return ""


def refused(message: str) -> dict[str, Finding]:
    return {
        READY: Finding.false("ChangeRefused", message),
        PROGRESSING: Finding.false("ChangeRefused", message),
    }


def invalid(error: ValidationError) -> dict[str, Finding]:
    """What the schema of the CRD could not refuse."""
    said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return {READY: Finding.false("InvalidSpec", said), PROGRESSING: Finding.false("InvalidSpec", said)}


def figures(context: Context, view: PulsarView, report: LearnerStatus | Finding) -> dict[str, Any]:
    """What the status says beside conditions."""
    pipeline, namespace = context.pipeline, context.namespace
    where, ingress = pipeline.spec.pulsar, pipeline.spec.gateway.ingress
    endpoints = {
        "gateway": f"http://{context.name('gateway')}.{namespace}:{GATEWAY_PORT}",
        "model": f"{context.name('serving')}.{namespace}:{MODEL_PORT}",
    }
    if ingress:
        endpoints["public"] = f"http{'s' if ingress.tls_secret else ''}://{ingress.host}"
    status: dict[str, Any] = {
        "endpoints": endpoints,
        "pulsar": {"tenant": where.tenant, "namespace": where.namespace},
        "functions": {
            each.name.rpartition("/")[2]: {
                "running": each.running,
                "instances": each.instances,
                "version": view.package,
            }
            for each in view.status
        },
        "backlog": view.backlog,
    }
    if pipeline.spec.gateway.authentication.enabled:
        status["keysSecret"] = context.keys_secret
    if isinstance(report, LearnerStatus) and report.reported_at:
        status["modelVersion"] = str(report.model_version)
        status["eventsPerSecond"] = f"{report.events_per_second:.1f}"
        status["learner"] = {
            "learned": report.learned,
            "items": report.items,
            "lagSeconds": f"{report.lag_seconds:.1f}",
            "hitRate": f"{report.hybrid.hit_rate:.4f}",
        }
    return status


def _is_true(status: dict[str, Any], kind: str) -> bool:
    return any(each["type"] == kind and each["status"] == "True" for each in status.get("conditions", ()))
