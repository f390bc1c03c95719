"""The REST API's two formats, read and written as TensorFlow Serving does."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from recpipe_model.client._protos import TensorProto
from recpipe_model.client.tensors import decode, encode
from recpipe_model.server.json_tensor import format_response, parse_request
from recpipe_model.server.status import StatusError

TYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int8": 6, "string": 7, "int64": 9, "bool": 10}


def parse(document, **inputs):
    """Parse a request for a signature of these inputs, by name and type."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    parsed = parse_request(body, lambda signature: {name: TYPES[kind] for name, kind in inputs.items()})
    return {name: decode(TensorProto.FromString(proto)) for name, proto in parsed.inputs.items()}


def response(rows=False, **outputs):
    protos = {name: encode(array).SerializeToString() for name, array in outputs.items()}
    return json.loads(format_response(protos, rows=rows))


def test_rows_of_one_input_may_be_plain_values():
    received = parse({"instances": [[1, 2], [3, 4]]}, x="float32")["x"]
    np.testing.assert_array_equal(received, np.array([[1, 2], [3, 4]], "float32"))
    assert received.dtype == "float32"


def test_rows_of_several_inputs_are_objects():
    received = parse(
        {"instances": [{"x": [1.5], "name": "a"}, {"name": {"b64": "AP8="}, "x": [2]}]},
        x="float64",
        name="string",
    )
    np.testing.assert_array_equal(received["x"], [[1.5], [2]])
    assert received["name"].tolist() == [b"a", b"\x00\xff"]


def test_columns_are_whole_tensors():
    received = parse({"inputs": {"k": 3, "x": [[1], [2]]}}, k="int32", x="int64")
    assert (received["k"].shape, received["x"].shape) == ((), (2, 1))


def test_a_single_column_needs_no_name():
    assert parse({"inputs": [1, 2]}, x="int32")["x"].tolist() == [1, 2]
    assert parse({"inputs": {"b64": "YQ=="}}, x="string")["x"].tolist() == b"a"


def test_not_a_number_and_infinity_are_read_and_written():
    received = parse(b'{"inputs": [NaN, -Infinity]}', x="float32")["x"]
    assert math.isnan(received[0])
    assert received[1] == -math.inf
    assert b"[NaN, -Infinity]" in format_response({"x": encode(received).SerializeToString()}, rows=False)


def test_the_signature_named_is_the_one_asked_about():
    asked = []

    def input_types(signature):
        asked.append(signature)
        return {"x": TYPES["int32"]}

    parsed = parse_request(b'{"signature_name": "other", "instances": [1]}', input_types)
    assert (parsed.signature_name, parsed.rows, asked) == ("other", True, ["other"])


