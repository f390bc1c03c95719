"""Files that a SavedModel brings are found where the model is served, however old its way to name them."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from recpipe_model.server.servable import Servable

v1 = tf.compat.v1


@pytest.fixture
def numbered(tmp_path):
    """A model that numbers words by a file of them, which is then moved."""
    words = tmp_path / "words.txt"
    words.write_text("cat\ndog\n")
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        name = tf.constant(str(words))
        kinds = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(name, *kinds), -1)
        word = v1.placeholder(tf.string, [None])
        signature = v1.saved_model.predict_signature_def({"word": word}, {"number": table.lookup(word)})
        session.run(v1.tables_initializer())
        builder = v1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
    words.unlink()
    return tmp_path / "1"


def number_of(path, word):
    servable = Servable(path)
    try:
        tensor = tf.make_tensor_proto([word]).SerializeToString()
        answer = servable.signature("").run({"word": tensor})["number"]
    finally:
        servable.close()
    return tf.make_ndarray(tf.make_tensor_proto(0).FromString(answer)).tolist()


def test_assets_that_are_named_in_a_collection_are_found(numbered):
    assert number_of(numbered, "dog") == [1]


def test_so_are_those_that_the_graph_names_itself(numbered):
    file = numbered / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    [meta_graph] = model.meta_graphs
    [named] = meta_graph.collection_def["saved_model_assets"].any_list.value
    meta_graph.asset_file_def.add().ParseFromString(named.value)
    del meta_graph.collection_def["saved_model_assets"]
    file.write_bytes(model.SerializeToString())
    assert number_of(numbered, "dog") == [1]
