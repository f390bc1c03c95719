"""Real servers in processes of their own, and the SavedModels they serve."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from recpipe_model.client import ModelNotFound, PredictClient, Unavailable, VersionState

from .conformance import copy_version, lay_out

HERE = Path(__file__).parent
START_SECONDS = 120.0  # importing TensorFlow, on a busy machine
SECONDS = 30.0


def _wait_until(condition, what, seconds=SECONDS):
    """Poll a condition until it holds and return what it gave; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting after {seconds} s: {what}"
        time.sleep(0.01)
    return result


class Endpoint:
    """A server of TensorFlow Serving's API, ours or another."""

    def __init__(self, target, rest):
        self.target = target
        self.rest_host, _, port = rest.rpartition(":")
        self.rest_port = int(port)
        self.client = PredictClient(target)

    def rest(self, method, path, body=None):
        """The status code and the body, read as JSON where it is."""
        connection = http.client.HTTPConnection(self.rest_host, self.rest_port, timeout=SECONDS)
        connection.request(
            method, path, body if body is None or isinstance(body, bytes) else json.dumps(body)
        )
        response = connection.getresponse()
        content = response.read().decode()
        connection.close()
        is_json = response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(content) if is_json else content

    def states(self, model):
        try:
            return {status.version: status.state for status in self.client.status(model, timeout=SECONDS)}
        except (ModelNotFound, Unavailable):
            return {}

    def wait_for(self, model, version, state=VersionState.AVAILABLE):
        _wait_until(
            lambda: self.states(model).get(version) is state, f"{model} version {version} to be {state.name}"
        )

    def stop(self):
        self.client.close()


class Server(Endpoint):
    """`python -m recpipe_model.server` on free ports."""

    def __init__(self, directory, *flags):
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "server.log"
        ready = directory / "ready.json"
        command = [sys.executable, "-m", "recpipe_model.server", "--port=0", "--rest-api-port=0"]
        command += [f"--ready-file={ready}", "--file-system-poll-wait-seconds=0.02", *flags]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        _wait_until(
            lambda: ready.exists() or self.process.poll() is not None, "the server to listen", START_SECONDS
        )
        assert self.process.poll() is None, self.log.read_text()
        ports = json.loads(ready.read_text())
        assert ports["pid"] == self.process.pid
        super().__init__(f"127.0.0.1:{ports['grpc_port']}", f"127.0.0.1:{ports['rest_port']}")

    def stop(self):
        super().stop()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0, self.log.read_text()


@pytest.fixture(scope="session")
def wait_until():
    return _wait_until


@pytest.fixture(scope="module")
def start_server():
    """Starts servers, given a directory for their files and flags, and stops them at the end of the module."""
    servers = []

    def start(directory, *flags):
        servers.append(Server(directory, *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory):
    """The directory of SavedModels that build_models.py wrote."""
    directory = tmp_path_factory.mktemp("saved_models")
    subprocess.run([sys.executable, HERE / "build_models.py", directory], timeout=START_SECONDS, check=True)
    return directory


@pytest.fixture(scope="session")
def publish(saved_models):
    """Copies a SavedModel to be a version of a model: written aside, then renamed into place, as the learner does."""
    return partial(copy_version, saved_models)


@pytest.fixture(scope="session")
def server(tmp_path_factory, publish):
    """A server of several models, for the tests that change nothing; with TFS, the one at that address."""
    if target := os.environ.get("TFS"):
        server = Endpoint(target, os.environ.get("TFS_REST") or f"{target.rpartition(':')[0]}:8501")
    else:
        root = tmp_path_factory.mktemp("server")
        lay_out(publish, root, root)
        server = Server(root, f"--model-config-file={root / 'models.config'}")
    for name, version in (
        ("adder", 1),
        ("adder", 2),
        ("echo", 7),
        ("warmed", 1),
        ("unwarmed", 1),
        ("retrieval", 1),
    ):
        server.wait_for(name, version)
    server.wait_for("misled", 1, VersionState.END)
    yield server
    server.stop()
