"""One function of a SavedModel, wired to take and give serialised tensors, for one request or for several at once.

Each input's serialised TensorProto is fed as a string scalar to a ParseTensor node wired to the signature's input, and
each output is fetched through a SerializeTensor node: 19 us a request for a signature of 8 inputs and 4 outputs, mostly
strings, where building numpy arrays and messages in Python takes 80 us, and all of it outside the interpreter's lock.
Requests that run together are joined, and their answers parted, there too: Python sees each tensor's first bytes alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from recpipe_model.client._protos import TensorProto

from .nodes import Nodes
from .session import Session
from .status import CODES, StatusError, invalid_argument

_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")
_CALLER_THREAD = -1
_MAX_OUTPUT_FILTERS = 32
_TAGS = bytes([0x08, 0x12, 0x12, 0x08])
"""Of a TensorProto's type, of its shape, of the shape's first dimension and of that one's size."""
_HEAD, _ONE_BYTE = 2 * len(_TAGS), 0x80
"""Bytes of those with a number each, and the least number that takes more than one byte."""

# The types that SerializeTensor has kernels for. A node of another type would fail every later call of its session.
_WIRE_TYPES = frozenset(
    getattr(tf, name).as_datatype_enum
    for name in (
        *("bool", "string", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
)

Inputs = Mapping[str, bytes]
"""Serialised TensorProtos by name."""


class _Parser(NamedTuple):
    """A string placeholder for a TensorProto, and the tensor parsed from it."""

    feed: str
    parsed: str


class Signature:
    """A signature of a loaded model.

    Args:
        session: of the model, to be used once its graph is loaded.
        nodes: of that graph, which is yet to be loaded.
        definition: `tensorflow.SignatureDef`.
        max_batch_rows: how many rows may be run together; 1 if rows depend on each other.
    """

    def __init__(self, session: Session, nodes: Nodes, definition: Any, max_batch_rows: int) -> None:
        self._session = session
        self.definition = definition
        self.inputs = sorted(definition.inputs)
        self._defaults = {name: proto.SerializeToString() for name, proto in definition.defaults.items()}
        self.refusal = self._unsupported()
        self._alone: dict[tuple[str, ...], tuple[tuple[str, ...], Any]] = {}
        self._batches: dict[int, Any] = {}
        self._together: dict[int, Any] = {}
        self._max_batch_rows = max_batch_rows
        if self.refusal is not None:
            return
        self._by_row = {alias for alias, info in definition.inputs.items() if _has_rows(info)}
        powers = [1 << exponent for exponent in range(max_batch_rows.bit_length() - 1, 0, -1)]
        if self._defaults or not self._by_row:
            powers = []
        self._parsers = {
            alias: [_parser(nodes, info) for _ in range(max([1, *powers]) if alias in self._by_row else 1)]
            for alias, info in definition.inputs.items()
        }
        self._serializers = {
            alias: nodes.serialize_tensor(info.name, _type(info))
            for alias, info in definition.outputs.items()
        }
        self._batches = {count: self._batched(nodes, count) for count in powers}

    def run(self, inputs: Inputs, output_filter: Sequence[str] = ()) -> dict[str, bytes]:
        """Runs one request.

        Returns:
            The serialised outputs: those in `output_filter`, or all if it is empty.

        Raises:
            StatusError: as TensorFlow Serving would answer the same request.
        """
        if self.refusal is not None:
            raise StatusError(self.refusal.code, self.refusal.message)
        feeds = self._feeds(inputs)
        output_filter = tuple(output_filter)
        outputs, run = self._alone.get(output_filter) or self._add_callable(output_filter)
        try:
            fetched = run(*map(_string, feeds))
        except tf.errors.OpError as error:
            raise self._run_error(error, feeds) from error
        return dict(zip(outputs, fetched, strict=True))

    def kind(self, inputs: Inputs) -> tuple[bytes, ...] | None:
        """What requests that may run together have in common, None for one that runs alone.

        That is the types and shapes of inputs that have rows, and the whole of those that have none.
        """
        if not self._batches or len(inputs) != len(self.inputs):
            return None
        parts = []
        for alias in self.inputs:
            part = inputs.get(alias)
            if part is not None and alias in self._by_row:
                part = _type_and_shape(part)
            if part is None:
                return None
            parts.append(part)
        return tuple(parts)

    def most_together(self, kind: tuple[bytes, ...]) -> int:
        """How many requests of this kind may run together: 1, or a power of two."""
        rows = max(
            _rows(part) for alias, part in zip(self.inputs, kind, strict=True) if alias in self._by_row
        )
        return next((count for count in self._batches if count * rows <= self._max_batch_rows), 1)

    def run_together(self, requests: Sequence[Inputs]) -> list[dict[str, bytes]]:
        """Runs requests of one kind, as many as that allows; all of their outputs.

        Raises:
            StatusError: one of them failed, or they are not of one kind after all. Run alone, each gets its own error.
        """
        feeds = [
            _string(request[alias])
            for alias in self.inputs
            for request in (requests if alias in self._by_row else requests[:1])
        ]
        try:
            fetched = iter(self._run_of(len(requests))(*feeds))
        except tf.errors.OpError as error:
            raise StatusError(CODES.get(error.error_code, CODES[tf.errors.UNKNOWN]), error.message) from error
        answers: list[dict[str, bytes]] = [{} for _ in requests]
        for alias in sorted(self._serializers):
            if _has_rows(self.definition.outputs[alias]):
                for answer in answers:
                    answer[alias] = next(fetched)
            else:
                shared = next(fetched)
                for answer in answers:
                    answer[alias] = shared
        return answers

    def _unsupported(self) -> StatusError | None:
        method = self.definition.method_name
        if method not in _METHODS:
            expected = ", ".join(_METHODS)
            message = f"Expected prediction signature method_name to be one of {{{expected}}}. Was: {method}"
            return StatusError(CODES[tf.errors.INTERNAL], message)
        for alias, info in [*self.definition.inputs.items(), *self.definition.outputs.items()]:
            if info.WhichOneof("encoding") != "name" or info.dtype not in _WIRE_TYPES:
                message = (
                    f"tensor {alias} is sparse, composite or of a quantized type: export it as a dense tensor"
                )
                return StatusError(CODES[tf.errors.UNIMPLEMENTED], message)
        return None

    def _feeds(self, inputs: Mapping[str, bytes]) -> list[bytes]:
        if len(inputs) > len(self.inputs) or (len(inputs) < len(self.inputs) and not self._defaults):
            extra, missing = set(inputs) - set(self.inputs), set(self.inputs) - set(inputs)
            raise invalid_argument(
                f"input size does not match signature: {len(inputs)}!={len(self.inputs)} "
                f"len({{{_join(inputs)}}}) != len({{{_join(self.inputs)}}}). "
                f"Sent extra: {{{_join(extra)}}}. Missing but required: {{{_join(missing)}}}."
            )
        feeds = []
        used = 0
        for alias in self.inputs:
            if alias in inputs:
                feeds.append(inputs[alias])
                used += 1
            elif alias in self._defaults:
                feeds.append(self._defaults[alias])
            else:
                raise invalid_argument(
                    f"Signature input alias: {alias}(feed name: {self.definition.inputs[alias].name}) not found in "
                    "request and no default value provided. Inputs expected to be in the request "
                    f"{{{_join(inputs)}}}, or default input alias set: {_join(self._defaults)}"
                )
        if used != len(inputs):
            known = [alias for alias in inputs if alias in self.definition.inputs]
            raise invalid_argument(
                f"Inputs contains invalid name. Used request inputs: {_join(known)}, request input: {_join(inputs)}"
            )
        return feeds

    def _add_callable(self, output_filter: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        known = self.definition.outputs
        for position, alias in enumerate(output_filter):
            if alias not in known:
                raise invalid_argument(
                    f"output tensor alias not found in signature: {alias} "
                    f"Outputs expected to be in the set {{{_join(known)}}}."
                )
            if alias in output_filter[:position]:
                raise invalid_argument(f"duplicate output tensor alias: {alias}")
        outputs = output_filter or tuple(sorted(known))
        parsers = {alias: self._parsers[alias][0] for alias in self.inputs}
        run = self._session.callable(
            _options(
                feeds=[parser.feed for parser in parsers.values()],
                inputs={self.definition.inputs[alias].name: parsers[alias].parsed for alias in self.inputs},
                fetches=[self._serializers[alias] for alias in outputs],
            )
        )
        if len(self._alone) >= _MAX_OUTPUT_FILTERS:
            self._alone.clear()
        self._alone[output_filter] = outputs, run
        return outputs, run

    def _run_of(self, count: int) -> Any:
        if count not in self._together:
            self._together[count] = self._session.callable(self._batches[count])
        return self._together[count]

    def _batched(self, nodes: Nodes, count: int) -> Any:
        """Options of so many requests: an input of the first, of the second and so on, then the next input."""
        feeds, inputs, fetches = [], {}, []
        for alias in self.inputs:
            info = self.definition.inputs[alias]
            parsers = self._parsers[alias][:count]
            feeds += [parser.feed for parser in parsers]
            parsed = parsers[0].parsed
            if alias in self._by_row:
                rank = len(info.tensor_shape.dim)
                parsed = nodes.concatenate([parser.parsed for parser in parsers], _type(info), rank)
            inputs[info.name] = parsed
        for alias, serialized in sorted(self._serializers.items()):
            info = self.definition.outputs[alias]
            if _has_rows(info):
                parts = nodes.split(info.name, _type(info), count)
                fetches += [nodes.serialize_tensor(part, _type(info)) for part in parts]
            else:
                fetches.append(serialized)
        return _options(feeds, inputs, fetches)

    def _run_error(self, error: tf.errors.OpError, feeds: Sequence[bytes]) -> StatusError:
        """The error that TensorFlow Serving, which parses inputs before it runs the graph, would have given."""
        parsers = {parser.parsed.removesuffix(":0"): alias for alias, [parser, *_] in self._parsers.items()}
        node = re.search(r"\{\{node ([^}]+)\}\}", error.message)
        if node is None or node[1] not in parsers:
            return StatusError(CODES.get(error.error_code, CODES[tf.errors.UNKNOWN]), error.message)
        alias = parsers[node[1]]
        index = self.inputs.index(alias)
        if error.message.startswith("Type mismatch"):
            expected = tf.dtypes.as_dtype(self.definition.inputs[alias].dtype)
            given = tf.dtypes.as_dtype(TensorProto.FromString(feeds[index]).dtype)
            return invalid_argument(
                f"Expects arg[{index}] to be {_cpp(expected)} but {_cpp(given)} is provided"
            )
        return invalid_argument(f"tensor parsing error: {alias}")


def _parser(nodes: Nodes, info: Any) -> _Parser:
    feed = nodes.placeholder()
    return _Parser(feed, nodes.parse_tensor(feed, _type(info)))


def _options(feeds: Sequence[str], inputs: Mapping[str, str], fetches: Sequence[str]) -> Any:
    """CallableOptions; inputs are tensors of the model, each with that which takes its place."""
    options = config_pb2.CallableOptions()
    options.run_options.inter_op_thread_pool = _CALLER_THREAD
    options.feed.extend(feeds)
    for name, tensor in inputs.items():
        options.tensor_connection.add(from_tensor=tensor, to_tensor=name)
    options.fetch.extend(fetches)
    return options


def _type(info: Any) -> Any:
    return tf.dtypes.as_dtype(info.dtype)


def _has_rows(info: Any) -> bool:
    """Whether a tensor's first dimension is open: that of the rows, where rows do not depend on each other."""
    shape = info.tensor_shape
    return not shape.unknown_rank and bool(shape.dim) and shape.dim[0].size < 0


def _type_and_shape(tensor: bytes) -> bytes | None:
    """The first bytes of a serialised TensorProto: those of its type and shape, with which all writers begin.

    None where they are something else, or the first size is 0 or beyond 127.
    """
    head = tensor[:_HEAD]
    if len(head) < _HEAD or head[::2] != _TAGS or max(head[1::2]) >= _ONE_BYTE:
        return None
    return tensor[: 4 + head[3]]


def _rows(type_and_shape: bytes) -> int:
    return type_and_shape[_HEAD - 1]


def _string(tensor: bytes) -> Any:
    return np.array(tensor, dtype=object)  # numpy's own byte strings lose trailing zeros


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _cpp(dtype: Any) -> str:
    """A type's name in TensorFlow's messages."""
    return {"float16": "half", "float32": "float", "float64": "double"}.get(dtype.name, str(dtype.name))
