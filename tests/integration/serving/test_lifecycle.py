"""Versions come and go, and the server starts, fills up and stops, without a request being lost."""

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import psutil
import pytest

from recpipe_model.client import (
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    PredictClient,
    ServingError,
    Unavailable,
    VersionState,
)
from recpipe_model.server import wire

SECONDS = 30.0
INPUTS = {"x": np.array([1], "float32")}


@pytest.fixture(scope="module")
def lively(tmp_path_factory, start_server):
    """A server whose models the tests add; `add(name)` gives the new model's base path."""
    root = tmp_path_factory.mktemp("lively")
    server = start_server(root, f"--model-base-path={root}", "--max-num-load-retries=0")
    names = []

    def add(name, publish_first):
        (root / name).mkdir()
        publish_first(root / name)
        names.append(name)
        reload_config(server, *[model_config(root, name) for name in names])
        return root / name

    server.add = add
    return server


def model_config(root, name, policy=None, labels=None):
    return {
        "name": name,
        "base_path": str(root / name),
        "model_platform": "tensorflow",
        "model_version_policy": policy or {},
        "version_labels": labels or {},
    }


def reload_config(server, *configs):
    request = wire.ReloadConfigRequest(config={"model_config_list": {"config": configs}})
    with grpc.insecure_channel(server.target) as channel:
        method = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            wire.ReloadConfigRequest.SerializeToString,
            wire.ReloadConfigResponse.FromString,
        )
        return method(request, timeout=SECONDS)


def predict(server, model, inputs=None, **options):
    return server.client.predict(model, "", inputs or INPUTS, timeout=SECONDS, **options)


def test_it_starts_before_any_version_exists(tmp_path, start_server, publish, wait_until):
    server = start_server(tmp_path, f"--model-base-path={tmp_path / 'm'}", "--model-name=m")
    assert not server.client.is_serving(timeout=SECONDS)
    with pytest.raises(ModelNotFound, match=r"Latest\(m\)"):
        predict(server, "m")
    (tmp_path / "m").mkdir()
    publish("adder", tmp_path / "m", 1)
    wait_until(lambda: server.client.is_serving(timeout=SECONDS), "the server to be healthy")
    assert predict(server, "m").version == 1


def test_no_request_fails_while_versions_are_swapped_under_load(lively, publish):
    base_path = lively.add("swapped", lambda path: publish("adder", path, 1))
    stop = threading.Event()

    def call_on_and_on():
        versions = []
        while not stop.is_set():
            answer = predict(lively, "swapped")
            assert answer["y"].tolist() == [3]
            versions.append(answer.version)
        return versions

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(call_on_and_on) for _ in range(4)]
        try:
            for version in range(2, 7):
                publish("adder", base_path, version)
                lively.wait_for("swapped", version)
                lively.wait_for("swapped", version - 1, VersionState.END)
        finally:
            stop.set()
        for call in calls:
            versions = call.result(SECONDS)
            assert versions == sorted(versions), "a caller never goes back to an older version"
            assert {1, 6} <= set(versions)


def test_a_broken_version_leaves_the_old_one_serving(lively, publish):
    base_path = lively.add("broken", lambda path: publish("adder", path, 1))
    (base_path / "2").mkdir()
    lively.wait_for("broken", 2, VersionState.END)
    publish("adder", base_path, 3, corrupt=True)
    lively.wait_for("broken", 3, VersionState.END)
    statuses = {status.version: status for status in lively.client.status("broken", timeout=SECONDS)}
    assert statuses[1].state is VersionState.AVAILABLE
    assert statuses[2].code == grpc.StatusCode.NOT_FOUND.value[0]
    assert statuses[2].message.startswith("Could not find SavedModel")
    assert statuses[3].code != 0
    assert statuses[3].message
    assert predict(lively, "broken").version == 1
    publish("adder", base_path, 4)
    lively.wait_for("broken", 1, VersionState.END)
    assert predict(lively, "broken").version == 4


def test_memory_does_not_grow_with_the_versions_that_came_and_went(lively, publish):
    base_path = lively.add("churned", lambda path: publish("adder", path, 1))
    process = psutil.Process(lively.process.pid)

    def swap(versions):
        for version in versions:
            publish("adder", base_path, version)
            lively.wait_for("churned", version - 1, VersionState.END)
        return process.memory_info().rss

    settled = swap(range(2, 12))
    assert swap(range(12, 42)) < settled + 20 * 2**20


