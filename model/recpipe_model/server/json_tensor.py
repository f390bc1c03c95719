"""JSON to tensors and back, for the REST API: TensorFlow Serving's row and columnar formats.

Row: `{"instances": [...]}`, one element for each example, answered by `{"predictions": [...]}`. Columnar:
`{"inputs": {...}}`, whole tensors by name, answered by `{"outputs": ...}`. Bytes are `{"b64": "..."}`.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import grpc
import numpy as np
from numpy.typing import NDArray

from recpipe_model.client._protos import TensorProto
from recpipe_model.client.tensors import DT_STRING, decode, encode, numpy_type

from .status import StatusError, invalid_argument

_TENSORFLOW_NAMES = {"float16": "half", "float32": "float", "float64": "double"}
_SHOWN = 200  # characters of a wrong value that an error message shows


class PredictJson(NamedTuple):
    """A request's body: serialised inputs by name, and whether it is in row format, as the answer has to be."""

    signature_name: str
    inputs: dict[str, bytes]
    rows: bool


def parse_request(body: bytes, input_types: Callable[[str], Mapping[str, int]]) -> PredictJson:
    """Read a predict request.

    Args:
        body: the JSON text.
        input_types: gives a signature's inputs and their TensorFlow data types.

    Raises:
        StatusError: INVALID_ARGUMENT, naming what is wrong, in TensorFlow Serving's words where it has them.
    """
    document = _parse(body)
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _wrong(document, "not formatted correctly. 'signature_name' key must be a string value.")
    types = input_types(name)
    if not types:
        raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise _wrong(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _wrong(document, "Excepting 'instances' to be an list/array")
        if not instances:
            raise _wrong(document, "No values in 'instances' array")
        return PredictJson(name, _from_rows(instances, types), True)
    if "inputs" in document:
        return PredictJson(name, _from_columns(document["inputs"], types), False)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def format_response(outputs: Mapping[str, bytes], *, rows: bool) -> bytes:
    """Write the outputs; a string output whose name ends in "_bytes" becomes base64.

    Raises:
        StatusError: INVALID_ARGUMENT if a type has no JSON form, or the outputs do not share a batch size by row.
    """
    arrays = {name: _array(outputs[name]) for name in sorted(outputs)}
    if rows:
        _check_batch(arrays)
    columns = {name: _to_json(array, name.endswith("_bytes")) for name, array in arrays.items()}
    single = next(iter(columns.values())) if len(columns) == 1 else None
    answer: Any
    if rows:
        by_row = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        answer = {"predictions": by_row if single is None else single}
    else:
        answer = {"outputs": columns if single is None else single}
    return json.dumps(answer).encode()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"JSON Parse error: {error or 'nested too deeply'}") from error
    if not isinstance(document, dict):
        raise _wrong(document, "Is not object")
    return document


def _from_rows(instances: list[Any], types: Mapping[str, int]) -> dict[str, bytes]:
    named = _is_object(instances[0])
    if not named and len(types) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    columns = {name: _Column(dtype) for name, dtype in types.items()}
    for position, item in enumerate(instances):
        where = f"Failed to process element: {position}"
        if _is_object(item) != named:
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid_argument(f"Expecting {expected} but got {got} at item {position} of input list")
        values = item if named else {next(iter(types)): item}
        if values.keys() != types.keys():
            keys = ",".join(sorted(types))
            raise invalid_argument(
                f"{where} of 'instances' list. JSON object: {_show(item)} must only have keys: {keys}"
            )
        for name, value in values.items():
            try:
                columns[name].add(value)
            except StatusError as error:
                raise invalid_argument(
                    f"{where} key: {name} of 'instances' list. Error: {error.message}"
                ) from error
    return {name: column.tensor(len(instances)) for name, column in columns.items()}


def _from_columns(inputs: Any, types: Mapping[str, int]) -> dict[str, bytes]:
    if not _is_object(inputs):
        if len(types) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        inputs = {next(iter(types)): inputs}
    tensors = {}
    for name, dtype in types.items():
        if name not in inputs:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        column = _Column(dtype)
        column.add(inputs[name])
        tensors[name] = column.tensor(None)
    return tensors


