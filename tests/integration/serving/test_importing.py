"""A graph that is added in parts is the graph that was written."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from recpipe_model.server import importing
from recpipe_model.server.importing import import_graph


def built(chain):
    """A graph in which each node takes from the last two and waits for the first, with names inside of names."""
    with tf.Graph().as_default() as graph:
        first = tf.compat.v1.placeholder(tf.float32, [2], "first")
        values = [first, first]
        for number in range(chain):
            with tf.control_dependencies([first]):
                values.append(tf.add(values[-1], values[-2], name=f"sum{number}"))
            values.append(tf.unstack(values[-1][::-1], name=f"sum{number}/parts")[number % 2] + values[-2])
        tf.identity(values[-1], "last")
        return graph, graph.as_graph_def()


def run(graph):
    with tf.compat.v1.Session(graph=graph) as session:
        options = config_pb2.CallableOptions(feed=["first:0"], fetch=["last:0"])
        return session._make_callable_from_options(options)(np.array([1, 2], "float32"))[0].tolist()


@pytest.mark.parametrize("nodes", [1, 7, 10_000])
def test_it_computes_the_same(monkeypatch, nodes):
    monkeypatch.setattr(importing, "_PART_NODES", nodes)
    original, graph_def = built(12)
    graph = tf.Graph()
    import_graph(graph, graph_def)
    assert run(graph) == run(original)
    assert (len(importing._parts(graph_def)) > 1) == (nodes < 100)


def test_nodes_in_another_order_come_in_one_part(monkeypatch):
    monkeypatch.setattr(importing, "_PART_NODES", 1)
    original, graph_def = built(3)
    turned = type(graph_def)(node=reversed(graph_def.node), versions=graph_def.versions)
    graph = tf.Graph()
    import_graph(graph, turned)
    assert run(graph) == run(original)


def test_what_is_wrong_with_a_graph_is_said():
    _, graph_def = built(1)
    graph_def.node[-1].op = "NoSuchOperation"
    with pytest.raises(tf.errors.OpError, match="NoSuchOperation"):
        import_graph(tf.Graph(), graph_def)
