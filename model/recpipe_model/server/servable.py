"""One loaded version of a model: a SavedModel in a session of its own.

What makes it fast, measured: a callable made once for each signature, running in the caller's thread
(`inter_op_thread_pool = -1`) and, where the graph has no control flow, by an executor that knows the order of its
operations beforehand (an eighth less time for 500 small ones), and tensors decoded and encoded by TensorFlow inside
the graph. Each input's serialised TensorProto is fed as a string scalar to a ParseTensor node wired to the
signature's input, and each output is fetched through a SerializeTensor node: 19 us a request for a signature of 8
inputs and 4 outputs, mostly strings, where building numpy arrays and messages in Python takes 80 us, and all of it
outside the interpreter's lock.
"""

import gc
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's banner is not this server's log
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # tensors come and go as host strings

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from recpipe_model.client._protos import TensorProto

from .status import CODES, StatusError, failed_precondition, invalid_argument

tf.get_logger().setLevel("ERROR")  # sessions are called deprecated on every load

DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")
_SCOPE = "recpipe_wire"
_CALLER_THREAD = -1
_MAX_OUTPUT_FILTERS = 32
_CONTROL_FLOW = frozenset({"Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond"})
_REFERENCES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})

# The types that SerializeTensor has kernels for. A node of another type would fail every later call of its session.
_WIRE_TYPES = frozenset(
    getattr(tf, name).as_datatype_enum
    for name in (
        *("bool", "string", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
)


class Servable:
    """A SavedModel, loaded and ready to run.

    Args:
        path: the version's directory.
        intra_op_threads: how many threads one operation may use.

    Raises:
        StatusError: it cannot be loaded, and why.
    """

    def __init__(self, path: Path, *, intra_op_threads: int = 1) -> None:
        graph = tf.Graph()
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads,
            inter_op_parallelism_threads=1,
            use_per_session_threads=True,
        )
        if _is_straight(path):
            config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
                self.signatures = {
                    name: Signature(self._session, definition)
                    for name, definition in meta_graph.signature_def.items()
                }
        except Exception as error:  # whatever is wrong with a model's files, it is the model that is broken
            self._session.close()
            raise _load_error(error, path) from error

    def run(
        self, signature_name: str, inputs: Mapping[str, bytes], output_filter: Sequence[str]
    ) -> dict[str, bytes]:
        """Run a signature on serialised TensorProtos.

        Returns:
            The serialised outputs: those in `output_filter`, or all if it is empty.

        Raises:
            StatusError: as TensorFlow Serving would answer the same request.
        """
        name = signature_name or DEFAULT_SIGNATURE
        signature = self.signatures.get(name)
        if signature is None:
            raise failed_precondition(f'Serving signature key "{name}" not found.')
        return signature.run(inputs, tuple(output_filter))

    def close(self) -> None:
        """Free the model; no request may be running."""
        self._session.close()
        self.signatures.clear()
        del self._session
        gc.collect()  # graphs are full of reference cycles, and nothing else here makes garbage enough to collect them


class Signature:
    """One of a SavedModel's functions, wired to take and give serialised tensors."""

    def __init__(self, session: Any, definition: Any) -> None:
        self._session = session
        self.definition = definition
        self.inputs = sorted(definition.inputs)
        self._defaults = {name: proto.SerializeToString() for name, proto in definition.defaults.items()}
        self.refusal = self._unsupported()
        self._callables: dict[tuple[str, ...], tuple[tuple[str, ...], Any]] = {}
        if self.refusal is None:
            self._parsers = {alias: _parser(definition.inputs[alias]) for alias in self.inputs}
            self._serializers = {alias: _serializer(info) for alias, info in definition.outputs.items()}

    def run(self, inputs: Mapping[str, bytes], output_filter: tuple[str, ...]) -> dict[str, bytes]:
        if self.refusal is not None:
            raise StatusError(self.refusal.code, self.refusal.message)
        feeds = self._feeds(inputs)
        outputs, run = self._callables.get(output_filter) or self._add_callable(output_filter)
        try:
            # dtype=object, since numpy's own byte strings lose trailing zeros.
            fetched = run(*[np.array(feed, dtype=object) for feed in feeds])
        except tf.errors.OpError as error:
            raise self._run_error(error, feeds) from error
        return dict(zip(outputs, fetched, strict=True))

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
        options = config_pb2.CallableOptions()
        options.run_options.inter_op_thread_pool = _CALLER_THREAD
        for alias in self.inputs:
            feed, parsed = self._parsers[alias]
            options.feed.append(feed.name)
            options.tensor_connection.add(
                from_tensor=parsed.name, to_tensor=self.definition.inputs[alias].name
            )
        options.fetch.extend(self._serializers[alias].name for alias in outputs)
        if len(self._callables) >= _MAX_OUTPUT_FILTERS:
            self._callables.clear()
        self._callables[output_filter] = outputs, self._session._make_callable_from_options(options)
        return self._callables[output_filter]

    def _run_error(self, error: tf.errors.OpError, feeds: Sequence[bytes]) -> StatusError:
        """The error that TensorFlow Serving, which parses inputs before it runs the graph, would have given."""
        nodes = {parsed.op.name: alias for alias, (_, parsed) in self._parsers.items()}
        node = re.search(r"\{\{node ([^}]+)\}\}", error.message)
        if node is None or node[1] not in nodes:
            return StatusError(CODES.get(error.error_code, CODES[tf.errors.UNKNOWN]), error.message)
        alias = nodes[node[1]]
        index = self.inputs.index(alias)
        if error.message.startswith("Type mismatch"):
            expected = tf.dtypes.as_dtype(self.definition.inputs[alias].dtype)
            given = tf.dtypes.as_dtype(TensorProto.FromString(feeds[index]).dtype)
            return invalid_argument(
                f"Expects arg[{index}] to be {_cpp(expected)} but {_cpp(given)} is provided"
            )
        return invalid_argument(f"tensor parsing error: {alias}")


def _parser(info: Any) -> tuple[Any, Any]:
    """A string placeholder for an input's TensorProto, and the tensor parsed from it."""
    with tf.name_scope(_SCOPE):
        feed = tf.compat.v1.placeholder(tf.string, [])
        return feed, tf.io.parse_tensor(feed, tf.dtypes.as_dtype(info.dtype))


def _serializer(info: Any) -> Any:
    """A string tensor of an output's TensorProto."""
    with tf.name_scope(_SCOPE):
        return tf.io.serialize_tensor(tf.compat.v1.get_default_graph().get_tensor_by_name(info.name))


def _is_straight(path: Path) -> bool:
    """Whether every operation of the model runs once a call: no control flow, nor functions that may have it.

    Nor variables by reference, which the executor for such graphs does not take. False for what cannot be read:
    loading it says why.
    """
    try:
        model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError):
        return False
    unwanted = _CONTROL_FLOW | _REFERENCES
    graphs = [meta_graph.graph_def for meta_graph in model.meta_graphs]
    return not any(
        graph.library.function or any(node.op in unwanted for node in graph.node) for graph in graphs
    )


def _load_error(error: Exception, path: Path) -> StatusError:
    match error:
        case StatusError():
            return error
        case tf.errors.OpError():
            return StatusError(
                CODES.get(error.error_code, CODES[tf.errors.UNKNOWN]), f"{path}: {error.message}"
            )
        case OSError():
            return StatusError(
                CODES[tf.errors.NOT_FOUND],
                f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}",
            )
        case _:
            return StatusError(CODES[tf.errors.INTERNAL], f"{path}: {type(error).__name__}: {error}")


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _cpp(dtype: Any) -> str:
    """A type's name in TensorFlow's messages."""
    return {"float16": "half", "float32": "float", "float64": "double"}.get(dtype.name, str(dtype.name))
