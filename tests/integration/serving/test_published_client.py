"""A client of the published `tensorflow_serving.apis` package gets the same bytes as ours."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SECONDS = 30.0


@pytest.fixture(scope="module")
def ask(server):
    """Ask a question through the published client, in its own process."""
    script = Path(__file__).with_name("tensorflow_serving_client.py")
    process = subprocess.Popen(
        [sys.executable, script, server.target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(model, signature, **inputs):
        question = {"model": model, "signature": signature, "inputs": inputs}
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    assert process.wait(SECONDS) == 0


def as_json(array):
    content = [value.hex() for value in array.ravel()] if array.dtype == object else array.tobytes().hex()
    dtype = "string" if array.dtype == object else array.dtype.name
    return {"dtype": dtype, "shape": list(array.shape), "content": content}


def test_numbers_and_strings_come_back_as_the_same_bytes(server, ask):
    inputs = {
        "bool": np.array([True, False]),
        "string": np.array([[b"a\x00", b"\xff\x00\xfe"]], dtype=object),
        "float16": np.array([1.5, -2], "float16"),
        "float32": np.array([[0.1], [1e30]], "float32"),
        "float64": np.array(0.1),
        "complex64": np.array([], "complex64"),
        "complex128": np.array([], "complex128"),
        "int8": np.array([-128], "int8"),
        "int16": np.array([-1], "int16"),
        "int32": np.array([[[7]]], "int32"),
        "int64": np.array([-(2**63)]),
        "uint8": np.array([255], "uint8"),
        "uint16": np.array([65535], "uint16"),
        "uint32": np.array([2**32 - 1], "uint32"),
        "uint64": np.array([2**64 - 1], "uint64"),
    }
    theirs = ask("echo", "serving_default", **{name: as_json(array) for name, array in inputs.items()})
    ours = server.client.predict("echo", "", inputs, timeout=SECONDS)
    assert theirs["model_spec"] == ["echo", ours.version, "serving_default"]
    assert theirs["outputs"].keys() == ours.keys()
    for name, array in inputs.items():
        assert theirs["outputs"][f"{name}_out"] == as_json(ours[f"{name}_out"]) == as_json(array)


def test_a_type_that_numpy_lacks_passes_through(ask):
    output = ask("echo", "bfloat16", x={"dtype": "bfloat16", "shape": [2], "content": "803f0040"})["outputs"][
        "y"
    ]
    assert output == {"dtype": "bfloat16", "shape": [2], "content": "00404040"}  # 1 and 2 became 2 and 3


def test_metadata_and_status_are_read_by_the_published_messages(ask):
    answer = ask("adder", "top", x=as_json(np.ones((1, 2), "float32")), k=as_json(np.int32(1)))
    assert answer["signatures"] == ["__saved_model_init_op", "serving_default", "top"]
    assert answer["input_types"] == {"x": "float32", "k": "int32"}
    assert answer["states"] == {"1": "AVAILABLE", "2": "AVAILABLE"}
