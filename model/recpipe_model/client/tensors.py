"""numpy arrays to and from `tensorflow.TensorProto`.

Numbers travel as `tensor_content` (their bytes, little-endian, in C order) and strings as `string_val`. Decoding also
takes the typed fields (`float_val` and so on), in which TensorFlow Serving answers by default.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._protos import TensorProto

DT_STRING = 7

# tensorflow/core/framework/types.proto; the types that numpy lacks (bfloat16, quantized, float8) are left out.
_NUMPY_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("float32"),
    2: np.dtype("float64"),
    3: np.dtype("int32"),
    4: np.dtype("uint8"),
    5: np.dtype("int16"),
    6: np.dtype("int8"),
    8: np.dtype("complex64"),
    9: np.dtype("int64"),
    10: np.dtype("bool"),
    17: np.dtype("uint16"),
    18: np.dtype("complex128"),
    19: np.dtype("float16"),
    22: np.dtype("uint32"),
    23: np.dtype("uint64"),
}
_ENUMS = {dtype: number for number, dtype in _NUMPY_TYPES.items()}
# The typed field of each, and the type its elements have there (complex numbers are pairs, half floats bits).
_TYPED_FIELDS = {
    1: ("float_val", "float32"),
    2: ("double_val", "float64"),
    8: ("scomplex_val", "float32"),
    9: ("int64_val", "int64"),
    10: ("bool_val", "bool"),
    18: ("dcomplex_val", "float64"),
    19: ("half_val", "uint16"),
    22: ("uint32_val", "uint32"),
    23: ("uint64_val", "uint64"),
} | {number: ("int_val", _NUMPY_TYPES[number].name) for number in (3, 4, 5, 6, 17)}


def encode(value: ArrayLike, proto: Any | None = None) -> Any:
    """Write an array into a TensorProto.

    Args:
        value: an array, or nested lists, of numbers, `bytes` or `str` (sent as UTF-8). Python floats are float64 and
            integers int64, as in numpy: give an array where the signature wants another type.
        proto: an empty TensorProto to fill; a new one by default.

    Returns:
        The TensorProto.

    Raises:
        ValueError: the lists are ragged.
        TypeError: TensorFlow has no such type, or an element is neither text nor bytes.
    """
    array = value if isinstance(value, np.ndarray) else _as_array(value)
    proto = TensorProto() if proto is None else proto
    add_dim = proto.tensor_shape.dim.add
    for size in array.shape:
        add_dim(size=size)
    if array.dtype.kind in "OSU":
        proto.dtype = DT_STRING
        elements = array.ravel().tolist()
        try:
            proto.string_val.extend(elements)
        except TypeError:  # not all are bytes already, which is the common and the fast case
            del proto.string_val[:]
            proto.string_val.extend(map(_as_bytes, elements))
        return proto
    native = array.dtype.newbyteorder("=")
    if native not in _ENUMS:
        raise TypeError(f"an array of {array.dtype} cannot be sent: convert it to one of {_names()}")
    proto.dtype = _ENUMS[native]
    proto.tensor_content = np.asarray(array, dtype=native).tobytes()
    return proto


def decode(proto: Any) -> NDArray[Any]:
    """Read a TensorProto.

    Returns:
        An array of its shape; strings are `bytes` in an object array. It may share the message's memory, read only.

    Raises:
        ValueError: the type has no numpy equivalent, or the values do not fill the shape.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    count = math.prod(shape)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"a tensor's shape must be known, not {shape or 'of unknown rank'}")
    if proto.dtype == DT_STRING:
        strings = np.empty(count, dtype=object)
        strings[:] = _filled(list(proto.string_val), count, b"")
        return strings.reshape(shape)
    if proto.dtype not in _NUMPY_TYPES:
        raise ValueError(
            f"TensorFlow data type {proto.dtype} has no numpy type: cast it to one of {_names()}"
        )
    dtype = _NUMPY_TYPES[proto.dtype]
    if proto.tensor_content:
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise ValueError(f"{len(proto.tensor_content)} bytes do not fill a tensor of {dtype} {shape}")
        return np.frombuffer(proto.tensor_content, dtype=dtype).reshape(shape)
    name, element = _TYPED_FIELDS[proto.dtype]
    values = np.array(getattr(proto, name), dtype=element).view(dtype)
    return np.array(_filled(values.tolist(), count, dtype.type()), dtype=dtype).reshape(shape)


def numpy_type(number: int) -> np.dtype[Any]:
    """The numpy type of a `tensorflow.DataType`; ValueError if it has none."""
    if number not in _NUMPY_TYPES:
        raise ValueError(f"TensorFlow data type {number} has no numpy type: cast it to one of {_names()}")
    return _NUMPY_TYPES[number]


def _filled(values: list[Any], count: int, empty: Any) -> list[Any]:
    """TensorFlow lets a tensor leave out its trailing repeats: the last value given fills the rest."""
    if len(values) > count:
        raise ValueError(f"{len(values)} values are too many for a tensor of {count}")
    return values + [values[-1] if values else empty] * (count - len(values))


def _as_array(value: ArrayLike) -> NDArray[Any]:
    leaf = value
    while isinstance(leaf, list | tuple) and leaf:
        leaf = leaf[0]
    # numpy's own fixed-width strings would lose trailing zero bytes.
    return np.array(value, dtype=object) if isinstance(leaf, str | bytes) else np.asarray(value)


def _as_bytes(element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode()
    raise TypeError(f"a string tensor holds bytes or str, not {type(element).__name__} ({element!r})")


def _names() -> str:
    return ", ".join(sorted(dtype.name for dtype in _ENUMS)) + " or strings"
