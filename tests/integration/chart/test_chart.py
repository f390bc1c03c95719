"""What the chart installs: as it was reviewed, valid to the API server, and of values that are checked."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import Kubernetes, binaries
from .conftest import CHART, NAMESPACE, VERSION, helm, rendered, snapshot

Variant = tuple[str, list[dict[str, Any]]]


def test_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", "--quiet", str(CHART))
    assert done.returncode == 0, done.stdout


def test_what_is_rendered_is_what_was_reviewed(variant: Variant) -> None:
    """With UPDATE_SNAPSHOTS=1 the new state is written, to be reviewed as a difference."""
    name, objects = variant
    text = yaml.safe_dump_all(
        (each for each in objects if each["kind"] != "CustomResourceDefinition"), sort_keys=True
    )
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot(name).write_text(text)
    assert text == snapshot(name).read_text()


def test_the_api_server_takes_everything(kubernetes: Kubernetes, variant: Variant) -> None:
    _, objects = variant
    kubernetes.kubectl("create", "namespace", NAMESPACE)
    for namespace in ("shop", "news"):
        kubernetes.kubectl("create", "namespace", namespace)
    known = [each for each in objects if each["kind"] != "ServiceMonitor"]
    done = kubernetes.kubectl(
        "apply", "--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-",
        stdin=yaml.safe_dump_all(known),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_kubeconform_finds_nothing(kubernetes: Kubernetes, variant: Variant, tmp_path: Path) -> None:
    """Schemas are those of the API server itself, for kubeconform's own would be downloaded."""
    _, objects = variant
    for each in objects:
        _write_schema(kubernetes, each["apiVersion"], each["kind"], tmp_path)
    command = [str(binaries() / "kubeconform"), "-strict", "-summary", "-output", "json"]
    command += ["-skip", "ServiceMonitor", "-kubernetes-version", VERSION]
    command += ["-schema-location", str(tmp_path / "{{.ResourceKind}}{{.KindSuffix}}.json")]
    done = subprocess.run(
        command, input=yaml.safe_dump_all(objects), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    checked = json.loads(done.stdout)["summary"]
    assert checked["valid"] + checked["skipped"] == len(objects)


def _write_schema(kubernetes: Kubernetes, api_version: str, kind: str, folder: Path) -> None:
    group, _, version = api_version.rpartition("/")
    target = folder / f"{kind.lower()}-{(group.split('.')[0] + '-') if group else ''}{version}.json"
    if target.exists() or kind == "ServiceMonitor":
        return
    path = f"/openapi/v3/{f'apis/{group}' if group else 'api'}/{version}"
    schemas = json.loads(kubernetes.kubectl("get", "--raw", path).stdout)["components"]["schemas"]
    (root,) = (name for name, each in schemas.items() if _is(each, group, version, kind))
    text = json.dumps({"$ref": f"#/definitions/{root}", "definitions": {**map_strict(schemas)}})
    target.write_text(text.replace("#/components/schemas/", "#/definitions/"))


def _is(schema: dict[str, Any], group: str, version: str, kind: str) -> bool:
    wanted = {"group": group, "version": version, "kind": kind}
    return wanted in schema.get("x-kubernetes-group-version-kind", [])


def map_strict(schemas: dict[str, Any]) -> dict[str, Any]:
    """A field that the API does not know is an error."""
    return {
        name: each | {"additionalProperties": False} if "properties" in each else each
        for name, each in schemas.items()
    }


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("operator.replica=2", "'replica'"),
        ("operator.replicas=-1", "minimum"),
        ("operator.watchNamespaces={Shop}", "pattern"),
        ("images.pullPolicy=Sometimes", "Always"),
        ("images.gateway.repository=recpipe/gateway:1", "pattern"),
        ("demo.pulsar.storage=5GB", "pattern"),
        ("nonsense=1", "'nonsense'"),
    ],
)
def test_a_value_that_means_nothing_is_refused(setting: str, says: str) -> None:
    done = helm("template", "recpipe", str(CHART), "--kube-version", VERSION, "--set", setting)
    assert done.returncode != 0
    assert says in done.stderr


def test_an_old_cluster_is_refused() -> None:
    done = helm("template", "recpipe", str(CHART), "--kube-version", "1.28.0")
    assert done.returncode != 0
    assert "1.29" in done.stderr


def test_every_pod_may_do_nothing_but_its_work() -> None:
    for each in rendered("demo.enabled=true", "operator.replicas=2"):
        if each["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        pod = each["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            allowed = container["securityContext"]
            assert allowed["readOnlyRootFilesystem"] is True
            assert allowed["allowPrivilegeEscalation"] is False
            assert allowed["capabilities"] == {"drop": ["ALL"]}
            assert {"livenessProbe", "readinessProbe", "resources"} <= container.keys()


@pytest.mark.parametrize("setting", ["operator.image.tag=1.2.3", "operator.image.tag=sha256:abc"])
def test_an_image_is_named_by_tag_or_digest(setting: str) -> None:
    (operator,) = (each for each in rendered(setting) if each["kind"] == "Deployment")
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "recpipe/operator" + ("@" if "sha256" in setting else ":") + setting.partition("=")[2]
