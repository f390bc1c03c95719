"""One loaded version of a model: a SavedModel in a session of its own.

What makes it fast, measured: a callable made once for each signature, running in the caller's thread
(`inter_op_thread_pool = -1`) and, where the graph has no control flow, by an executor that knows the order of its
operations beforehand (an eighth less time for 500 small ones), and tensors decoded and encoded by TensorFlow inside
the graph (`signature.py`).
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's banner is not this server's log
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # tensors come and go as host strings

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from recpipe.priority import resting

from .nodes import Nodes
from .session import Session, read_meta_graph
from .signature import Signature
from .status import CODES, StatusError, failed_precondition

tf.get_logger().setLevel("ERROR")  # sessions are called deprecated on every load

DEFAULT_SIGNATURE = "serving_default"
_CONTROL_FLOW = frozenset({"Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond"})
_REFERENCES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})


class Servable:
    """A SavedModel, loaded and ready to run.

    Args:
        path: the version's directory.
        intra_op_threads: how many threads one operation may use.
        max_batch_rows: how many rows of requests may be run together; 1 if rows depend on each other.

    Raises:
        StatusError: it cannot be loaded, and why.
    """

    def __init__(self, path: Path, *, intra_op_threads: int = 1, max_batch_rows: int = 1) -> None:
        meta_graph = read_meta_graph(path)
        graph_def = meta_graph.graph_def
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads,
            inter_op_parallelism_threads=1,
            use_per_session_threads=True,
        )
        if _is_straight(graph_def):
            config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
            # Rewriting the graph is four fifths of loading it, and was done when a hybrid was exported.
            config.graph_options.rewrite_options.disable_meta_optimizer = True
            config.graph_options.optimizer_options.opt_level = config_pb2.OptimizerOptions.L0
        self._session = Session(config)
        self.signatures: dict[str, Signature] = {}
        try:
            nodes = Nodes(graph_def)
            for name, definition in meta_graph.signature_def.items():
                with resting():
                    self.signatures[name] = Signature(self._session, nodes, definition, max_batch_rows)
            self._session.load(meta_graph, path)
        except Exception as error:  # whatever is wrong with a model's files, it is the model that is broken
            self._session.close()
            raise _load_error(error, path) from error

    def signature(self, name: str) -> Signature:
        """The signature that a request names; "" is the default one.

        Raises:
            StatusError: there is none of this name.
        """
        name = name or DEFAULT_SIGNATURE
        signature = self.signatures.get(name)
        if signature is None:
            raise failed_precondition(f'Serving signature key "{name}" not found.')
        return signature

    def close(self) -> None:
        """Free the model; no request may be running."""
        self._session.close()
        self.signatures.clear()
        del self._session


def _is_straight(graph_def: Any) -> bool:
    """Whether every operation of the model runs once a call: no control flow, nor functions that may have it.

    Nor variables by reference, which the executor for such graphs does not take.
    """
    unwanted = _CONTROL_FLOW | _REFERENCES
    return not graph_def.library.function and not any(node.op in unwanted for node in graph_def.node)


def _load_error(error: Exception, path: Path) -> StatusError:
    match error:
        case StatusError():
            return error
        case tf.errors.OpError():
            return StatusError(
                CODES.get(error.error_code, CODES[tf.errors.UNKNOWN]), f"{path}: {error.message}"
            )
        case _:
            return StatusError(CODES[tf.errors.INTERNAL], f"{path}: {type(error).__name__}: {error}")
