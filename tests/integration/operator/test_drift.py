"""What was broken by hand is put right within 30 s, at the operator's own intervals."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from recpipe.pulsar import Admin, TopicName
from recpipe.pulsar.deployment import desired, observe, plan
from recpipe.pulsar.function_settings import desired_functions
from recpipe.pulsar.topics import Retention
from recpipe_operator.reconcile import parse

from ...conftest import Figure
from ..conftest import Kubernetes, until
from .conftest import Operator, Pipeline, operating, secret

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


def repaired(check: Callable[[], bool], what: str, figure: Figure) -> None:
    started = time.monotonic()
    until(check, what, REPAIR_SECONDS)
    tell(figure, what, started)


def tell(figure: Figure, what: str, started: float) -> None:
    figure(f"{what}: after {time.monotonic() - started:.1f} s (bar: {REPAIR_SECONDS:.0f} s)")


def test_every_deleted_object_comes_back(pipeline: Pipeline, figure: Figure) -> None:
    before = {name: each["metadata"]["uid"] for name, each in pipeline.objects(KINDS).items()}
    assert {name.split()[0] for name in before} == set(EVERY_KIND)
    selector = f"recpipe.dev/pipeline={pipeline.name}"
    pipeline.kubernetes.kubectl("delete", KINDS, "-n", pipeline.namespace, "-l", selector, "--wait=false")

    def back() -> bool:
        now = {name: each["metadata"]["uid"] for name, each in pipeline.objects(KINDS).items()}
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    repaired(back, f"{len(before)} deleted objects came back", figure)
    pipeline.settled()


def test_every_edit_is_undone(pipeline: Pipeline, figure: Figure) -> None:
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

    repaired(undone, f"{len(EDITS)} edited objects were put right", figure)
    pipeline.settled()


async def test_everything_in_pulsar_is_put_right(
    pipeline: Pipeline, functions: Path, store: str, figure: Figure
) -> None:
    """Edited, stopped and deleted by hand, while the functions read what is deleted."""
    resource = parse(pipeline.resource)
    wanted = desired(resource, desired_functions(resource, functions.read_bytes(), store))
    events, clean, _, items, impressions, rejected = (topic.name for topic in wanted.topics)
    clean_function, features_function = wanted.functions
    async with Admin(resource.spec.pulsar.admin_url) as admin:

        async def missing() -> list[str]:
            changes, obstacles = plan(wanted, await observe(admin, wanted))
            return [change.text for change in changes] + obstacles

        async def stopped() -> list[str]:
            found = [await admin.functions.status(function.name) for function in wanted.functions]
            return [f"{each.num_running} of {each.num_instances}" for each in found if each.num_running != 1]

        async def unread() -> list[TopicName]:
            found = {topic: await admin.topics.progress(topic) for topic in (events, clean)}
            return [
                topic for topic, groups in found.items() if not any(each.members for each in groups.values())
            ]

        async def put_right(what: str, *left: Callable[[], Awaitable[Sequence[object]]]) -> None:
            started = time.monotonic()
            for look in left:
                while found := await look():
                    assert time.monotonic() - started < REPAIR_SECONDS, found
                    await asyncio.sleep(0.5)
            tell(figure, what, started)

        assert await missing() == []
        await admin.topics.set_retention(events, Retention(1))
        await admin.topics.unsubscribe(items, "learner")
        await admin.topics.set_compatibility(impressions, "ALWAYS_COMPATIBLE")
        await admin.schemas.delete(rejected)
        await admin.functions.update(clean_function.name, clean_function.config | {"parallelism": 2})
        assert len(await missing()) == 5
        await put_right("five edits in Pulsar were undone", missing, stopped)
        await admin.functions.stop(features_function.name)
        await put_right("a stopped function was started", stopped)
        await admin.functions.delete(clean_function.name)
        assert len(await missing()) == 1
        await put_right("a deleted function came back", missing)
        for topic in wanted.topics:
            await admin.topics.delete(topic.name)
        assert [text for text in await missing() if text.startswith("+ topic")]
        await put_right("six deleted topics came back", missing)
        await put_right("they are read again", unread)
    pipeline.settled()