@pytest.mark.parametrize(
    ("document", "inputs", "problem"),
    [
        (b"", {"x": "int32"}, "JSON Parse error"),
        (b"[" * 100_000, {"x": "int32"}, "JSON Parse error"),
        (b"\xff", {"x": "int32"}, "JSON Parse error"),
        (b"[1]", {"x": "int32"}, r"JSON Value: \[1\] Is not object"),
        ({}, {"x": "int32"}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1, "instances": [1]}, {"x": "int32"}, "expecting only one of 'inputs' or 'instances'"),
        ({"instances": []}, {"x": "int32"}, "No values in 'instances' array"),
        ({"instances": 3}, {"x": "int32"}, "'instances' to be an list/array"),
        (
            {"signature_name": 3, "instances": [1]},
            {"x": "int32"},
            "'signature_name' key must be a string value",
        ),
        ({"inputs": 1}, {}, "Failed to get input map for signature: DEFAULT"),
        ({"inputs": {"x": 1}}, {"x": "int32", "y": "int32"}, "Missing named input: y in 'inputs' object"),
        ({"inputs": [1]}, {"x": "int32", "y": "int32"}, "inputs is a plain value/list"),
        ({"instances": [1]}, {"x": "int32", "y": "int32"}, "instances is a plain list"),
        ({"instances": [{"x": 1}]}, {"x": "int32", "y": "int32"}, "must only have keys: x,y"),
        ({"instances": [{"z": 1}]}, {"x": "int32"}, "must only have keys: x"),
        ({"instances": [1, {"x": 1}]}, {"x": "int32"}, "Expecting value/list but got object at item 1"),
        ({"instances": [{"x": 1}, 1]}, {"x": "int32"}, "Expecting object but got list at item 1"),
        ({"instances": [[1, 2], [1]]}, {"x": "int32"}, "Expecting tensor size: 2 but got: 1"),
        ({"instances": [[[1, 2]], [[1], [2]]]}, {"x": "int32"}, r"Expecting shape \[1,2\] but got: \[2,1\]"),
        (
            {"inputs": [[1, 2], [1]]},
            {"x": "int32"},
            "list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ({"inputs": [[1], 2]}, {"x": "int32"}, "found at incorrect level: 2"),
        ({"inputs": [1, [2]]}, {"x": "int32"}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": ["x"]}, {"x": "float32"}, 'JSON Value: "x" Type: String is not of expected type: float'),
        ({"inputs": [1]}, {"x": "string"}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"inputs": [1.5]}, {"x": "int32"}, "Type: Number is not of expected type: int32"),
        ({"inputs": [True]}, {"x": "int32"}, "Type: True is not of expected type: int32"),
        ({"inputs": [1]}, {"x": "bool"}, "Type: Number is not of expected type: bool"),
        ({"inputs": [None]}, {"x": "float32"}, "Type: Null is not of expected type: float"),
        ({"inputs": [2**31]}, {"x": "int32"}, "not of expected type: int32"),
        ({"inputs": [2**24 + 1]}, {"x": "float32"}, "without loss of precision"),
        ({"inputs": [1e39]}, {"x": "float32"}, "without loss of precision"),
        ({"inputs": [{"b64": "?"}]}, {"x": "string"}, "Unable to base64 decode"),
    ],
)
def test_a_wrong_request_is_refused_in_tensorflow_servings_words(document, inputs, problem):
    with pytest.raises(StatusError, match=problem) as refusal:
        parse(document, **inputs)
    assert refusal.value.http_code == 400


def test_a_type_that_json_lacks_is_unimplemented():
    with pytest.raises(StatusError, match="Conversion of JSON values") as refusal:
        parse_request(b'{"inputs": [1]}', lambda signature: {"x": 14})
    assert refusal.value.http_code == 501


def test_one_output_is_answered_bare_and_several_by_name():
    x, y = np.array([[1, 2], [3, 4]]), np.array([True, False])
    assert response(x=x) == {"outputs": [[1, 2], [3, 4]]}
    assert response(x=x, rows=True) == {"predictions": [[1, 2], [3, 4]]}
    assert response(x=x, y=y) == {"outputs": {"x": [[1, 2], [3, 4]], "y": [True, False]}}
    assert response(x=x, y=y, rows=True) == {
        "predictions": [{"x": [1, 2], "y": True}, {"x": [3, 4], "y": False}]
    }


def test_strings_are_text_unless_their_name_says_bytes():
    answer = response(items=[[b"a", "é".encode()]], raw_bytes=[b"\xff"])
    assert answer == {"outputs": {"items": [["a", "é"]], "raw_bytes": [{"b64": "/w=="}]}}


def test_a_float32_is_written_as_short_as_it_reads():
    assert b"[0.2, 1.0, 16777216.0]" in format_response(
        {"x": encode(np.array([0.2, 1, 2**24], "float32")).SerializeToString()}, rows=False
    )


def test_outputs_that_share_no_batch_have_no_row_format():
    with pytest.raises(StatusError, match="Tensor name: y has inconsistent batch size: 3 expecting: 2"):
        response(x=np.zeros(2), y=np.zeros(3), rows=True)
    with pytest.raises(StatusError, match="Tensor name: x has no shape information"):
        response(x=np.float32(1), rows=True)


SHAPES = npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)


@given(
    st.sampled_from(["float32", "float64", "int32", "uint8", "int64", "bool"]).flatmap(
        lambda kind: npst.arrays(kind, SHAPES, elements=npst.from_dtype(np.dtype(kind), allow_nan=False))
    ),
    st.booleans(),
)
@example(np.array([np.finfo(np.float32).max, np.finfo(np.float32).min]), False)
def test_what_is_written_reads_back_the_same(array, rows):
    answer = response(x=array, rows=rows)
    sent = {"instances": answer["predictions"]} if rows else {"inputs": answer["outputs"]}
    received = parse(sent, x=array.dtype.name)["x"]
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)