def test_a_writers_draft_is_not_a_version(lively, publish, saved_models):
    base_path = lively.add("drafts", lambda path: publish("adder", path, 1))
    (base_path / ".9.writing").symlink_to(saved_models / "adder")
    (base_path / "9.tmp").symlink_to(saved_models / "adder")
    publish("adder", base_path, 2)
    lively.wait_for("drafts", 2)
    assert set(lively.states("drafts")) == {1, 2}


def test_a_canary_by_configuration(lively, publish, tmp_path):
    (tmp_path / "model").mkdir()
    for version in (1, 2):
        publish("adder", tmp_path / "model", version)

    def configure(versions, **labels):
        reload_config(lively, model_config(tmp_path, "model", {"specific": {"versions": versions}}, labels))

    configure([1], stable=1)
    with pytest.raises(
        grpc.RpcError, match="label to version 2 of model model, which is not currently available"
    ):
        configure([1, 2], stable=1, canary=2)
    lively.wait_for("model", 2)
    configure([1, 2], stable=1, canary=2)
    assert predict(lively, "model", label="stable").version == 1
    assert predict(lively, "model", label="canary").version == 2
    configure([2], stable=2)
    lively.wait_for("model", 1, VersionState.END)
    assert predict(lively, "model", label="stable").version == 2


def test_a_wrong_configuration_changes_nothing(lively, publish, tmp_path):
    lively.add("kept", lambda path: publish("adder", path, 1))
    with pytest.raises(grpc.RpcError, match="unsupported platform caffe"):
        reload_config(lively, model_config(tmp_path, "kept") | {"model_platform": "caffe"})
    assert predict(lively, "kept").version == 1


@pytest.fixture
def busy(tmp_path, start_server, publish, wait_until):
    """A server with one worker, and a model that takes as long as it is told; `steps` take some seconds."""
    (tmp_path / "busy").mkdir()
    publish("busy", tmp_path / "busy", 1)
    server = start_server(
        tmp_path,
        f"--model-base-path={tmp_path / 'busy'}",
        "--model-name=busy",
        "--grpc-workers=1",
        "--max-requests=8",
        "--drain-seconds=20",
    )
    server.wait_for("busy", 1)
    steps, taken = 500, 0.0
    while taken < 0.2:  # long enough that a pause of the machine is little of it
        steps *= 4
        started = time.perf_counter()
        predict(server, "busy", {"steps": np.int32(steps)})
        taken = time.perf_counter() - started
    server.steps = np.int32(steps * 2.0 / taken)
    return server


def test_an_overloaded_server_refuses_calls_and_still_says_it_is_healthy(busy, wait_until):
    def call(_):
        try:
            return busy.client.predict("busy", "", {"steps": busy.steps}, timeout=3)
        except ServingError as error:
            return error

    with ThreadPoolExecutor(16) as callers:
        calls = [callers.submit(call, n) for n in range(16)]
        wait_until(lambda: any(call.done() for call in calls), "a call to be refused")
        assert busy.client.is_serving(timeout=1)
        results = [call.result(SECONDS) for call in calls]
    assert any(isinstance(result, Overloaded) for result in results)
    assert any(isinstance(result, DeadlineExceeded) for result in results)
    wait_until(lambda: not isinstance(call(0), ServingError), "the server to answer again", 60)


def test_sigterm_lets_the_request_in_progress_finish(busy, tmp_path, wait_until):
    with ThreadPoolExecutor(1) as caller:
        running = caller.submit(predict, busy, "busy", {"steps": busy.steps})
        wait_until(running.running, "the call to begin")
        in_progress(busy, wait_until)
        busy.process.terminate()
        with PredictClient(busy.target) as late:
            wait_until(lambda: is_refused(late), "new calls to be refused")
        assert running.result(SECONDS)["steps"] == busy.steps
    assert busy.process.wait(SECONDS) == 0
    assert not (tmp_path / "ready.json").exists()


def in_progress(server, wait_until):
    """Wait until a request runs: the only worker is then taken, so that another one's deadline passes."""

    def taken():
        try:
            server.client.predict("busy", "", {"steps": np.int32(0)}, timeout=0.05)
        except DeadlineExceeded:
            return True
        return False

    wait_until(taken, "a request to take the worker")


def is_refused(client):
    try:
        client.predict("busy", "", {"steps": np.int32(0)}, timeout=1)
    except Unavailable:
        return True
    except ServingError:
        return False
    return False


def test_a_port_in_use_is_said_and_ends_the_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "recpipe_model.server",
            f"--model-base-path={tmp_path}",
            f"--port={port}",
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "cannot start" in ended.stderr
    assert f"127.0.0.1:{port}" in ended.stderr
