"""Predict by gRPC answers as TensorFlow Serving does, errors included."""

import asyncio

import grpc
import numpy as np
import pytest

from recpipe_model.client import (
    AsyncPredictClient,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ServingError,
    VersionState,
)
from recpipe_model.client._protos import PREDICT

SECONDS = 30.0
X = np.array([1, 2], "float32")


def predict(server, model="adder", signature="", inputs=None, **options):
    inputs = {"x": X} if inputs is None else inputs
    return server.client.predict(model, signature, inputs, timeout=SECONDS, **options)


def test_a_signature_runs_on_its_inputs(server):
    answer = predict(server)
    np.testing.assert_array_equal(answer["y"], X + 2)
    assert answer["y"].dtype == "float32"
    top = predict(
        server, signature="top", inputs={"x": np.array([[1, 3], [5, 4]], "float32"), "k": np.int32(1)}
    )
    assert (top["values"].tolist(), top["indices"].tolist()) == ([[3], [5]], [[1], [0]])


def test_the_async_client_gets_the_same(server):
    async def call():
        async with AsyncPredictClient(server.target) as client:
            answers = await asyncio.gather(
                *(client.predict("adder", "", {"x": X * n}, timeout=SECONDS) for n in range(50))
            )
            with pytest.raises(InvalidRequest):
                await client.predict("adder", "", {"z": X}, timeout=SECONDS)
            return (
                answers,
                await client.status("echo", timeout=SECONDS),
                await client.is_serving(timeout=SECONDS),
            )

    answers, status, serving = asyncio.run(call())
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["y"], X * n + 2)
    assert [(item.version, item.state) for item in status] == [(7, VersionState.AVAILABLE)]
    assert serving is False  # one of the models is misled, and has no version


ARRAYS = {
    "bool": np.array([[True], [False]]),
    "string": np.array([[b"a\x00", b"", "é".encode()]], dtype=object),
    "float16": np.array([1.5, np.nan], "float16"),
    "float32": np.array(3.25, "float32"),
    "float64": np.zeros((0, 3)),
    "complex64": np.array([1 + 2j], "complex64"),
    "complex128": np.array([[[1j]]]),
    "int8": np.array([-128, 127], "int8"),
    "int16": np.array([-1], "int16"),
    "int32": np.arange(24, dtype="int32").reshape(2, 3, 4),
    "int64": np.array([-(2**63)]),
    "uint8": np.array([255], "uint8"),
    "uint16": np.array([65535], "uint16"),
    "uint32": np.array([2**32 - 1], "uint32"),
    "uint64": np.array([2**64 - 1], "uint64"),
}


