"""What a pipeline wants of Kubernetes, spec by spec."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from recpipe.pipeline_file import load_pipeline
from recpipe.spec import RecommenderPipeline
from recpipe_operator.desired import Object
from recpipe_operator.desired.serving import message, model_server_config

from .conftest import Describe, context_of

PODS = [("StatefulSet", "shop-store"), ("StatefulSet", "shop-learner")]
PODS += [("Deployment", "shop-serving"), ("Deployment", "shop-gateway"), ("CronJob", "shop-train")]


def template_of(each: Object) -> Object:
    spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
    found: Object = spec["template"]
    return found


def container_of(each: Object) -> Object:
    (found,) = template_of(each)["spec"]["containers"]
    return dict(found)


def test_the_smallest_pipeline_has_every_part(describe: Describe) -> None:
    kinds = sorted(kind for kind, _ in describe())
    assert kinds == sorted(
        ["ConfigMap"] * 2
        + ["PersistentVolumeClaim"] * 3
        + ["Service"] * 4
        + ["StatefulSet"] * 2
        + ["Deployment"] * 2
        + ["NetworkPolicy"] * 4
        + ["PodDisruptionBudget"] * 2
    )


def test_desired_state_is_a_pure_function(describe: Describe) -> None:
    assert describe() == describe()


@pytest.mark.parametrize("name", PODS)
def test_every_pod_may_do_little(describe: Describe, name: tuple[str, str]) -> None:
    template = template_of(describe({"model": {"retrainSchedule": "0 4 * * *"}})[name])
    pod, main = template["spec"], template["spec"]["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= main["resources"]["requests"].keys()
    assert "memory" in main["resources"]["limits"]
    mounted = {mount["name"] for mount in main["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", PODS[:4])
def test_every_server_is_probed(describe: Describe, name: tuple[str, str]) -> None:
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container_of(describe()[name]).keys()


def test_all_but_data_goes_with_the_pipeline(describe: Describe) -> None:
    for (kind, _), each in describe().items():
        owners = each["metadata"].get("ownerReferences", [])
        assert [owner["uid"] for owner in owners] == ([] if kind == "PersistentVolumeClaim" else ["uid-1"])


def test_names_of_two_pipelines_never_meet(describe: Describe) -> None:
    """A part has no dash in its name: what is before the last dash is the pipeline."""
    assert {name.rpartition("-")[0] for _, name in describe()} == {"shop"}


def test_pods_read_the_resource_they_are_part_of(describe: Describe) -> None:
    objects = describe({"features": {"halfLife": "3h"}, "pulsar": {"tenant": "acme"}})
    file = yaml.safe_load(objects["ConfigMap", "shop-pipeline"]["data"]["pipeline.yaml"])
    read = RecommenderPipeline.model_validate(file)
    assert read.spec.features.half_life.total_seconds() == 3 * 3600
    assert read.spec.pulsar.tenant == "acme"


@pytest.mark.parametrize(
    ("spec", "rolled"),
    [
        ({"features": {"halfLife": "3h"}}, {"shop-learner", "shop-gateway"}),
        ({"gateway": {"replicas": 3}}, set()),
        ({"serving": {"replicas": 3}}, set()),
        ({"paused": True, "deletionPolicy": "Delete"}, set()),
        ({"serving": {"labels": {"canary": 7}}}, {"shop-serving"}),
        ({"serving": {"image": "ours:1"}}, {"shop-serving"}),
    ],
)
def test_a_change_rolls_the_pods_that_read_it(
    describe: Describe, spec: dict[str, Any], rolled: set[str]
) -> None:
    before, after = describe(), describe(spec)
    changed = {
        name for kind, name in PODS[:4] if template_of(before[kind, name]) != template_of(after[kind, name])
    }
    assert changed == rolled


def test_the_learner_is_told_which_versions_are_named(describe: Describe, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    objects = describe({"serving": {"version": 4, "labels": {"canary": 7}}})
    file.write_text(objects["ConfigMap", "shop-pipeline"]["data"]["pipeline.yaml"])
    assert load_pipeline(file).spec.serving.named_versions == {4, 7}


@pytest.mark.parametrize("credentials", [{}, {"credentialsSecret": "pulsar"}])
def test_every_process_takes_its_arguments(
    describe: Describe, credentials: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recpipe.cli import app
    from recpipe_gateway import __main__ as gateway
    from recpipe_model.learner import __main__ as learner

    objects = describe({"pulsar": credentials, "model": {"retrainSchedule": "@daily"}})
    training = container_of(objects["CronJob", "shop-train"])
    program, name = training["command"]
    assert program == "recpipe"
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    with command.commands[name].make_context(name, list(training["args"])) as given:
        assert given.params["models"] == Path("/models")
        assert (given.params["pulsar_credentials"] is None) == (credentials == {})
    for module, kind, name in ((gateway, "Deployment", "gateway"), (learner, "StatefulSet", "learner")):
        container = container_of(objects[kind, f"shop-{name}"])
        assert container["command"] == ["python", "-m", module.__spec__.name.removesuffix(".__main__")]
        monkeypatch.setattr("sys.argv", [name, *container["args"]])
        assert module.arguments().bus_url == "pulsar"


def test_a_new_version_of_a_secret_rolls_who_reads_it_once(describe: Describe) -> None:
    old, new = describe(secrets={"shop-keys": "1"}), describe(secrets={"shop-keys": "2"})
    changed = {name for kind, name in PODS[:4] if old[kind, name] != new[kind, name]}
    assert changed == {"shop-gateway"}


def test_secrets_are_referenced_and_never_copied(describe: Describe) -> None:
    objects = describe(
        {
            "store": {"urlSecret": "valkey"},
            "pulsar": {"credentialsSecret": "pulsar-token"},
            "gateway": {"authentication": {"secret": "shop-api-keys"}},
        }
    )
    gateway = objects["Deployment", "shop-gateway"]
    assert {"name": "RECPIPE_STORE_URL", "valueFrom": {"secretKeyRef": {"name": "valkey", "key": "url"}}} in (
        container_of(gateway)["env"]
    )
    volumes = {each["name"]: each for each in template_of(gateway)["spec"]["volumes"]}
    assert volumes["keys"]["secret"] == {"secretName": "shop-api-keys"}
    assert volumes["pulsar"]["secret"] == {"secretName": "pulsar-token"}
    assert "--pulsar-credentials" in container_of(gateway)["args"]
    assert ("StatefulSet", "shop-store") not in objects
    assert ("PersistentVolumeClaim", "shop-store") not in objects


def test_without_authentication_no_keys_are_mounted(describe: Describe) -> None:
    gateway = describe({"gateway": {"authentication": {"enabled": False}}})["Deployment", "shop-gateway"]
    assert "keys" not in {each["name"] for each in template_of(gateway)["spec"]["volumes"]}


def test_an_autoscaler_owns_the_replicas(describe: Describe) -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 6, "targetCpuPercent": 50}
    objects = describe({"gateway": {"autoscaling": scaling}})
    assert "replicas" not in objects["Deployment", "shop-gateway"]["spec"]
    spec = objects["HorizontalPodAutoscaler", "shop-gateway"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 50


def test_an_ingress_lets_no_metrics_out(describe: Describe) -> None:
    objects = describe(
        {"gateway": {"ingress": {"host": "shop.example", "tlsSecret": "tls", "className": "nginx"}}}
    )
    spec = objects["Ingress", "shop-gateway"]["spec"]
    assert spec["tls"] == [{"hosts": ["shop.example"], "secretName": "tls"}]
    paths = [each["path"] for each in spec["rules"][0]["http"]["paths"]]
    assert "/v1" in paths
    assert not {"/", "/metrics"} & set(paths)


def test_pods_of_one_volume_share_a_node_unless_it_can_be_shared(describe: Describe) -> None:
    def affinity(spec: dict[str, Any], kind: str, name: str) -> Any:
        return template_of(describe(spec)[kind, name])["spec"].get("affinity")

    alone = affinity({}, "Deployment", "shop-serving")
    (term,) = alone["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    # The first pod has to match its own term, or none could ever be scheduled.
    labels = template_of(describe()["Deployment", "shop-serving"])["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert affinity({}, "StatefulSet", "shop-learner") == alone
    shared = {"model": {"storage": {"accessMode": "ReadWriteMany"}}}
    assert affinity(shared, "Deployment", "shop-serving") is None


@pytest.mark.parametrize(
    ("serving", "policy"),
    [
        ({}, {"latest": {"num_versions": 1}}),
        ({"version": 4}, {"specific": {"versions": [4]}}),
        ({"labels": {"canary": 7}}, {"all": {}}),
        ({"version": 4, "labels": {"canary": 7}}, {"specific": {"versions": [4, 7]}}),
    ],
)
def test_the_version_policy_loads_what_is_asked_for(serving: dict[str, Any], policy: dict[str, Any]) -> None:
    (config,) = model_server_config(context_of({"serving": serving}))["model_config_list"]["config"]
    assert config["model_version_policy"] == policy


def test_the_model_configuration_is_what_tensorflow_serving_reads() -> None:
    from google.protobuf import text_format

    from recpipe_model.server.config import Latest, ModelConfig, parse_config
    from recpipe_model.server.wire import ModelServerConfig

    context = context_of({})
    text = message(model_server_config(context))
    (read,) = parse_config(text_format.Parse(text, ModelServerConfig()))
    assert isinstance(read, ModelConfig)
    assert (read.name, str(read.base_path), read.policy) == ("shop", "/models", Latest(1))
    labelled = message(model_server_config(context_of({"serving": {"labels": {"canary": 7, "stable": 6}}})))
    (read,) = parse_config(text_format.Parse(labelled, ModelServerConfig()))
    assert read.labels == {"canary": 7, "stable": 6}


@pytest.mark.parametrize(
    ("admin_url", "peer"),
    [
        ("http://pulsar:8080", {"kubernetes.io/metadata.name": "prod"}),
        ("http://pulsar-proxy.pulsar.svc.cluster.local:8080", {"kubernetes.io/metadata.name": "pulsar"}),
        ("https://pulsar.messaging:8443", {"kubernetes.io/metadata.name": "messaging"}),
        ("https://pulsar.example.com:8443", None),
    ],
)
def test_only_those_who_need_the_managed_store_reach_it(
    describe: Describe, admin_url: str, peer: dict[str, str] | None
) -> None:
    policy = describe({"pulsar": {"adminUrl": admin_url}})["NetworkPolicy", "shop-store"]["spec"]
    (rule,) = policy["ingress"]
    namespaces = [each["namespaceSelector"] for each in rule["from"] if "namespaceSelector" in each]
    assert namespaces == [
        {"matchLabels": {"kubernetes.io/metadata.name": "system"}},
        {"matchLabels": peer} if peer else {},
    ]
    assert "Egress" in policy["policyTypes"]
    assert "egress" not in policy


def test_monitors_where_the_cluster_has_them(describe: Describe) -> None:
    objects = describe(service_monitors=True)
    assert len(objects["ServiceMonitor", "shop-monitoring"]["spec"]["endpoints"]) == 3


def test_the_store_leaves_room_below_its_limit(describe: Describe) -> None:
    valkey = container_of(describe({"store": {"managed": {"memory": "2Gi"}}})["StatefulSet", "shop-store"])
    assert valkey["args"][valkey["args"].index("--maxmemory") + 1] == "1536mb"
    assert valkey["resources"]["limits"]["memory"] == "2Gi"
