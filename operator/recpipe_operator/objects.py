"""Objects of Kubernetes: what is missing or changed is applied, what is no longer wanted is removed."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from recpipe_operator import metrics
from recpipe_operator.api import Api, ApiError, Reference
from recpipe_operator.desired import Context, Object
from recpipe_operator.desired.common import digest
from recpipe_operator.difference import agrees
from recpipe_operator.settings import FIELD_MANAGER, GROUP, PIPELINE

APPLIED = f"{GROUP}/applied"
"""Annotation: digest of what was last applied, so that a field no longer wanted is a difference too."""
SCALE_MANAGER = f"{FIELD_MANAGER}-scale"
WORKLOADS = {"Deployment", "StatefulSet", "CronJob", "HorizontalPodAutoscaler"}
DATA = {"PersistentVolumeClaim"}
"""Kinds that are kept when they are no longer wanted: somebody's data is in them."""


@dataclass(frozen=True)
class Problem:
    """What stands in the way, and what a person can do about it."""

    reason: str
    message: str


@dataclass
class Outcome:
    changes: list[str] = field(default_factory=list)
    """`+` made, `~` altered, `-` removed."""
    problems: list[Problem] = field(default_factory=list)


async def bring_about(api: Api, wanted: list[Object], found: Iterable[Object], uid: str) -> Outcome:
    """Applies what differs; one object that is refused does not hold up the others.

    Args:
        wanted: in the order to make them.
        found: the pipeline's objects as the watch last told of them.
        uid: the pipeline's.
    """
    there = {Reference.of(each): each for each in found}
    outcome = Outcome()
    for each in wanted:
        reference = Reference.of(each)
        try:
            change = await _bring_about(api, reference, each, there.get(reference), uid)
        except ApiError as error:
            if error.status == 0:
                raise
            outcome.problems.append(_refused(reference, error))
        else:
            if isinstance(change, Problem):
                outcome.problems.append(change)
            elif change:
                outcome.changes.append(change)
    for reference, each in _unwanted(wanted, there, uid):
        await api.delete(reference, each["metadata"]["uid"])
        outcome.changes.append(f"- {reference}")
    metrics.WRITES.labels("kubernetes").inc(len(outcome.changes))
    return outcome


async def _bring_about(
    api: Api, reference: Reference, wanted: Object, there: Object | None, uid: str
) -> str | Problem | None:
    """The change that was made; None where none was needed."""
    wanted = stamped(wanted)
    there = there or await api.get(reference)  # the watch may not have told of it yet, or it may be another's
    if there is None:
        await api.apply(wanted)
        return f"+ {reference}"
    if (obstacle := _belongs_to_another(reference, wanted, there, uid)) is not None:
        return obstacle
    if settled(wanted, there):
        return None
    await _keep_replicas(api, wanted, there)
    await api.apply(wanted)
    return f"~ {reference}"


def stamped(wanted: Object) -> Object:
    metadata = wanted["metadata"]
    return wanted | {"metadata": metadata | {"annotations": {APPLIED: digest(wanted)}}}


def settled(wanted: Object, there: Object) -> bool:
    """Whether nothing has to be done about it."""
    return agrees(wanted, there)


def _belongs_to_another(reference: Reference, wanted: Object, there: Object, uid: str) -> Problem | None:
    metadata = there["metadata"]
    if metadata.get("labels", {}).get(PIPELINE) != wanted["metadata"]["labels"][PIPELINE]:
        return Problem(
            "NameTaken",
            f"{reference} exists and is not this pipeline's: rename or delete it, or name the pipeline otherwise",
        )
    if metadata.get("deletionTimestamp"):
        return Problem("StillDeleting", f"{reference} is being deleted and is made anew once it has gone")
    owners = [owner for owner in metadata.get("ownerReferences", ()) if owner.get("controller")]
    if "ownerReferences" in wanted["metadata"] and any(owner["uid"] != uid for owner in owners):
        return Problem(
            "StillDeleting",
            f"{reference} belongs to an earlier pipeline of this name, and goes with that one",
        )
    return None


async def _keep_replicas(api: Api, wanted: Object, there: Object) -> None:
    """When an autoscaler takes over, the replicas of now are its start: our field, dropped, would become 1."""
    replicas = there.get("spec", {}).get("replicas")
    if wanted["kind"] != "Deployment" or "replicas" in wanted["spec"] or replicas in {None, 1}:
        return
    identity = {name: wanted["metadata"][name] for name in ("name", "namespace")}
    keep = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": identity,
        "spec": {"replicas": replicas},
    }
    await api.apply(keep, manager=SCALE_MANAGER)


def _unwanted(
    wanted: list[Object], there: Mapping[Reference, Object], uid: str
) -> Iterator[tuple[Reference, Object]]:
    names = {Reference.of(each) for each in wanted}
    for reference, each in there.items():
        metadata = each["metadata"]
        owned = any(
            owner["uid"] == uid and owner.get("controller") for owner in metadata.get("ownerReferences", ())
        )
        if (
            owned
            and reference not in names
            and reference.kind not in DATA
            and not metadata.get("deletionTimestamp")
        ):
            yield reference, each


def _refused(reference: Reference, error: ApiError) -> Problem:
    if error.status == 403 and "quota" in error.message:
        return Problem(
            "QuotaExceeded", f"{reference}: {error.message}; raise the quota or lower the resources"
        )
    if error.status == 403 and error.reason == "Forbidden" and "is forbidden: User" in error.message:
        return Problem(
            "OperatorForbidden", f"{reference}: {error.message}; give the operator's role this verb"
        )
    return Problem("ObjectRefused", f"{reference}: {error.message}")


async def secret_versions(api: Api, context: Context) -> tuple[dict[str, str], list[Problem]]:
    """Versions of the Secrets that pods read; API keys are made where none are named."""
    spec = context.pipeline.spec
    versions: dict[str, str] = {}
    problems = []
    keys = spec.gateway.authentication
    named = {
        "spec.gateway.authentication.secret": (keys.secret if keys.enabled else None, "public and private"),
        "spec.store.urlSecret": (spec.store.url_secret, "url"),
    }
    for where, (name, holds) in named.items():
        if not name:
            continue
        version = await api.version(Reference("v1", "Secret", context.namespace, name))
        if version is None:
            problems.append(
                Problem("SecretMissing", f"{where}: Secret {name} does not exist; make it with {holds}")
            )
        else:
            versions[name] = version
    if keys.enabled and not keys.secret:
        versions[context.keys_secret] = await _generated_keys(api, context)
    return versions, problems


async def _generated_keys(api: Api, context: Context) -> str:
    """The version of the Secret; it is made once, and never written again."""
    reference = Reference("v1", "Secret", context.namespace, context.keys_secret)
    if version := await api.version(reference):
        return version
    # In hexadecimal: a key that began with "-" would be an option on a command line.
    keys = {name: secrets.token_hex(32) for name in ("public", "private")}
    wanted = context.object("v1", "Secret", "keys", kept=True, type="Opaque", stringData=keys)
    made = await api.create(wanted)
    return made["metadata"]["resourceVersion"] if made else await api.version(reference) or ""


def belongs(each: Mapping[str, Any], part: str) -> bool:
    """Whether an object is of a part of its pipeline."""
    return bool(each["metadata"].get("labels", {}).get("app.kubernetes.io/component") == part)
