"""Conditions: what a pipeline's status says, from what was found. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from recpipe_operator.objects import Problem
from recpipe_operator.workloads import Workload

READY, PROGRESSING, TOPICS, FUNCTIONS = "Ready", "Progressing", "TopicsReady", "FunctionsReady"
SERVING, FRESH, DRIFTED, PAUSED = "ServingAvailable", "ModelFresh", "Drifted", "Paused"
MESSAGE_LENGTH = 1_000


@dataclass(frozen=True)
class Finding:
    """A condition's status, and why."""

    status: str
    reason: str
    message: str = ""

    @classmethod
    def true(cls, reason: str, message: str = "") -> Self:
        return cls("True", reason, message)

    @classmethod
    def false(cls, reason: str, message: str = "") -> Self:
        return cls("False", reason, message)

    @classmethod
    def unknown(cls, reason: str, message: str = "") -> Self:
        return cls("Unknown", reason, message)

    @property
    def holds(self) -> bool:
        return self.status == "True"


@dataclass(frozen=True)
class Findings:
    """Everything that `Ready` depends on."""

    topics: Finding
    functions: Finding
    workloads: Mapping[str, Workload]
    fresh: Finding
    drifted: Finding
    problems: tuple[Problem, ...] = ()
    """Objects that could not be applied."""
    changed: bool = False
    """Something was changed just now."""
    paused: str = ""
    """Where it says so; empty where it goes on."""
    has_model: bool = False


def conditions(found: Findings) -> dict[str, Finding]:
    """By type, in the order in which people read them."""
    return {
        READY: ready(found),
        PROGRESSING: progressing(found),
        TOPICS: found.topics,
        FUNCTIONS: found.functions,
        SERVING: serving_available(found.workloads["serving"], has_model=found.has_model),
        FRESH: found.fresh,
        DRIFTED: found.drifted,
        PAUSED: Finding.true("Paused", found.paused) if found.paused else Finding.false("Running"),
    }


def ready(found: Findings) -> Finding:
    """Events are taken, processed and learned from, and nothing is broken; the first reason leads.

    A pipeline without any events yet has no model to serve, and is ready for them all the same.
    """
    against = [(problem.reason, problem.message) for problem in found.problems]
    for finding in (found.topics, found.functions):
        if not finding.holds and (finding.reason, finding.message) not in against:
            against.append((finding.reason, finding.message))
    for part, workload in found.workloads.items():
        if workload.problem:
            against.append((workload.problem.reason, workload.problem.message))
        elif workload.available < max(workload.wanted, 1) and (part != "serving" or found.has_model):
            count = f"{part}: {workload.available} of {workload.wanted} pods available"
            against.append((f"{part.capitalize()}NotAvailable", count))
    if not against:
        return Finding.true("Running", "events are taken and learned from")
    return Finding.false(against[0][0], "; ".join(message for _, message in against)[:MESSAGE_LENGTH])


def progressing(found: Findings) -> Finding:
    """Whether the cluster is on its way to what is wanted."""
    if found.paused:
        return Finding.false("Paused", found.paused)
    rolling = [
        part
        for part, each in found.workloads.items()
        if each.rolling or (not each.settled and not each.problem and (part != "serving" or found.has_model))
    ]
    if rolling:
        return Finding.true("RollingOut", f"pods of {', '.join(rolling)} are being replaced or started")
    if found.changed:
        return Finding.true("Applying", "changes were just made")
    return Finding.false("Settled")


def serving_available(workload: Workload, *, has_model: bool) -> Finding:
    if workload.problem:
        return Finding.false(workload.problem.reason, workload.problem.message)
    if workload.available > 0:
        return Finding.true("ModelServed", f"{workload.available} of {workload.wanted} pods available")
    if not has_model:
        return Finding.false("WaitingForFirstModel", "the first version comes after the first events")
    return Finding.false("ServingNotAvailable", f"0 of {workload.wanted} pods available")


def merged(
    found: Mapping[str, Finding], before: list[dict[str, Any]], generation: int, now: datetime | None = None
) -> list[dict[str, Any]]:
    """As the status has them: the time of a transition stays until the status changes.

    What is not found anew stays as it was.
    """
    earlier = {each["type"]: each for each in before}
    stamp = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def condition(kind: str, finding: Finding) -> dict[str, Any]:
        last = earlier.get(kind)
        since = last["lastTransitionTime"] if last and last["status"] == finding.status else stamp
        return {
            "type": kind,
            "status": finding.status,
            "reason": finding.reason,
            "message": finding.message[:MESSAGE_LENGTH],
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }

    kept = [each for kind, each in earlier.items() if kind not in found]
    return [condition(kind, finding) for kind, finding in found.items()] + kept


def transitions(found: Mapping[str, Finding], before: list[dict[str, Any]]) -> dict[str, Finding]:
    """Conditions whose status or reason is new."""
    earlier = {each["type"]: (each["status"], each["reason"]) for each in before}
    return {kind: each for kind, each in found.items() if earlier.get(kind) != (each.status, each.reason)}
