"""Writing a SavedModel: variables go from arrays to the file, without a session that holds them once more."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.grappler import tf_optimizer

from recpipe.horizon import SIGNATURES, TASTE_INPUTS, Horizon
from recpipe_model.export.graph import Scorer
from recpipe_model.export.tables import Tables
from recpipe_model.export.taste import TasteScorer
from recpipe_model.hybrid.arrays import Array
from recpipe_model.version import ITEMS_FILE

BATCH = 8
"""Rows to run at once: a query costs less than half of one alone, and no less from there on."""

_KEPT = "train_op"
"""The collection that names nodes which optimizing keeps."""

_v1 = (
    tf.compat.v1
)  # a graph without functions: nothing to inline when it is loaded, nothing between its nodes


def write(tables: Tables, path: Path) -> None:
    """Writes the model's SavedModel to a new directory."""
    meta_graph = _meta_graph(tables)
    (path / "variables").mkdir(parents=True)
    _write_variables(tables.large, path / "variables" / "variables")
    model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    # Rows do not depend on each other: the model server may run several requests as one.
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "batching_params.pbtxt").write_text(f"max_batch_size {{ value: {BATCH} }}\n")
    (path / ITEMS_FILE).write_text(f"{len(tables.large['names']) - 1}\n")


def _meta_graph(tables: Tables) -> Any:
    with tf.Graph().as_default() as graph:
        variables = {name: _variable(name, table) for name, table in tables.large.items()}
        ids = variables["names"].read_value()[:-1]
        vocabulary = _numbered(ids, tf.range(tf.size(ids)))
        scorer = Scorer(
            tables=tables,
            variables=variables,
            vocabulary=vocabulary,
            # "" pads the input, and no table may be empty.
            contexts=_numbered(tf.constant(["", *tables.contexts]), tf.range(-1, len(tables.contexts))),
        )
        inputs = _placeholders()
        outputs = {name: tf.identity(tensor, name) for name, tensor in scorer(**inputs).items()}
        of_taste = {name: inputs[name] for name in TASTE_INPUTS}
        by_taste = TasteScorer(tables, variables, vocabulary)(**of_taste)
        _v1.add_to_collection(_v1.saved_model.constants.MAIN_OP_KEY, _v1.tables_initializer())
        meta_graph = _v1.train.export_meta_graph(
            graph=graph,
            saver_def=_v1.train.Saver().as_saver_def(),
            clear_devices=True,
            meta_info_def=meta_graph_pb2.MetaGraphDef.MetaInfoDef(
                tags=[_v1.saved_model.tag_constants.SERVING]
            ),
        )
        for horizon, ins, outs in ((Horizon.NEXT, inputs, outputs), (Horizon.TASTE, of_taste, by_taste)):
            meta_graph.signature_def[SIGNATURES[horizon]].CopyFrom(_signature(ins, outs))
    _optimize(meta_graph)
    return meta_graph


def _optimize(meta_graph: Any) -> None:
    """Folds constants and merges what is computed twice, here and once, and not in each server while it loads.

    Half of the nodes are left, half of the time that they take to load, and a tenth less to run.
    """
    signatures = meta_graph.signature_def.values()
    outside = [info.name for each in signatures for info in (*each.inputs.values(), *each.outputs.values())]
    outside += [meta_graph.saver_def.restore_op_name, meta_graph.saver_def.filename_tensor_name]
    for collection in meta_graph.collection_def.values():
        outside += collection.node_list.value
        for variable in map(variable_pb2.VariableDef.FromString, collection.bytes_list.value):
            outside += [variable.variable_name, variable.initial_value_name]
            outside += [variable.initializer_name, variable.snapshot_name]
    kept = {name.partition(":")[0] for name in outside}
    meta_graph.collection_def[_KEPT].node_list.value.extend(kept)
    optimized = tf_optimizer.OptimizeGraph(config_pb2.ConfigProto(), meta_graph)
    del meta_graph.collection_def[_KEPT]
    _flatten(optimized, kept)
    meta_graph.graph_def.CopyFrom(optimized)


def _flatten(graph_def: Any, kept: Set[str]) -> None:
    """Takes nodes out of the scopes in their names, but for those to keep: `a/b` would have to come after `a`.

    The model server adds a graph in parts, and a node's inputs, which come first, are often in its scope.
    """
    flat = {node.name: node.name.replace("/", ".") for node in graph_def.node if node.name not in kept}
    for node in graph_def.node:
        node.name = flat.get(node.name, node.name)
        for place, taken in enumerate(node.input):
            name = taken.lstrip("^").partition(":")[0]
            node.input[place] = taken.replace(name, flat.get(name, name))


def _signature(inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor]) -> Any:
    info = _v1.saved_model.build_tensor_info
    return _v1.saved_model.build_signature_def(
        inputs={name: info(tensor) for name, tensor in inputs.items()},
        outputs={name: info(tensor) for name, tensor in outputs.items()},
        method_name=_v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
    )


def _placeholders() -> dict[str, tf.Tensor]:
    kinds = {
        "recent_items": (tf.string, 2),
        "recent_ages": (tf.float32, 2),
        "recent_weights": (tf.float32, 2),
        "rows": (tf.string, 2),
        "live": (tf.string, 0),
        "exclude": (tf.string, 2),
        "context": (tf.string, 2),
        "k": (tf.int32, 0),
    }
    return {name: _v1.placeholder(kind, [None] * rank, name) for name, (kind, rank) in kinds.items()}


def _variable(name: str, table: Array) -> Any:
    return _v1.get_variable(
        name,
        table.shape,
        tf.as_dtype(table.dtype),
        _v1.zeros_initializer(),
        trainable=False,
        use_resource=True,
    )


def _numbered(names: tf.Tensor, numbers: tf.Tensor) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(names, numbers), default_value=-1)


def _write_variables(tables: Mapping[str, Array], prefix: Path) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tables),
        shape_and_slices=[""] * len(tables),
        tensors=list(tables.values()),
    )
