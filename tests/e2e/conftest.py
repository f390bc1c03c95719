"""The journey's cluster, its steps with their times, and what is collected where one fails."""

import json
import os
import subprocess
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .clusters import ROOT, Cluster, provider, wait_until

NAMESPACE = "shop"
ARTIFACTS = ROOT / "build" / "e2e"
CLIENT, PROGRESS = "client", "/tmp/progress"
LOAD_SECONDS = 90


@dataclass
class Steps:
    """What was done, how long it took, and what it showed."""

    rows: list[tuple[str, float, str]] = field(default_factory=list)
    figures: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Times a step; what is put into the list stands beside it."""
        began, notes = time.monotonic(), list[str]()
        try:
            yield notes
        except BaseException:
            notes.append("FAILED")
            raise
        finally:
            self.rows.append((name, time.monotonic() - began, "; ".join(notes)))
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            (ARTIFACTS / "steps.txt").write_text(self.tables() + "\n")  # at once: a run may be cut off

    def measured(self, title: str, **figures: object) -> None:
        """A line of the table with that title."""
        self.figures.setdefault(title, []).append(figures)

    def tables(self) -> str:
        width = max((len(name) for name, _, _ in self.rows), default=0)
        lines = [f"{name:<{width}}  {seconds:>7.1f} s  {notes}" for name, seconds, notes in self.rows]
        total = sum(seconds for _, seconds, _ in self.rows)
        steps = "\n".join([*lines, f"{'all':<{width}}  {total:>7.1f} s"])
        return "\n\n".join([steps, *(_figures(title, rows) for title, rows in self.figures.items())])


def _figures(title: str, rows: list[dict[str, object]]) -> str:
    """Columns by name, and the sums of what was counted."""
    sums = {
        name: sum(row[name] for row in rows) if isinstance(value, int) else ""  # type: ignore[misc]
        for name, value in rows[0].items()
    }
    names = [name.replace("_", " ") for name in rows[0]]
    cells = [names, *([str(each) for each in row.values()] for row in [*rows, sums])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{text:<{width}}" if number == 0 else f"{text:>{width}}"
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join([title, *lines])


_STEPS = pytest.StashKey[Steps]()
_CLUSTER = pytest.StashKey[Cluster]()


@pytest.fixture(scope="session")
def steps(request: pytest.FixtureRequest) -> Steps:
    return request.config.stash.setdefault(_STEPS, Steps())


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, steps: Steps) -> Iterator[Cluster]:
    """A cluster with the operator, the demo's Pulsar and Valkey, and a pod to be a client in."""
    where = provider()
    made = Cluster(where, NAMESPACE)
    request.config.stash[_CLUSTER] = made
    with steps.step("cluster up"):
        where.up()
    try:
        with steps.step("images in") as notes:
            notes.append(where.images().replace("\n", ", ").replace("\t", " "))
        with steps.step("Helm install"):
            serving = "images.serving.repository=recpipe/model-server,images.serving.tag=0.1.0"
            install = ("upgrade", "--install", "recpipe", ROOT / "charts" / "recpipe", "--create-namespace")
            made.helm(*install, "--set", f"demo.enabled=true,{serving}", "--wait", "--timeout", "5m")
        yield made
    finally:
        if not os.environ.get("E2E_KEEP"):
            where.down()


class Shop:
    """The client's pod; see client.py."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def start(self) -> None:
        script = Path(__file__).with_name("client.py")
        made = self._cluster.kubectl(
            "create", "configmap", CLIENT, f"--from-file={script}", "--dry-run=client", "-o", "yaml"
        )
        self._cluster.kubectl("apply", "-f", "-", stdin=made)
        self._cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_client_pod()))
        self._cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_client_policy()))
        self._cluster.kubectl("wait", "--for=condition=Ready", f"pod/{CLIENT}", "--timeout=60s")

    @property
    def key(self) -> str:
        found: str = self._cluster.get("secret", "shop-keys")["data"]["private"]
        return b64decode(found).decode()

    def command(self, verb: str, **options: object) -> list[str]:
        where = {"url": "http://shop-gateway:8080", "store": "redis://shop-store:6379/0"}
        given = [text for name, value in (where | options).items() for text in (f"--{name}", str(value))]
        return ["exec", "-i", CLIENT, "--", "python", "/e2e/client.py", verb, *given]

    def does(self, verb: str, **options: object) -> dict[str, Any]:
        said = self._cluster.kubectl(*self.command(verb, **options), stdin=f"{self.key}\n", seconds=300)
        found: dict[str, Any] = json.loads(said)
        return found

    @contextmanager
    def load(self, **options: object) -> Iterator[dict[str, Any]]:
        """Under a steady load, which goes on before and after; its report is in the dictionary afterwards."""
        report: dict[str, Any] = {}
        self._cluster.kubectl("exec", CLIENT, "--", "rm", "-f", PROGRESS)
        process = self._cluster.start(*self.command("load", **options), stdin=f"{self.key}\n")
        try:
            self._goes_on(process)
            yield report
            self._goes_on(process)
        finally:
            self._cluster.kubectl("exec", CLIENT, "--", "touch", "/tmp/stop")
            try:
                out, err = process.communicate(timeout=150)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, err
        report.update(json.loads(out))

    def _goes_on(self, process: "subprocess.Popen[str]") -> None:
        before = self.progress()

        def more() -> bool:
            assert process.poll() is None, process.communicate()[1][-2_000:]
            now = self.progress()
            return now["accepted"] >= before["accepted"] + 200 and now["answered"] >= before["answered"] + 10

        wait_until(more, LOAD_SECONDS, "more events and answers under load")

    def progress(self) -> Counter[str]:
        """Of the load that runs: events accepted, answers, events learned."""
        said = self._cluster.kubectl("exec", CLIENT, "--", "sh", "-c", f"cat {PROGRESS} || true")
        return Counter(json.loads(said or "{}"))


@pytest.fixture(scope="session")
def shop(cluster: Cluster) -> Shop:
    client = Shop(cluster)
    client.start()
    return client


def _client_pod() -> dict[str, Any]:
    """The gateway's image has what the script imports."""
    container = {
        "name": "client",
        "image": "recpipe/gateway:0.1.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "86400"],
        "volumeMounts": [{"name": "script", "mountPath": "/e2e"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "script", "configMap": {"name": CLIENT}}],
        "terminationGracePeriodSeconds": 1,
        "enableServiceLinks": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLIENT, "labels": {"app": CLIENT}},
        "spec": spec,
    }


def _client_policy() -> dict[str, Any]:
    """Policies add up: this one lets the client ask the model and the store, which the pipeline's do not."""
    peer = {"from": [{"podSelector": {"matchLabels": {"app": CLIENT}}}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": CLIENT},
        "spec": {
            "podSelector": {"matchLabels": {"recpipe.dev/pipeline": "shop"}},
            "policyTypes": ["Ingress"],
            "ingress": [peer],
        },
    }


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # a wrapper answers what it was given
    report = yield
    if report.failed and (cluster := item.config.stash.get(_CLUSTER, None)):
        folder = ARTIFACTS / item.name
        cluster.collect(folder)
        report.sections.append(("collected", str(folder)))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if steps := config.stash.get(_STEPS, None):
        terminalreporter.section("steps")
        terminalreporter.write_line(steps.tables())
