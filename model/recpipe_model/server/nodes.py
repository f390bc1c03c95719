"""Nodes added to a model's graph before it is loaded (`importing.py`), as the messages that a graph is made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_SCOPE = "recpipe_wire"


class Nodes:
    """Adds nodes to a `tensorflow.GraphDef`; each method returns the name of the node's output."""

    def __init__(self, graph_def: Any) -> None:
        self._graph_def = graph_def

    def placeholder(self) -> str:
        """A string scalar, to be fed."""
        return self._add("Placeholder", [], dtype=tf.string, shape=tf.TensorShape([]))

    def parse_tensor(self, serialised: str, kind: tf.DType) -> str:
        return self._add("ParseTensor", [serialised], out_type=kind)

    def serialize_tensor(self, tensor: str, kind: tf.DType) -> str:
        return self._add("SerializeTensor", [tensor], T=kind)

    def concatenate(self, tensors: Sequence[str], kind: tf.DType, rank: int) -> str:
        """The tensors' rows, one tensor after the other; stacked first, which fails unless all have the same shape."""
        stacked = self._add("Pack", tensors, N=len(tensors), T=kind, axis=0)
        times = self._constant([len(tensors)] + [1] * (rank - 1))
        shape = self._add("Shape", tensors[:1], T=kind, out_type=tf.int32)
        shape = self._add("Mul", [shape, times], T=tf.int32)
        return self._add("Reshape", [stacked, shape], T=kind, Tshape=tf.int32)

    def split(self, tensor: str, kind: tf.DType, parts: int) -> list[str]:
        """The tensor's rows in parts of the same size."""
        first = self._add("Split", [self._constant(0), tensor], num_split=parts, T=kind)
        name = first.removesuffix(":0")
        return [f"{name}:{number}" for number in range(parts)]

    def _constant(self, value: Any) -> str:
        tensor = tf.make_tensor_proto(np.array(value, np.int32))
        return self._add("Const", [], dtype=tf.int32, value=tensor)

    def _add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        node = self._graph_def.node.add(
            op=op,
            name=f"{_SCOPE}/{len(self._graph_def.node)}",
            input=[name.removesuffix(":0") for name in inputs],
        )
        for key, value in attributes.items():
            match value:
                case tf.DType():
                    node.attr[key].type = value.as_datatype_enum
                case tf.TensorShape():
                    node.attr[key].shape.CopyFrom(value.as_proto())
                case int():
                    node.attr[key].i = value
                case _:
                    node.attr[key].tensor.CopyFrom(value)
        return f"{node.name}:0"
