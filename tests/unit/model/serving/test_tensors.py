"""Arrays survive the wire, whatever their type and shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from recpipe_model.client._protos import TensorProto
from recpipe_model.client.tensors import decode, encode

NUMBERS = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def over_the_wire(array):
    return decode(TensorProto.FromString(encode(array).SerializeToString()))


@given(st.sampled_from(NUMBERS).flatmap(lambda dtype: npst.arrays(dtype, SHAPES)))
def test_numbers_arrive_bit_for_bit(array):
    received = over_the_wire(array)
    assert received.dtype == array.dtype
    assert received.shape == array.shape
    assert received.tobytes() == array.tobytes()


@given(npst.arrays(object, SHAPES, elements=st.binary(max_size=20), fill=st.nothing()))
def test_bytes_arrive_with_their_zeros(array):
    received = over_the_wire(array)
    assert received.shape == array.shape
    assert received.ravel().tolist() == array.ravel().tolist()


@given(st.lists(st.text(max_size=10), max_size=5))
def test_text_travels_as_utf8(texts):
    assert over_the_wire(texts).tolist() == [text.encode() for text in texts]


@given(npst.arrays(">f4", SHAPES))
def test_byte_order_is_the_senders_affair(array):
    assert over_the_wire(array).tobytes() == array.astype("<f4").tobytes()


def test_a_view_in_another_order_is_sent_as_it_reads():
    array = np.arange(12, dtype="int32").reshape(3, 4).T[::-1]
    np.testing.assert_array_equal(over_the_wire(array), array)


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1.5, "float64", ()),
        ([1, 2], "int64", (2,)),
        (b"x", "object", ()),
        ([[b"a"], ["b"]], "object", (2, 1)),
    ],
)
def test_python_values_become_numpys_types(value, dtype, shape):
    received = over_the_wire(value)
    assert (received.dtype, received.shape) == (dtype, shape)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        ({"dtype": 1, "float_val": [1.5, 2.5]}, np.array([1.5, 2.5], "float32")),
        ({"dtype": 2, "double_val": [1.5, 2.5]}, np.array([1.5, 2.5], "float64")),
        ({"dtype": 6, "int_val": [-1, 7]}, np.array([-1, 7], "int8")),
        ({"dtype": 8, "scomplex_val": [1, 2, 3, 4]}, np.array([1 + 2j, 3 + 4j], "complex64")),
        ({"dtype": 9, "int64_val": [-1, 2**40]}, np.array([-1, 2**40], "int64")),
        ({"dtype": 10, "bool_val": [True, False]}, np.array([True, False])),
        ({"dtype": 19, "half_val": [0x3C00, 0xC000]}, np.array([1, -2], "float16")),
        ({"dtype": 23, "uint64_val": [1, 2**63]}, np.array([1, 2**63], "uint64")),
        ({"dtype": 3, "int_val": [7]}, np.array([7, 7], "int32")),
        ({"dtype": 1}, np.array([0, 0], "float32")),
    ],
)
def test_the_typed_fields_are_read_and_their_last_value_fills_the_rest(proto, expected):
    received = decode(TensorProto(tensor_shape={"dim": [{"size": 2}]}, **proto))
    assert received.dtype == expected.dtype
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        ({"dtype": 14}, "no numpy type"),
        ({"dtype": 1, "tensor_content": b"123"}, "3 bytes do not fill"),
        ({"dtype": 3, "int_val": [1, 2]}, "too many"),
        ({"dtype": 1, "tensor_shape": {"dim": [{"size": -1}]}}, "shape must be known"),
        ({"dtype": 1, "tensor_shape": {"unknown_rank": True}}, "unknown rank"),
    ],
)
def test_a_malformed_tensor_is_refused(proto, problem):
    with pytest.raises(ValueError, match=problem):
        decode(TensorProto(**proto))


@pytest.mark.parametrize(
    ("value", "error", "problem"),
    [
        ([[1, 2], [3]], ValueError, "inhomogeneous"),
        ([b"a", 3], TypeError, "bytes or str, not int"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), TypeError, "datetime64"),
    ],
)
def test_what_tensorflow_cannot_hold_is_refused(value, error, problem):
    with pytest.raises(error, match=problem):
        encode(value)
