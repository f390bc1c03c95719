"""Adding a graph to the runtime, for sessions alone, without keeping requests waiting.

`tf.import_graph_def` would make a Python object of each node, for a tenth of a second of the interpreter's lock. The
call below it takes the lock too, for 10 ms and 1,500 nodes: so it gets some nodes at a time, with rests.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from tensorflow.core.framework import graph_pb2
from tensorflow.python.client import pywrap_tf_session as runtime
from tensorflow.python.framework import c_api_util

from recpipe.priority import resting

T = TypeVar("T")

_PART_NODES = 100  # less than a millisecond


@dataclass(slots=True)
class _Part:
    """Some of a graph's nodes, with what they take of parts before and give to parts after."""

    graph_def: Any = field(default_factory=graph_pb2.GraphDef)
    takes: set[str] = field(default_factory=set)
    gives: set[str] = field(default_factory=set)


def import_graph(graph: Any, graph_def: Any) -> None:
    """Adds the nodes of a `tensorflow.GraphDef` to a `tf.Graph`, which is then good for sessions alone.

    Raises:
        tf.errors.OpError: what is wrong with it.
    """
    known: dict[str, Any] = {}
    for part in _parts(graph_def):
        with resting():
            known |= _import(graph, part, known)


def _import(graph: Any, part: _Part, known: Mapping[str, Any]) -> dict[str, Any]:
    """Adds a part's nodes to the graph; returns what it gives to parts after, by name."""
    options = c_api_util.ScopedTFImportGraphDefOptions()
    runtime.TF_ImportGraphDefOptionsSetValidateColocationConstraints(options.options, False)
    for name in part.takes:
        if name.startswith("^"):
            runtime.TF_ImportGraphDefOptionsRemapControlDependency(options.options, name[1:], known[name])
        else:
            runtime.TF_ImportGraphDefOptionsAddInputMapping(options.options, *_output(name), known[name])
    controls = [name for name in part.gives if name.startswith("^")]
    outputs = [name for name in part.gives if not name.startswith("^")]
    for name in controls:
        runtime.TF_ImportGraphDefOptionsAddReturnOperation(options.options, name[1:])
    for name in outputs:
        runtime.TF_ImportGraphDefOptionsAddReturnOutput(options.options, *_output(name))
    buffer = c_api_util.ScopedTFBuffer(part.graph_def.SerializeToString())
    with graph._c_graph.get() as c_graph:
        results = c_api_util.ScopedTFImportGraphDefResults(
            runtime.TF_GraphImportGraphDefWithResults(c_graph, buffer.buffer, options.options)
        )
    operations = runtime.TF_ImportGraphDefResultsReturnOperations(results.results)
    tensors = runtime.TF_ImportGraphDefResultsReturnOutputs(results.results)
    return dict(zip(controls, operations, strict=True)) | dict(zip(outputs, tensors, strict=True))


def _parts(graph_def: Any) -> list[_Part]:
    """The graph in parts; as one where nodes do not follow those that they take from, or where there are functions.

    A node `a` comes in no later part than `a/b`, since it would be refused.
    """
    if graph_def.library.function:
        return [_Part(graph_def)]
    place = {node.name: number for number, node in enumerate(graph_def.node)}
    parts = [_Part()]
    part_of: dict[str, _Part] = {}
    scopes: set[str] = set()
    needed = 0
    for number, node in enumerate(_with_rests(graph_def.node)):
        if len(parts[-1].graph_def.node) >= _PART_NODES and needed < number:
            parts.append(_Part())
        part = parts[-1]
        for name in node.input:
            giver = part_of.get(name.lstrip("^").partition(":")[0])
            if giver is None:
                return [_Part(graph_def)]
            if giver is not part:
                giver.gives.add(name)
                part.takes.add(name)
        part.graph_def.node.append(node)
        part_of[node.name] = part
        scope = node.name.rpartition("/")[0]
        while scope and scope not in scopes:
            scopes.add(scope)
            needed = max(needed, place.get(scope, 0))
            scope = scope.rpartition("/")[0]
    for part in parts:
        part.graph_def.versions.CopyFrom(graph_def.versions)
    return parts


def _with_rests(nodes: Iterable[T]) -> Iterator[T]:
    """All of them; what is done with some is followed by a rest."""
    nodes = iter(nodes)
    for node in nodes:
        with resting():
            yield node
            yield from islice(nodes, _PART_NODES - 1)


def _output(name: str) -> tuple[str, int]:
    """The node's name and the output's number."""
    node, _, number = name.partition(":")
    return node, int(number or 0)
