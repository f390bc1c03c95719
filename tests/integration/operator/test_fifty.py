"""Fifty pipelines at once: how long, how much memory, how many requests."""

import time
from pathlib import Path

import pytest

from ...conftest import Figure
from ..conftest import Kubernetes, until
from .conftest import Operator, add_volumes, lines, operating, until_quiet, writes
from .forwarding import door

PIPELINES = 50
READY_SECONDS, MEMORY_MEBIBYTES = 60.0, 150.0
LONGEST_SECONDS = 240.0


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_fifty_pipelines_at_once(
    kube: Kubernetes, functions: Path, pulsar: dict[str, str], tmp_path: Path, figure: Figure
) -> None:
    """Topics are real; functions are said to run, as a cluster's are on other machines."""
    add_volumes(kube, 3 * PIPELINES, "fifty")
    with (
        door(pulsar["adminUrl"], own_functions=True) as admin,
        operating(kube, tmp_path, RECPIPE_FUNCTIONS_PACKAGE=str(functions)) as operator,
    ):
        until(operator.leads, "it leads")
        spec = {"events": {"partitions": 1}, "deletionPolicy": "Delete"}
        spec["pulsar"] = pulsar | {"adminUrl": admin.url, "namespace": "fifty"}
        kind = {"apiVersion": "recpipe.dev/v1alpha1", "kind": "RecommenderPipeline"}
        pipelines = [
            {**kind, "metadata": {"name": f"p{n}", "namespace": operator.namespace}, "spec": spec}
            for n in range(PIPELINES)
        ]
        started = time.monotonic()
        kube.apply(*pipelines)
        until(lambda: told_ready(operator) == PIPELINES, "the operator takes all for ready", LONGEST_SECONDS)
        until(lambda: ready(operator) == PIPELINES, "their status says so", LONGEST_SECONDS)
        took = time.monotonic() - started
        until_quiet(kube, operator.namespace)

        since, looks, requests = lines(kube), operator.looks, asked(operator)
        operator.until_looked(PIPELINES)
        each = (asked(operator) - requests) / (operator.looks - looks)
        memory = operator.memory_mebibytes
        figure(
            f"{PIPELINES} pipelines at once: all ready after {took:.1f} s (bar: {READY_SECONDS:.0f} s), "
            f"operator {memory:.0f} MiB resident (bar: {MEMORY_MEBIBYTES:.0f} MiB), {each:.1f} requests to the "
            f"Kubernetes API a reconciliation that changes nothing"
        )
        assert writes(kube, operator.namespace, since) == []
        assert memory <= MEMORY_MEBIBYTES
        assert took <= READY_SECONDS


def told_ready(operator: Operator) -> float:
    """By its metrics, which cost less to look at than fifty resources."""
    counts = [operator.metric(f"recpipe_operator_pipelines{each}") for each in ("", "_not_ready")]
    return (counts[0] or 0) - (counts[1] or 0)


def ready(operator: Operator) -> int:
    found = operator.kubernetes.get("recpipe", "-n", operator.namespace)["items"]
    conditions = (each.get("status", {}).get("conditions", []) for each in found)
    return sum(
        {"Ready": "True"}.items() <= {one["type"]: one["status"] for one in each}.items()
        for each in conditions
    )


def asked(operator: Operator) -> float:
    """Requests to the Kubernetes API so far."""
    return operator.metric("recpipe_operator_api_requests_total") or 0.0
