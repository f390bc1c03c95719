"""Where the journey runs: the project's own single node, or kind; all else is kubectl and Helm."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]
ROLES = ("operator", "gateway", "learner", "model-server", "pulsar")
TAG = "0.1.0"
BUILD_SECONDS = 1_500
CALL_SECONDS = 180


def run(*command: str | Path, seconds: float = CALL_SECONDS, stdin: str | None = None, **more: Any) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        **more,
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}: {done.stdout[-1_500:]}{done.stderr[-1_500:]}"
    )
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.25)
    return time.monotonic() - began


class Provider(Protocol):
    """Makes a cluster and gets images into it."""

    kubeconfig: Path
    tools: Path | None
    """Folder with kubectl and helm; those on PATH where there is none."""

    def up(self) -> None: ...
    def images(self) -> str: ...
    def ctr(self, *arguments: str) -> str: ...
    def down(self) -> None: ...
    def logs(self, folder: Path) -> None: ...


class Node:
    """`tools/cluster up`; images by `tools/images`."""

    def __init__(self) -> None:
        sys.path.insert(0, str(ROOT / "tools"))
        from kube.binaries import BIN, CACHE

        self.tools: Path | None = BIN
        self._home = CACHE / "e2e"
        self.kubeconfig = self._home / "admin.kubeconfig"

    def up(self) -> None:
        fresh = [] if os.environ.get("E2E_KEEP") else ["--fresh"]
        run(ROOT / "tools" / "cluster", "up", "--home", self._home, *fresh, seconds=BUILD_SECONDS)

    def images(self) -> str:
        made = run(ROOT / "tools" / "images", seconds=BUILD_SECONDS)
        *sizes, archive = made.strip().splitlines()
        run(ROOT / "tools" / "cluster", "load", "--home", self._home, archive, seconds=BUILD_SECONDS)
        return "\n".join(sizes)

    def ctr(self, *arguments: str) -> str:
        socket = self._home / "containerd.sock"
        return run("ctr", "--address", socket, "--namespace", "k8s.io", *arguments)

    def down(self) -> None:
        run(ROOT / "tools" / "cluster", "down", "--home", self._home)

    def logs(self, folder: Path) -> None:
        for file in (self._home / "log").glob("*.log"):
            (folder / f"node-{file.name}").write_text(file.read_text(errors="replace")[-200_000:])


class Kind:
    """A cluster in Docker by kind (https://kind.sigs.k8s.io); images by images/Dockerfile."""

    NAME = "recpipe-e2e"

    def __init__(self) -> None:
        self.tools: Path | None = None
        self.kubeconfig = ROOT / "build" / "e2e" / "kind.kubeconfig"

    def up(self) -> None:
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        if self.NAME in run("kind", "get", "clusters").split():
            return
        config = Path(__file__).with_name("kind.yaml")
        create = ("kind", "create", "cluster", "--name", self.NAME, "--config", config, "--wait", "120s")
        run(*create, "--kubeconfig", self.kubeconfig, seconds=BUILD_SECONDS)

    def images(self) -> str:
        run("make", "-C", ROOT, "images", seconds=2 * BUILD_SECONDS)
        run("docker", "pull", "valkey/valkey:8.1", seconds=BUILD_SECONDS)
        tags = [f"recpipe/{role}:{TAG}" for role in ROLES]
        run(
            "kind",
            "load",
            "docker-image",
            "--name",
            self.NAME,
            *tags,
            "valkey/valkey:8.1",
            seconds=BUILD_SECONDS,
        )
        return run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}\t{{.Size}}", "recpipe/*")

    def ctr(self, *arguments: str) -> str:
        return run("docker", "exec", f"{self.NAME}-control-plane", "ctr", "--namespace", "k8s.io", *arguments)

    def down(self) -> None:
        run("kind", "delete", "cluster", "--name", self.NAME)

    def logs(self, folder: Path) -> None:
        run("kind", "export", "logs", "--name", self.NAME, folder / "kind")


def provider() -> Provider:
    match os.environ.get("E2E_CLUSTER", "node"):
        case "node":
            return Node()
        case "kind":
            return Kind()
        case other:
            raise ValueError(f"E2E_CLUSTER: {other!r} is neither node nor kind")


class Cluster:
    """A running cluster, by kubectl and Helm."""

    def __init__(self, made_by: Provider, namespace: str) -> None:
        self.provider, self.namespace = made_by, namespace
        self._environment = os.environ | {"KUBECONFIG": str(made_by.kubeconfig)}

    def _tool(self, name: str) -> str:
        return str(self.provider.tools / name) if self.provider.tools else name

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, seconds: float = CALL_SECONDS) -> str:
        command = (self._tool("kubectl"), "-n", self.namespace, *arguments)
        return run(*command, stdin=stdin, seconds=seconds, env=self._environment)

    def start(self, *arguments: str, stdin: str = "") -> "subprocess.Popen[str]":
        """kubectl in the background; its output is the caller's to read."""
        command = [self._tool("kubectl"), "-n", self.namespace, *arguments]
        pipe = subprocess.PIPE
        started = subprocess.Popen(
            command, env=self._environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        assert started.stdin
        started.stdin.write(stdin)
        started.stdin.flush()
        return started

    def helm(self, *arguments: str | Path) -> str:
        command = (self._tool("helm"), "-n", self.namespace, *arguments)
        return run(*command, seconds=600, env=self._environment)

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "-o", "json", *arguments))
        return found

    def names(self, kind: str, selector: str = "") -> list[str]:
        chosen = ("-l", selector) if selector else ()
        return [each["metadata"]["name"] for each in self.get(kind, *chosen)["items"]]

    def condition(self, kind: str, pipeline: str = "shop") -> tuple[str, str]:
        """Status and reason of a pipeline's condition."""
        found = self.get("recpipe", pipeline).get("status", {}).get("conditions", [])
        return next(((each["status"], each["reason"]) for each in found if each["type"] == kind), ("", ""))

    def kill(self, pod: str, container: int = 0) -> int:
        """SIGKILL to a container's first process, as the kernel would; its restarts so far."""
        status = self.get("pod", pod)["status"]["containerStatuses"][container]
        identity = status["containerID"].rpartition("/")[2]
        self.provider.ctr("tasks", "kill", "--signal", "SIGKILL", identity)
        return int(status["restartCount"])

    def restarted(self, pod: str, restarts: int) -> bool:
        """Whether it is ready again after more than so many restarts."""
        (status, *_) = self.get("pod", pod)["status"].get("containerStatuses") or [{}]
        return bool(status.get("ready")) and status.get("restartCount", 0) > restarts

    def collect(self, folder: Path) -> None:
        """Everything that tells why: objects, Events, descriptions and logs."""
        folder.mkdir(parents=True, exist_ok=True)
        kinds = "recpipe,pods,deployments,statefulsets,jobs,cronjobs,services,pvc,configmaps,networkpolicies"
        for name, arguments in {
            "objects.yaml": ("get", kinds, "-o", "yaml"),
            "overview.txt": ("get", f"{kinds},nodes,pv", "-o", "wide"),
            "describe.txt": ("describe", "recpipe,pods"),
            "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
        }.items():
            self._save(folder / name, *arguments)
        functions = "tail -n 2000 /tmp/logs/functions/*/*/*/*"
        self._save(folder / "functions.log", "exec", "pulsar-0", "--", "sh", "-c", functions)
        try:
            pods = self.names("pods")
        except (AssertionError, subprocess.TimeoutExpired):  # said in overview.txt
            pods = []
        for pod in pods:
            self._save(folder / f"{pod}.log", "logs", pod, "--all-containers", "--tail=5000")
            self._save(folder / f"{pod}.previous.log", "logs", pod, "--all-containers", "--previous")
        self.provider.logs(folder)

    def _save(self, file: Path, *arguments: str) -> None:
        try:
            file.write_text(self.kubectl(*arguments))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            file.write_text(str(error))
