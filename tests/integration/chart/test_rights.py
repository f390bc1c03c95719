"""The chart's roles hold what the operator needs, and nothing else: by the API server's own audit log."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Kubernetes, api_server, until
from .conftest import NAMESPACE, rendered

ACCOUNT = "recpipe-operator"
Right = tuple[str, str, str]
"""API group, resource and verb."""

MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
EVERYTHING = {
    "model": {"retrainSchedule": "0 4 * * *"},
    "serving": {"autoscaling": {}},
    "gateway": {"autoscaling": {}, "ingress": {"host": "shop.example"}},
    "deletionPolicy": "Delete",
}
NOTHING = {
    "gateway": {"authentication": {"enabled": False}},
    "store": {"urlSecret": "elsewhere"},
    "pulsar": {"credentialsSecret": "pulsar"},
}


def pipeline(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    spec = {**spec, "pulsar": {"adminUrl": "http://127.0.0.1:1", **spec.get("pulsar", {})}}
    kind = {"apiVersion": "recpipe.dev/v1alpha1", "kind": "RecommenderPipeline"}
    return {**kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    with api_server(tmp_path_factory.mktemp("rights"), "--fake-node") as running:
        running.apply(MONITORS)
        running.kubectl("create", "namespace", NAMESPACE)
        rights = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
        running.apply(*(each for each in rendered() if each["kind"] in rights))
        yield running


@pytest.fixture(scope="module")
def operator(cluster: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The operator as the chart's service account; its log."""
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", NAMESPACE).stdout.strip()
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    folder = tmp_path_factory.mktemp("operator")
    (folder / "kubeconfig").write_text(json.dumps(config))
    environment = os.environ | {
        "RECPIPE_OPERATOR_NAMESPACE": NAMESPACE,
        "RECPIPE_RESYNC_SECONDS": "2",
        "RECPIPE_DELETION_GRACE_SECONDS": "3",
    }
    command = [sys.executable, "-m", "recpipe_operator", "--kubeconfig", str(folder / "kubeconfig")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", "127.0.0.1", "--port", "0"], env=environment, stdout=log, stderr=log
        )
        yield folder / "log"
        process.terminate()
        code = process.wait(60)
    sys.stdout.write((folder / "log").read_text()[-5_000:])  # pytest shows it where something failed
    assert code == 0


@pytest.fixture(scope="module")
def requests(cluster: Kubernetes, operator: Path) -> list[dict[str, Any]]:
    """What the operator asked of the API server through the lives of two pipelines."""

    def names(kind: str) -> set[str]:
        return {each["metadata"]["name"] for each in cluster.get(kind, "-n", "default")["items"]}

    def there(*objects: str) -> bool:
        return all(name in names(kind) for kind, _, name in (each.partition("/") for each in objects))

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere", "namespace": "default"}}
    cluster.apply(secret | {"stringData": {"url": "redis://127.0.0.1:1/0"}})
    cluster.apply(secret | {"metadata": {"name": "pulsar", "namespace": "default"}})
    cluster.apply(pipeline("full", EVERYTHING), pipeline("bare", NOTHING))
    wanted = (
        "deployment/full-gateway", "statefulset/full-store", "cronjob/full-train", "ingress/full-gateway",
        "hpa/full-serving", "pdb/full-gateway", "networkpolicy/full-store", "secret/full-keys",
        "servicemonitor/full-monitoring", "pvc/full-models", "deployment/bare-gateway",
    )  # fmt: skip
    until(lambda: there(*wanted), f"{', '.join(wanted)}; {operator.read_text()[-2_000:]}")
    # Everything optional goes again, and what is broken by hand comes back.
    cluster.apply(pipeline("full", {"store": {"urlSecret": "elsewhere"}, "deletionPolicy": "Delete"}))
    gone = ("cronjob/full-train", "ingress/full-gateway", "hpa/full-serving", "statefulset/full-store")
    until(lambda: not any(there(each) for each in gone), f"the end of {', '.join(gone)}")
    deleted = ("service/full-gateway", "configmap/full-pipeline", "pdb/full-gateway")
    for each in deleted:
        cluster.kubectl("delete", each.replace("/", " ").split()[0], each.partition("/")[2], "-n", "default")
    until(lambda: there(*deleted), f"{', '.join(deleted)} again")
    cluster.kubectl("delete", "recpipe", "full", "bare", "-n", "default", "--wait=false")
    until(lambda: names("recpipe") == set(), "the end of both pipelines")
    user = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    events = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
    return [each for each in events if each["user"]["username"] == user]


def declared() -> set[Right]:
    """Every right of the chart's roles, rule by rule."""
    return {
        (group, resource, verb)
        for role in rendered()
        if role["kind"] in {"ClusterRole", "Role"}
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(requests: list[dict[str, Any]]) -> set[Right]:
    """An apply that makes an object needs the right to create it too."""
    found = set()
    for each in requests:
        if not (where := each.get("objectRef")) or "resource" not in where:
            continue
        resource = "/".join(filter(None, (where["resource"], where.get("subresource"))))
        found.add((where.get("apiGroup", ""), resource, each["verb"]))
        if each["verb"] == "patch" and each.get("responseStatus", {}).get("code") == 201:
            found.add((where.get("apiGroup", ""), resource, "create"))
    return found


@pytest.mark.slow
def test_nothing_is_missing(requests: list[dict[str, Any]]) -> None:
    assert requests
    refused = [each for each in requests if each.get("responseStatus", {}).get("code") == 403]
    assert not refused, json.dumps(refused[0], indent=1)


@pytest.mark.slow
def test_nothing_is_unused(requests: list[dict[str, Any]]) -> None:
    # Admission asks for this one (OwnerReferencesPermissionEnforcement), and is no request of its own.
    asked_by_admission = {("recpipe.dev", "recommenderpipelines/finalizers", "update")}
    assert declared() - used(requests) - asked_by_admission == set()
