"""Requests that wait are run together, and each gets what it would have got alone."""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from recpipe_model.client import InvalidRequest, VersionState
from recpipe_model.client._calls import predict_request
from recpipe_model.client._protos import PREDICT
from recpipe_model.server import wire

SECONDS = 60.0
CONFIG = """
model_config_list {{
  config {{ name: "busy" base_path: "{root}/busy" model_platform: "tensorflow" }}
  config {{ name: "rows" base_path: "{root}/rows" model_platform: "tensorflow" }}
  config {{ name: "wrong" base_path: "{root}/wrong" model_platform: "tensorflow" }}
}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, start_server, publish):
    """One worker, a model that keeps it busy for as long as it is told, and one whose rows may run together."""
    root = tmp_path_factory.mktemp("batching")
    for name, model, options in (
        ("busy", "busy", {}),
        ("rows", "retrieval", {"batch": 8}),
        ("wrong", "retrieval", {"batch": 0}),
    ):
        (root / name).mkdir()
        publish(model, root / name, 1, **options)
    (root / "models.config").write_text(CONFIG.format(root=root))
    flags = ["--grpc-workers=1", "--max-num-load-retries=0"]
    server = start_server(root, f"--model-config-file={root / 'models.config'}", *flags)
    server.wait_for("busy", 1)
    server.wait_for("rows", 1)
    return server


def rows(server, query, k):
    try:
        return server.client.predict("rows", "", {"query": query, "k": np.int32(k)}, timeout=SECONDS)
    except InvalidRequest as error:
        return error


def batches(server):
    """How many batches there were, and how many requests in them."""
    _, page = server.rest("GET", "/monitoring/prometheus/metrics")
    return [
        int(float(re.search(rf"^recpipe_serving_batch_requests_{what} (\S+)$", page, re.MULTILINE)[1]))
        for what in ("count", "sum")
    ]


def test_requests_that_waited_together_get_what_each_would_have_got_alone(server, wait_until):
    random = np.random.default_rng(3)
    asked = [(random.standard_normal((1 + n % 2, 64)).astype("float32"), 5 + n % 3) for n in range(40)]
    asked.append((np.ones((1, 63), "float32"), 5))
    alone = [rows(server, *each) for each in asked]
    count, requests = batches(server)
    with ThreadPoolExecutor(len(asked) + 1) as callers:
        busy = callers.submit(
            server.client.predict, "busy", "", {"steps": np.int32(100_000)}, timeout=SECONDS
        )
        together = list(callers.map(lambda each: rows(server, *each), asked))
        busy.result(SECONDS)
    for expected, got in zip(alone, together, strict=True):
        if isinstance(expected, InvalidRequest):
            assert str(got) == str(expected)
            continue
        for name in ("items", "scores"):
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)
    now, all_requests = batches(server)
    assert all_requests - requests == len(asked) + 1
    assert now - count <= 30, "some of the 41 ran together"


def test_a_request_that_is_broken_fails_alone(server):
    good = predict_request(
        "rows", "", {"query": np.ones((1, 64), "float32"), "k": np.int32(5)}, (), None, None
    )
    broken = wire.PredictRequest.FromString(good.SerializeToString())
    broken.inputs["query"] = broken.inputs["query"][:12] + b"\x22\x04\x00\x00\x80\x3f"  # one float of 64
    with grpc.insecure_channel(server.target) as channel, ThreadPoolExecutor(9) as callers:
        predict = channel.unary_unary(PREDICT)
        busy = callers.submit(server.client.predict, "busy", "", {"steps": np.int32(50_000)}, timeout=SECONDS)
        requests = [good.SerializeToString()] * 7 + [broken.SerializeToString()]
        calls = [predict.future(request, timeout=SECONDS) for request in requests]
        busy.result(SECONDS)
        assert len({call.result() for call in calls[:7]}) == 1
        assert calls[7].exception().code() is grpc.StatusCode.INVALID_ARGUMENT
        assert calls[7].exception().details() == "tensor parsing error: query"


def test_a_version_that_says_nonsense_of_batches_is_not_served(server):
    server.wait_for("wrong", 1, VersionState.END)
    [status] = server.client.status("wrong", timeout=SECONDS)
    assert "max_batch_size is 0: give 1 to 64" in status.message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has policies of each thread")
def test_a_single_worker_and_the_threads_that_take_requests_do_not_interrupt_each_other(server):
    threads = Path(f"/proc/{server.process.pid}/task").iterdir()
    policies = {os.sched_getscheduler(int(thread.name)) for thread in threads}
    assert policies <= {os.SCHED_BATCH, os.SCHED_IDLE}