class _Column:
    """Collects the values of one input, from one JSON value or from one of each row, which must be alike in shape."""

    def __init__(self, dtype: int) -> None:
        self._kind = _element_type(dtype)
        self._convert = _converter(self._kind)
        self._shape: tuple[int, ...] | None = None
        self._values: list[Any] = []

    def add(self, value: Any) -> None:
        shape = _shape(value)
        if self._shape is not None and math.prod(shape) != math.prod(self._shape):
            raise invalid_argument(
                f"Expecting tensor size: {math.prod(self._shape)} but got: {math.prod(shape)}"
            )
        if self._shape is not None and shape != self._shape:
            raise invalid_argument(f"Expecting shape {_bracketed(self._shape)} but got: {_bracketed(shape)}")
        self._shape = shape
        self._fill(value, 0, shape)

    def tensor(self, rows: int | None) -> bytes:
        shape = (() if rows is None else (rows,)) + (self._shape or ())
        flat = np.empty(len(self._values), dtype=self._kind)
        flat[:] = self._values
        return bytes(encode(flat.reshape(shape)).SerializeToString())

    def _fill(self, value: Any, level: int, shape: tuple[int, ...]) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid_argument(
                    f"JSON Value: {_show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            self._values.append(self._convert(value))
            return
        if level >= len(shape):
            raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid_argument(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        for item in value:
            self._fill(item, level + 1, shape)


def _element_type(dtype: int) -> np.dtype[Any]:
    if dtype == DT_STRING:
        return np.dtype(object)
    try:
        kind = numpy_type(dtype)
    except ValueError as error:
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Conversion of JSON values: {error}") from error
    if kind.kind == "c":
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Conversion of JSON values to type: {kind.name}")
    return kind


def _converter(kind: np.dtype[Any]) -> Callable[[Any], Any]:
    """What turns one JSON value into an element of a type, or refuses it."""
    if kind.kind == "O":
        return _to_bytes
    if kind.kind == "b":
        return lambda value: value if isinstance(value, bool) else _refuse(value, kind.name)
    if kind.kind == "f":
        return lambda value: _to_float(value, kind)
    limits = np.iinfo(kind)
    return lambda value: (
        value if _is_integer(value) and limits.min <= value <= limits.max else _refuse(value, kind.name)
    )


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if not _is_base64(value):
        _refuse(value, "string")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise invalid_argument("Unable to base64 decode") from error


def _to_float(value: Any, kind: np.dtype[Any]) -> float:
    if not _is_integer(value) and not isinstance(value, float):
        _refuse(value, kind.name)
    limits = np.finfo(kind)
    if _is_integer(value):
        exact = abs(value) < 2 ** (limits.nmant + 1)
    else:
        # What rounds to the greatest number is that number: its shortest decimal lies a little above it.
        most = float(limits.max) * (1 + 2.0 ** -(limits.nmant + 2))
        exact = not math.isfinite(value) or abs(value) <= most
    if not exact:
        raise invalid_argument(
            f"Cannot convert JSON value: {value} to {kind.name} without loss of precision."
        )
    return float(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape that the first elements suggest; `_fill` checks that the others agree."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _array(proto: bytes) -> NDArray[Any]:
    try:
        return decode(TensorProto.FromString(proto))
    except ValueError as error:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {error}") from error


def _check_batch(arrays: Mapping[str, NDArray[Any]]) -> None:
    batch = None
    for name, array in arrays.items():
        if not array.shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if array.shape[0] < 1:
            raise invalid_argument(f"Tensor name: {name} has invalid batch size: {array.shape[0]}")
        if batch is not None and array.shape[0] != batch:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]


def _to_json(array: NDArray[Any], as_base64: bool) -> Any:
    if array.dtype == object:
        flat = np.empty(array.size, dtype=object)
        flat[:] = [_text(element, as_base64) for element in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        # By way of text, so that a float32 0.2 is written 0.2 and not 0.20000000298023224.
        return array.astype(str).astype(np.float64).tolist()
    if array.dtype.kind == "c":
        raise invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype}")
    return array.tolist()


def _text(element: bytes, as_base64: bool) -> Any:
    return {"b64": base64.b64encode(element).decode()} if as_base64 else element.decode(errors="replace")


def _refuse(value: Any, expected: str) -> NoReturn:
    kinds = {bool: str(value), int: "Number", float: "Number", str: "String", list: "Array", dict: "Object"}
    kind = kinds.get(type(value), "Null")
    raise _wrong(value, f"Type: {kind} is not of expected type: {_TENSORFLOW_NAMES.get(expected, expected)}")


def _wrong(value: Any, problem: str) -> StatusError:
    return invalid_argument(f"JSON Value: {_show(value)} {problem}")


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _bracketed(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
