"""A pipeline's life on a real Kubernetes API and a real Pulsar: create, change, pause, delete."""

import time
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from redis import Redis

from recpipe.pulsar import Admin, TopicName
from recpipe.pulsar.functions import FunctionName
from recpipe.status import LearnerStatus
from recpipe.store import Keys
from recpipe.topics import Topics
from recpipe_operator.reconcile import parse

from ..conftest import until
from .conftest import Make, Operator, Pipeline, lines, secret, until_quiet, writes

OWNED = "deploy,sts,svc,cm,netpol,pdb"


def topic_names(pipeline: Pipeline) -> list[TopicName]:
    resource = parse(pipeline.resource)
    where = resource.spec.pulsar
    return [TopicName(where.tenant, where.namespace, topic.name) for topic in Topics.of(resource)]


async def partitions(admin_url: str, pipeline: Pipeline) -> list[int]:
    async with Admin(admin_url) as admin:
        return [await admin.topics.partitions(name) for name in topic_names(pipeline)]


async def left_in_pulsar(admin_url: str, pipeline: Pipeline) -> set[str]:
    """Topics and functions that bear the pipeline's name."""
    async with Admin(admin_url) as admin:
        topics = [topic.name for topic in await admin.topics.all("public", "operator")]
        functions = await admin.functions.all("public", "operator")
    return {name for name in (*topics, *functions) if name.startswith(f"{pipeline.name}-")}


async def test_a_pipeline_becomes_ready_and_then_nothing_is_written(make: Make, operator: Operator) -> None:
    pipeline = make()
    pipeline.settled()
    resource = pipeline.resource
    assert {each["type"] for each in resource["status"]["conditions"]} == {
        *("Ready", "Progressing", "TopicsReady", "FunctionsReady"),
        *("ServingAvailable", "ModelFresh", "Drifted", "Paused"),
    }
    assert resource["status"]["observedGeneration"] == resource["metadata"]["generation"]
    assert resource["status"]["endpoints"]["gateway"].startswith(f"http://{pipeline.name}-gateway.")
    functions = resource["status"]["functions"]
    assert {name: each["running"] for name, each in functions.items()} == {
        f"{pipeline.name}-clean": 1,
        f"{pipeline.name}-features": 1,
    }
    assert await partitions(resource["spec"]["pulsar"]["adminUrl"], pipeline) == [1] * 6
    until_quiet(pipeline.kubernetes, pipeline.namespace)
    since = lines(pipeline.kubernetes)
    operator.until_looked(2)
    assert writes(pipeline.kubernetes, pipeline.namespace, since) == [], pipeline.resource["status"]


def test_keys_are_made_once_and_shown_nowhere(make: Make, operator: Operator) -> None:
    pipeline = make()
    pipeline.until("TopicsReady", "True")
    keys = until(lambda: pipeline.objects("secret"), "API keys")[f"Secret {pipeline.name}-keys"]["data"]
    assert keys["public"] != keys["private"]
    assert all(b64decode(key).isalnum() for key in keys.values()), "a command line takes each as it is"
    pipeline.apply(gateway={"replicas": 2})
    pipeline.settled()
    assert pipeline.get("secret", "keys")["data"] == keys
    said = operator.log.read_text() + str(pipeline.resource)
    assert not [key for key in keys.values() if key in said]


