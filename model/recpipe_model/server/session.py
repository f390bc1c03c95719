"""A TensorFlow session, and what of a SavedModel it takes to fill one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

from recpipe.priority import Background

from .importing import import_graph
from .status import CODES, StatusError, not_found

_TAG = "serve"
_INIT_OP = "__saved_model_init_op"
_ASSET_COLLECTION = "saved_model_assets"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def read_meta_graph(path: Path) -> Any:
    """The MetaGraphDef that is for serving, of a version's directory.

    Raises:
        StatusError: there is none.
    """
    model = saved_model_pb2.SavedModel()
    try:
        if (file := path / "saved_model.pb").exists():
            model.ParseFromString(file.read_bytes())
        elif (file := path / "saved_model.pbtxt").exists():
            text_format.Parse(file.read_text(), model)
        else:
            raise not_found(
                f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
            )
    except (DecodeError, text_format.ParseError) as error:
        raise StatusError(CODES[tf.errors.DATA_LOSS], f"Can't parse {file}") from error
    for meta_graph in model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {_TAG}:
            return meta_graph
    raise not_found(f"Could not find meta graph def matching supplied tags: {{ {_TAG} }}: {path}")


class Session:
    """Runs parts of one graph."""

    def __init__(self, config: Any) -> None:
        self._background = Background()
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=config)

    def load(self, meta_graph: Any, path: Path) -> None:
        """Adds the graph, restores its variables from the version's directory, and initialises it.

        Raises:
            tf.errors.OpError: what is wrong with it.
        """
        import_graph(self._graph, meta_graph.graph_def)
        assets = {
            asset.tensor_info.name: str(path / "assets" / asset.filename) for asset in _assets(meta_graph)
        }
        saver = meta_graph.saver_def
        if saver.restore_op_name and (path / "variables").exists():
            variables = str(path / "variables" / "variables")
            self._run(saver.restore_op_name, {saver.filename_tensor_name: variables})
        if initialise := _init_op(meta_graph):
            self._run(initialise, assets)

    def callable(self, options: Any) -> Callable[..., list[Any]]:
        """A function of the fed tensors, that gives the fetched ones; of `tensorflow.CallableOptions`."""
        run: Callable[..., list[Any]] = self._session._make_callable_from_options(options)
        return run

    def close(self) -> None:
        """Frees the graph and its variables; nothing may be running."""
        self._background.run(self._session.close)

    def _run(self, target: str, feeds: Mapping[str, str]) -> None:
        options = config_pb2.CallableOptions(feed=feeds, target=[target.partition(":")[0]])
        values = [np.array(value.encode(), dtype=object) for value in feeds.values()]
        self._background.run(lambda: self.callable(options)(*values))


def _assets(meta_graph: Any) -> list[Any]:
    """The AssetFileDefs, which older SavedModels have in a collection."""
    if meta_graph.asset_file_def:
        return list(meta_graph.asset_file_def)
    packed = meta_graph.collection_def[_ASSET_COLLECTION].any_list.value
    return [meta_graph_pb2.AssetFileDef.FromString(each.value) for each in packed]


def _init_op(meta_graph: Any) -> str:
    """The name of the operation that initialises tables and the like, "" for none."""
    if _INIT_OP in meta_graph.signature_def:
        return str(meta_graph.signature_def[_INIT_OP].outputs[_INIT_OP].name)
    for collection in _INIT_COLLECTIONS:
        if names := meta_graph.collection_def[collection].node_list.value:
            return str(names[0])
    return ""
