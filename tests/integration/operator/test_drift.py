"""What was broken by hand is put right within 30 s, at the operator's own intervals."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recpipe.pulsar import Admin
from recpipe.pulsar.deployment import desired, observe, plan
from recpipe.pulsar.function_settings import desired_functions
from recpipe.pulsar.topics import Retention
from recpipe_operator.reconcile import parse

from ..conftest import Kubernetes
from .conftest import Operator, Pipeline, operating, secret, until

REPAIR_SECONDS = 30.0
KINDS = "deploy,sts,svc,cm,netpol,pdb,hpa,ing,cronjob"
EVERY_KIND = (
    *("Deployment", "StatefulSet", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget"),
    *("HorizontalPodAutoscaler", "Ingress", "CronJob"),
)
SPEC: dict[str, Any] = {
    "events": {"partitions": 1},
    "store": {"urlSecret": "store"},
    "deletionPolicy": "Delete",
    "gateway": {"ingress": {"host": "shop.example"}, "autoscaling": {"maxReplicas": 3}},
    "model": {"retrainSchedule": "0 4 * * *"},
}
EDITS = {
    "deploy serving": {"spec": {"replicas": 4}},
    "sts learner": {"spec": {"replicas": 0}},
    "svc gateway": {"spec": {"selector": {"app.kubernetes.io/component": "other"}}},
    "cm pipeline": {"data": {"pipeline.yaml": "nonsense"}},
    "netpol serving": {"spec": {"ingress": [{}]}},
    "pdb gateway": {"spec": {"maxUnavailable": 9}},
    "hpa gateway": {"spec": {"maxReplicas": 99}},
    "ing gateway": {"spec": {"rules": [{"host": "other.example"}]}},
    "cronjob train": {"spec": {"schedule": "1 1 1 1 1"}},
}


@pytest.fixture(scope="module")
def patient(
    kube: Kubernetes, functions: Path, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator at its default intervals."""
    settings = {"RECPIPE_FUNCTIONS_PACKAGE": str(functions), "RECPIPE_FUNCTIONS_STORE": store}
    with operating(kube, tmp_path_factory.mktemp("patient"), **settings) as running:
        kube.apply(secret(running.namespace, "store", url=store))
        yield running


@pytest.fixture(scope="module")
def pipeline(patient: Operator, pulsar: dict[str, str]) -> Iterator[Pipeline]:
    spec = SPEC | {"pulsar": pulsar | {"namespace": "drift"}}
    made = Pipeline(patient.kubernetes, patient.namespace, "shop", spec)
    made.apply()
    made.settled()
    yield made
    made.delete()


def repaired(check: Callable[[], bool], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    until(check, what, REPAIR_SECONDS)
    with capsys.disabled():
        print(f"\n{what}: after {time.monotonic() - started:.1f} s (bar: {REPAIR_SECONDS:.0f} s)")


def test_every_deleted_object_comes_back(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: each["metadata"]["uid"] for name, each in pipeline.objects(KINDS).items()}
    assert {name.split()[0] for name in before} == set(EVERY_KIND)
    selector = f"recpipe.dev/pipeline={pipeline.name}"
    pipeline.kubernetes.kubectl("delete", KINDS, "-n", pipeline.namespace, "-l", selector, "--wait=false")

    def back() -> bool:
        now = {name: each["metadata"]["uid"] for name, each in pipeline.objects(KINDS).items()}
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    repaired(back, f"{len(before)} deleted objects came back", capsys)
    pipeline.settled()


def test_every_edit_is_undone(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        name: each["spec"] if "spec" in each else each["data"]
        for name, each in pipeline.objects(KINDS).items()
    }
    for what, patch in EDITS.items():
        kind, part = what.split()
        done = pipeline.kubernetes.kubectl(
            *("patch", kind, f"{pipeline.name}-{part}", "-n", pipeline.namespace, "--type=merge"),
            *("--field-manager=somebody", "-p", json.dumps(patch)),
        )
        assert done.returncode == 0, done.stderr

    def undone() -> bool:
        now = pipeline.objects(KINDS)
        return {
            name: each["spec"] if "spec" in each else each["data"] for name, each in now.items()
        } == before

    repaired(undone, f"{len(EDITS)} edited objects were put right", capsys)
    pipeline.settled()


async def test_what_was_edited_in_pulsar_is_put_right(
    pipeline: Pipeline, functions: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = parse(pipeline.resource)
    wanted = desired(resource, desired_functions(resource, functions.read_bytes(), store))
    events, _, _, items, impressions, rejected = (topic.name for topic in wanted.topics)
    async with Admin(resource.spec.pulsar.admin_url) as admin:

        async def missing() -> list[str]:
            changes, _ = plan(wanted, await observe(admin, wanted))
            return [change.text for change in changes]

        async def put_right(what: str) -> None:
            started = time.monotonic()
            assert await missing() != []
            while left := await missing():
                assert time.monotonic() - started < REPAIR_SECONDS, left
                await asyncio.sleep(0.5)
            with capsys.disabled():
                print(f"\n{what}: after {time.monotonic() - started:.1f} s (bar: {REPAIR_SECONDS:.0f} s)")

        assert await missing() == []
        await admin.topics.set_retention(events, Retention(1))
        await admin.topics.unsubscribe(items, "learner")
        await admin.topics.set_compatibility(impressions, "ALWAYS_COMPATIBLE")
        await admin.schemas.delete(rejected)
        clean_function, _ = wanted.functions
        await admin.functions.update(clean_function.name, clean_function.config | {"parallelism": 2})
        await put_right("five edits in Pulsar were undone")
    pipeline.settled()