def test_changes_reach_what_they_are_about(make: Make) -> None:
    pipeline = make()
    pipeline.settled()
    before = pipeline.objects(OWNED)
    pipeline.apply(
        events={"partitions": 3},
        gateway={
            "ingress": {"host": "shop.example"},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 5},
        },
        serving={"image": "registry.example/serving:2", "replicas": 2, "labels": {"canary": 3}},
        model={"retrainSchedule": "0 4 * * *"},
    )
    pipeline.settled()
    assert len(pipeline.objects("ing,hpa,cronjob")) == 3
    serving = pipeline.get("deploy", "serving")
    assert serving["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/serving:2"
    assert serving["status"]["readyReplicas"] == 2
    after = pipeline.objects(OWNED)
    assert {name: each["metadata"]["uid"] for name, each in after.items()} == {
        name: each["metadata"]["uid"] for name, each in before.items()
    }
    pipeline.apply(gateway={"replicas": 1}, model={})
    pipeline.settled()
    until(lambda: not pipeline.objects("ing,hpa,cronjob"), "what is no longer wanted is gone")


async def test_partitions_grow_and_functions_follow_the_spec(make: Make, pulsar: dict[str, str]) -> None:
    pipeline = make()
    pipeline.settled()
    pipeline.apply(events={"partitions": 3}, pulsar=pipeline.spec["pulsar"] | {"functionInstances": 2})
    pipeline.settled()
    assert await partitions(pulsar["adminUrl"], pipeline) == [3] * 6
    functions = pipeline.resource["status"]["functions"]
    assert {each["running"] for each in functions.values()} == {2}


def test_an_autoscaler_takes_over_without_a_dip(make: Make) -> None:
    pipeline = make(gateway={"replicas": 3})
    pipeline.settled()
    pipeline.apply(gateway={"replicas": 3, "autoscaling": {"minReplicas": 1, "maxReplicas": 5}})
    pipeline.settled()
    deployment = pipeline.get("deploy", "gateway")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["metadata"]["generation"] <= 2


@pytest.mark.parametrize("how", ["spec", "annotation"])
def test_a_pause_leaves_everything_as_it_is(make: Make, operator: Operator, how: str) -> None:
    pipeline = make()
    pipeline.settled()
    annotate = ("annotate", "recpipe", pipeline.name, "-n", pipeline.namespace)
    if how == "spec":
        pipeline.apply(paused=True)
    else:
        pipeline.kubernetes.kubectl(*annotate, "recpipe.dev/paused=true")
    assert how in pipeline.until("Paused", "True")["message"]
    pipeline.kubernetes.kubectl("delete", "deploy", f"{pipeline.name}-gateway", "-n", pipeline.namespace)
    pipeline.until("Ready", "False", "GatewayNotAvailable")
    since = lines(pipeline.kubernetes)
    operator.until_looked(2)
    assert not [
        each
        for each in writes(pipeline.kubernetes, pipeline.namespace, since)
        if "status" not in each and "deployments" in each
    ]
    assert f"Deployment {pipeline.name}-gateway" not in pipeline.objects("deploy")
    if how == "spec":
        pipeline.apply(paused=False)
    else:
        pipeline.kubernetes.kubectl(*annotate, "recpipe.dev/paused-")
    pipeline.settled()
    assert f"Deployment {pipeline.name}-gateway" in pipeline.objects("deploy")


async def test_two_pipelines_in_one_namespace_never_meet(make: Make, pulsar: dict[str, str]) -> None:
    one, other = make("twin"), make("twin-gateway")
    one.settled()
    other.settled()
    before = other.objects(OWNED)
    one.delete()
    assert await left_in_pulsar(pulsar["adminUrl"], other) == {
        *(name.name for name in topic_names(other)),
        "twin-gateway-clean",
        "twin-gateway-features",
    }
    other.settled()
    assert other.objects(OWNED).keys() == before.keys()


async def test_retained_data_outlives_a_pipeline_and_is_taken_up_again(
    make: Make, pulsar: dict[str, str]
) -> None:
    pipeline = make(deletionPolicy="Retain")
    pipeline.settled()
    keys, claims = pipeline.get("secret", "keys")["data"], pipeline.objects("pvc")
    pipeline.delete()
    left = await left_in_pulsar(pulsar["adminUrl"], pipeline)
    assert left == {
        f"{pipeline.name}-{part}"
        for part in ("events", "clean", "features", "items", "impressions", "rejected")
    }
    until(lambda: not pipeline.objects("deploy,sts,svc,cm"), "workloads are gone")
    assert pipeline.objects("pvc").keys() == claims.keys()
    pipeline.apply(deletionPolicy="Delete")
    pipeline.settled()
    assert pipeline.get("secret", "keys")["data"] == keys


async def test_what_is_to_be_deleted_is_deleted_with_its_data(
    make: Make, pulsar: dict[str, str], store: str
) -> None:
    pipeline = make()
    pipeline.settled()
    with Redis.from_url(store) as client:
        client.set(Keys(pipeline.name).state("u1"), b"x")
        client.set(Keys(f"{pipeline.name}x").state("u1"), b"x")
        pipeline.delete()
        assert client.keys(Keys(pipeline.name).all) == []
        assert client.delete(Keys(f"{pipeline.name}x").state("u1")) == 1
    assert await left_in_pulsar(pulsar["adminUrl"], pipeline) == set()
    until(lambda: not pipeline.objects("deploy,sts,svc,cm,pvc,secret,pod"), "everything is gone")


def test_the_learners_report_is_in_the_status(make: Make, store: str) -> None:
    pipeline = make()
    pipeline.settled()
    assert pipeline.condition("ModelFresh")["reason"] == "NoReport"
    report = LearnerStatus(
        learned=10,
        model_version=7,
        reported_at=time.time() + 60,
        published_at=time.time(),
        events_per_second=3.5,
    )
    with Redis.from_url(store) as client:
        client.set(Keys(pipeline.name).learner, msgspec.json.encode(report))
        pipeline.until("ModelFresh", "True", seconds=30)
        status = pipeline.resource["status"]
        assert (status["modelVersion"], status["eventsPerSecond"]) == ("7", "3.5")
        drifted = msgspec.structs.replace(report, drifted=True, drift_reason="hit rate fell")
        client.set(Keys(pipeline.name).learner, msgspec.json.encode(drifted))
        assert "hit rate fell" in pipeline.until("Drifted", "True", seconds=30)["message"]
    row = pipeline.kubernetes.kubectl("get", "recpipe", pipeline.name, "-n", pipeline.namespace).stdout
    assert "True" in row
    assert "7" in row


def test_a_credentials_secret_is_asked_for_by_name(make: Make) -> None:
    pipeline = make(pulsar={"credentialsSecret": "nobody-made-it"})
    found = pipeline.until("Ready", "False", "CredentialsMissing")
    assert "spec.pulsar.credentialsSecret: Secret nobody-made-it does not exist" in found["message"]
    pipeline.kubernetes.apply(secret(pipeline.namespace, "nobody-made-it", token="not asked for"))
    pipeline.settled()


def test_another_ones_object_is_not_taken(make: Make, operator: Operator) -> None:
    name = "taken"
    theirs: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-serving", "namespace": operator.namespace},
        "data": {"theirs": "yes"},
    }
    operator.kubernetes.apply(theirs)
    pipeline = make(name)
    found = pipeline.until("Ready", "False", "NameTaken")
    assert f"ConfigMap {name}-serving exists and is not this pipeline's" in found["message"]
    assert pipeline.get("cm", "serving")["data"] == {"theirs": "yes"}
    pipeline.kubernetes.kubectl("delete", "cm", f"{name}-serving", "-n", operator.namespace)
    pipeline.settled()


async def test_a_function_runs_the_spec_of_now(make: Make, pulsar: dict[str, str]) -> None:
    pipeline = make()
    pipeline.settled()
    name = FunctionName("public", "operator", f"{pipeline.name}-features")
    async with Admin(pulsar["adminUrl"]) as admin:
        before = (await admin.functions.config(name))["userConfig"]
        pipeline.apply(features={"halfLife": "3h"})
        pipeline.settled()
        assert (await admin.functions.config(name))["userConfig"]["pipeline"] != before["pipeline"]
