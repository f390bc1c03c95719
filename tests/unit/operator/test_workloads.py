"""How pods do, as the status says it to a person."""

from typing import Any

import pytest

from recpipe_operator.workloads import workloads

LABELS = {"app.kubernetes.io/component": "gateway", "recpipe.dev/pipeline": "shop"}


def deployment(**status: Any) -> dict[str, Any]:
    metadata = {"name": "shop-gateway", "labels": LABELS, "generation": 2}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2}, "status": status}


def pod(**status: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "shop-gateway-x", "labels": LABELS}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(containerStatuses=[{"image": "recpipe/gateway:1", "state": state, **more}])


DONE = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def test_settled_when_all_pods_are_new_and_available() -> None:
    assert workloads([deployment(**DONE)], ["gateway"])["gateway"].settled


@pytest.mark.parametrize(
    "change", [{"observedGeneration": 1}, {"updatedReplicas": 1}, {"replicas": 3}, {"availableReplicas": 1}]
)
def test_not_settled_during_a_rollout(change: dict[str, int]) -> None:
    assert not workloads([deployment(**DONE | change)], ["gateway"])["gateway"].settled


@pytest.mark.parametrize(
    ("found", "reason", "said"),
    [
        (waiting("ImagePullBackOff"), "ImagePullBackOff", "check the operator's RECPIPE_IMAGE_GATEWAY"),
        (
            waiting("CreateContainerConfigError", "secret not found"),
            "CreateContainerConfigError",
            "secret not found",
        ),
        (
            waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 2, "message": "log\nno key"}}),
            "CrashLoopBackOff",
            "exit code 2: no key",
        ),
        (
            waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            "CrashLoopBackOff",
            "raise resources.memory",
        ),
        (
            pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "no node"}]),
            "Unschedulable",
            "no node",
        ),
    ],
)
def test_what_keeps_a_pod_from_running_is_said(found: dict[str, Any], reason: str, said: str) -> None:
    problem = workloads([deployment(**DONE), found], ["gateway"])["gateway"].problem
    assert problem is not None
    assert problem.reason == reason
    assert said in problem.message


def test_a_pod_that_is_on_its_way_out_is_no_problem() -> None:
    leaving = waiting("CrashLoopBackOff")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert workloads([deployment(**DONE), leaving], ["gateway"])["gateway"].problem is None


def test_pods_that_cannot_be_made_are_said() -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota",
    }
    problem = workloads([deployment(**DONE, conditions=[condition])], ["gateway"])["gateway"].problem
    assert problem is not None
    assert problem.message == "gateway: exceeded quota"


def test_what_does_not_exist_yet_is_not_available() -> None:
    found = workloads([], ["gateway"])["gateway"]
    assert (found.available, found.rolling) == (0, True)
