"""For those who ask: a real Kubernetes API (etcd, API server and controllers, without a node), a real Pulsar."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "tools" / "cluster"
START_SECONDS = 240
CALL_SECONDS = 60
SETTLE_SECONDS = 90.0
ESTABLISHED_SECONDS = 30.0
POLL_SECONDS = 0.2


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pulsar: needs Java 17, or an existing Pulsar cluster")


@dataclass(frozen=True)
class Kubernetes:
    """An API server of its own; KUBECONFIG of its administrator, and its log of who asked for what."""

    home: Path

    @property
    def kubeconfig(self) -> Path:
        return self.home / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON object (audit.k8s.io/v1 Event) a line, for every request there was."""
        return self.home / "log" / "audit.jsonl"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs kubectl of the server's version; the exit code is the caller's to look at."""
        command = [str(binaries() / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=CALL_SECONDS, check=False
        )

    def apply(self, *resources: Mapping[str, Any]) -> None:
        done = self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(resources))
        assert done.returncode == 0, done.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        done = self.kubectl("get", "--output=json", *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def until(found: Callable[[], Any], what: str, seconds: float = SETTLE_SECONDS) -> Any:
    """Waits for something true; fails with what was waited for and what there was."""
    deadline = time.monotonic() + seconds
    while not (last := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s, but {last!r}"
        time.sleep(POLL_SECONDS)
    return last


def binaries() -> Path:
    """Where tools/cluster keeps what it compiled."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from kube.binaries import BIN
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return BIN


def established(kubernetes: Kubernetes) -> bool:
    """Whether the API server serves the CRD."""
    status = kubernetes.get("crd", "recommenderpipelines.recpipe.dev").get("status", {})
    return any(
        {"type": "Established", "status": "True"}.items() <= each.items()
        for each in status.get("conditions") or ()
    )


@contextmanager
def api_server(home: Path, *options: str) -> Iterator[Kubernetes]:
    """Runs `tools/cluster api` with the CRD in place; with `--fake-node` pods are said to be ready."""
    started = subprocess.run(
        [CLUSTER, "api", "--home", home, "--fresh", *options],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    try:
        assert started.returncode == 0, started.stderr
        kubernetes = Kubernetes(home)
        crd = ROOT / "crds" / "recommenderpipelines.recpipe.dev.yaml"
        done = kubernetes.kubectl("apply", "--server-side", "-f", str(crd))
        assert done.returncode == 0, done.stderr
        # `kubectl wait` fails where it comes before the first conditions.
        until(lambda: established(kubernetes), "the API of pipelines is there", ESTABLISHED_SECONDS)
        yield kubernetes
    finally:
        subprocess.run([CLUSTER, "down", "--home", home], check=True, timeout=CALL_SECONDS)


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """One for the whole session; tests keep to namespaces of their own."""
    with api_server(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@dataclass
class Broker:
    """A broker that may be killed and started again, on the same ports and data."""

    home: Path
    options: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def up(self) -> None:
        said = self._run("up", *self.options)
        self.settings = dict(line.removeprefix("export ").split("=", 1) for line in said.splitlines())

    def kill(self) -> None:
        os.kill(int(self.settings["PULSAR_PID"]), signal.SIGKILL)

    def down(self) -> None:
        self._run("down")

    def _run(self, *arguments: str) -> str:
        command = [str(ROOT / "tools" / "pulsar"), *arguments, "--home", str(self.home)]
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, timeout=START_SECONDS
        ).stdout


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker | None]:
    """None where the tests run against an existing cluster."""
    if "PULSAR_URL" in os.environ:
        yield None
        return
    yield from running(Broker(tmp_path_factory.mktemp("pulsar")))


def running(broker: Broker) -> Iterator[Broker]:
    try:
        broker.up()
        yield broker
    finally:
        broker.down()
