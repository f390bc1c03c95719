"""The chart, rendered by Helm."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import ROOT, binaries

CHART = ROOT / "charts" / "recpipe"
VERSION = "1.34.4"
NAMESPACE = "recpipe-system"
VARIANTS: dict[str, Sequence[str]] = {
    "default": (),
    "standby": ("operator.replicas=2", "metrics.serviceMonitor=true", "images.pullSecrets={registry}"),
    "namespaces": ("operator.watchNamespaces={shop,news}", "crds.keep=false"),
    "demo": ("demo.enabled=true", "metrics.service=false"),
}
Helm = Callable[..., subprocess.CompletedProcess[str]]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(binaries() / "helm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rendered(*settings: str) -> list[dict[str, Any]]:
    """The objects of a release, as `helm template` gives them."""
    chosen = [argument for setting in settings for argument in ("--set", setting)]
    done = helm("template", "recpipe", str(CHART), "-n", NAMESPACE, "--kube-version", VERSION, *chosen)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture(params=VARIANTS.items(), ids=lambda variant: variant[0])
def variant(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]]]:
    name, settings = request.param
    return name, rendered(*settings)


def snapshot(name: str) -> Path:
    return Path(__file__).with_name("snapshots") / f"{name}.yaml"
