"""How a pipeline's pods do: what the Deployments and StatefulSets count, and what keeps pods from running."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from recpipe_operator.api import Object
from recpipe_operator.objects import Problem, belongs

PARTS = ("store", "learner", "gateway", "serving")
IMAGES = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
CONFIGURATION = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
SETTING = {
    "gateway": "the operator's RECPIPE_IMAGE_GATEWAY",
    "learner": "the operator's RECPIPE_IMAGE_LEARNER",
    "serving": "spec.serving.image or the operator's RECPIPE_IMAGE_SERVING",
    "store": "spec.store.managed.image",
    "train": "the operator's RECPIPE_IMAGE_LEARNER",
}


@dataclass(frozen=True)
class Workload:
    """One part's pods."""

    part: str
    wanted: int
    available: int
    rolling: bool
    """Not all pods are those of the newest template yet."""
    problem: Problem | None = None

    @property
    def settled(self) -> bool:
        return not self.rolling and self.available >= self.wanted


def workloads(found: Iterable[Object], parts: Iterable[str] = PARTS) -> dict[str, Workload]:
    """By part; a part whose object is not there yet wants one pod and has none."""
    objects = list(found)
    return {part: _workload(part, [each for each in objects if belongs(each, part)]) for part in parts}


def _workload(part: str, objects: list[Object]) -> Workload:
    pods = [
        each for each in objects if each["kind"] == "Pod" and not each["metadata"].get("deletionTimestamp")
    ]
    problem = next((problem for each in pods for problem in problems_of_pod(part, each)), None)
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            spec, status = each["spec"], each.get("status", {})
            wanted = spec.get("replicas", 1)
            outdated = status.get("observedGeneration", 0) < each["metadata"].get("generation", 0)
            fresh = status.get("updatedReplicas", 0)
            if each["kind"] == "StatefulSet" and status.get("currentRevision") == status.get(
                "updateRevision"
            ):
                fresh = status.get("currentReplicas", status.get("replicas", 0))
            available = status.get("availableReplicas", 0)
            surplus = status.get("replicas", 0) > wanted
            return Workload(
                part,
                wanted,
                available,
                outdated or fresh < wanted or surplus,
                problem or _stuck(part, status),
            )
    return Workload(part, 1, 0, rolling=True, problem=problem)


def _stuck(part: str, status: dict[str, Any]) -> Problem | None:
    """What the controller says when it cannot even make pods."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Problem(condition.get("reason", "FailedCreate"), f"{part}: {condition.get('message', '')}")
    return None


def problems_of_pod(part: str, pod: Object) -> Iterator[Problem]:
    """What keeps it from running, worst first."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in IMAGES:
            yield Problem(
                reason, f"pod {name} cannot get its image {container.get('image')}: check {SETTING[part]}"
            )
        elif reason == "CrashLoopBackOff":
            yield Problem(reason, f"pod {name} ends again and again: {_last_words(container)}")
        elif reason in CONFIGURATION:
            yield Problem(reason, f"pod {name} cannot start: {message}")
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield Problem("Unschedulable", f"pod {name} fits on no node: {condition.get('message', '')}")
    if status.get("phase") == "Failed" and status.get("reason") == "Evicted":
        yield Problem("Evicted", f"pod {name} was evicted: {status.get('message', '')}")


def _last_words(container: dict[str, Any]) -> str:
    ended = container.get("lastState", {}).get("terminated") or {}
    if ended.get("reason") == "OOMKilled":
        return "it needs more memory than its limit; raise resources.memory"
    lines = (ended.get("message") or "").strip().splitlines()
    said = f": {lines[-1][:300]}" if lines else ""
    return f"exit code {ended.get('exitCode', 'unknown')}{said}; see `kubectl logs --previous`"