def test_every_type_goes_through_unchanged(server):
    answer = predict(server, "echo", inputs=ARRAYS)
    for name, array in ARRAYS.items():
        received = answer[f"{name}_out"]
        assert (received.dtype, received.shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(received, array, err_msg=name)


@pytest.mark.parametrize(("selection", "version"), [({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1)])
def test_a_version_is_chosen_by_number_by_label_or_as_the_latest(server, selection, version):
    assert predict(server, **selection).version == version


def test_an_output_filter_gives_only_those_outputs(server):
    inputs = {"x": np.array([[1, 3]], "float32"), "k": np.int32(1)}
    assert predict(server, signature="top", inputs=inputs, outputs=["indices"]).keys() == {"indices"}


def test_an_input_with_a_default_may_be_left_out(server):
    assert predict(server, signature="top", inputs={"x": np.array([[1, 3]], "float32")})[
        "values"
    ].tolist() == [[3]]


SIZE = r"input size does not match signature: {}!=1 len\({{{}}}\) != len\({{x}}\). Sent extra: {{{}}}. "


@pytest.mark.parametrize(
    ("request_of", "error", "code", "message"),
    [
        (
            {"model": "nobody"},
            ModelNotFound,
            "NOT_FOUND",
            r"Servable not found for request: Latest\(nobody\)$",
        ),
        (
            {"version": 9},
            ModelNotFound,
            "NOT_FOUND",
            r"Servable not found for request: Specific\(adder, 9\)$",
        ),
        ({"label": "beta"}, InvalidRequest, "INVALID_ARGUMENT", "Unrecognized servable version label: beta$"),
        ({"model": ""}, InvalidRequest, "INVALID_ARGUMENT", "ModelSpec has no name specified.$"),
        (
            {"signature": "nosuch"},
            InvalidRequest,
            "FAILED_PRECONDITION",
            'Serving signature key "nosuch" not found.$',
        ),
        (
            {"inputs": {}},
            InvalidRequest,
            "INVALID_ARGUMENT",
            SIZE.format(0, "", "") + "Missing but required: {x}.$",
        ),
        (
            {"inputs": {"x": X, "z": X}},
            InvalidRequest,
            "INVALID_ARGUMENT",
            SIZE.format(2, "x,z", "z") + "Missing but required: {}.$",
        ),
        (
            {"inputs": {"z": X}},
            InvalidRequest,
            "INVALID_ARGUMENT",
            r"Signature input alias: x\(feed name: \S+\) not found in request and no default value provided. "
            r"Inputs expected to be in the request {z}, or default input alias set: $",
        ),
        (
            {"signature": "top", "inputs": {"x": X, "z": X}},
            InvalidRequest,
            "INVALID_ARGUMENT",
            "Inputs contains invalid name. Used request inputs: x, request input: x,z$",
        ),
        (
            {"inputs": {"x": X.astype("int32")}},
            InvalidRequest,
            "INVALID_ARGUMENT",
            r"Expects arg\[0\] to be float but int32 is provided$",
        ),
        (
            {"signature": "top", "inputs": {"x": np.ones((1, 2), "float32"), "k": np.int32(3)}},
            InvalidRequest,
            "INVALID_ARGUMENT",
            "input must have at least",
        ),
        (
            {"outputs": ["nosuch"]},
            InvalidRequest,
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: nosuch Outputs expected to be in the set {y}.$",
        ),
        ({"outputs": ["y", "y"]}, InvalidRequest, "INVALID_ARGUMENT", "duplicate output tensor alias: y$"),
        (
            {"signature": "__saved_model_init_op", "inputs": {}},
            ServingError,
            "INTERNAL",
            "Expected prediction signature method_name to be one of .*Was: $",
        ),
    ],
)
def test_a_wrong_request_gets_tensorflow_servings_error(server, request_of, error, code, message):
    with pytest.raises(error, match=message) as refusal:
        predict(server, **request_of)
    assert refusal.value.code.name == code


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xff",  # no message at all
        b"\x08\x01\x12\x04\x12\x02\x08\x05\x22\x04\x00\x00\x80\x3f",  # one float in a shape of five
        b"\x08\x01\x12\x0d\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a size of -1
        b"",
    ],
)
def test_a_malformed_tensor_is_an_error_of_the_request(server, content):
    entry = b"\x0a\x01x\x12" + bytes([len(content)]) + content
    request = b"\x0a\x07\x0a\x05adder\x12" + bytes([len(entry)]) + entry
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary(PREDICT)(request, timeout=SECONDS)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == "tensor parsing error: x"
    np.testing.assert_array_equal(predict(server)["y"], X + 2)


def test_a_request_without_a_model_spec_is_refused(server):
    with (
        grpc.insecure_channel(server.target) as channel,
        pytest.raises(grpc.RpcError, match="Missing ModelSpec"),
    ):
        channel.unary_unary(PREDICT)(b"", timeout=SECONDS)


def test_a_deadline_is_kept(server):
    with pytest.raises(DeadlineExceeded):
        server.client.predict("adder", "", {"x": np.zeros(10**6, "float32")}, timeout=1e-4)


def test_recorded_requests_warm_a_version(server):
    assert predict(server, "warmed", inputs={"x": [b"a"]})["calls"] == 4  # three were recorded


@pytest.mark.embedded
def test_a_version_without_them_is_warmed_with_an_empty_one(server):
    assert predict(server, "unwarmed", inputs={"x": [b"a"]})["calls"] == 2


def test_a_version_whose_recorded_requests_fail_is_not_served(server):
    (status,) = server.client.status("misled", timeout=SECONDS)
    assert (status.state, status.code) == (VersionState.END, grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert "alias: x(feed name" in status.message


def test_the_status_of_one_version_or_of_none(server):
    assert [status.version for status in server.client.status("adder", timeout=SECONDS)] == [2, 1]
    with pytest.raises(ModelNotFound, match="Could not find any versions of model nobody"):
        server.client.status("nobody", timeout=SECONDS)
