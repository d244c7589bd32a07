"""The graphs of an ONNX model, the main one and those inside of nodes, and the names in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from compressor.exporters.onnx.tensor_reading import damaged

_MAX_DEPTH = 16


def all_graphs(model: Any) -> Iterator[Any]:
    """The graph, all graphs in nodes of it and of functions, and those of training.

    Raises CheckpointError where they are nested too deep.
    """
    roots = [model.graph]
    for info in model.training_info:
        roots += [info.initialization, info.algorithm]
    pending = [(graph, 1) for graph in roots]
    for function in model.functions:
        pending += [(graph, 2) for graph in nested_graphs(function.node)]
    while pending:
        graph, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise damaged(f"graphs in graphs, more than {_MAX_DEPTH} deep")
        yield graph
        pending += [(inner, depth + 1) for inner in nested_graphs(graph.node)]


def nested_graphs(nodes: Iterable[Any]) -> Iterator[Any]:
    """The graphs that are attributes of the nodes."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def captured(nodes: Iterable[Any]) -> set[str]:
    """Names that graphs inside of the nodes use."""
    found: set[str] = set()
    pending = list(nested_graphs(nodes))
    while pending:
        graph = pending.pop()
        found.update(name for node in graph.node for name in node.input)
        found.update(info.name for info in graph.output)
        pending += nested_graphs(graph.node)
    return found


def check_names(model: Any) -> None:
    """Raise CheckpointError where a name is no text: protobuf then gives bytes for it."""
    own = [model.producer_name, *(entry.domain for entry in model.opset_import)]
    nodes = [function.node for function in model.functions]
    own += [function.name for function in model.functions]
    for graph in all_graphs(model):
        nodes.append(graph.node)
        own += _graph_names(graph)
    for node in itertools.chain(*nodes):
        own += [node.name, node.op_type, node.domain, *node.input, *node.output]
        for attribute in node.attribute:
            tensors = [attribute.t, *attribute.tensors]
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            own += [attribute.name, *_tensor_names(tensors, sparse)]
    if not all(isinstance(name, str) for name in own):
        raise damaged("a name is no UTF-8")


def _graph_names(graph: Any) -> Iterator[Any]:
    yield from _tensor_names(graph.initializer, graph.sparse_initializer)
    for info in itertools.chain(graph.input, graph.output):
        yield info.name
        for size in info.type.tensor_type.shape.dim:
            yield size.dim_param


def _tensor_names(tensors: Iterable[Any], sparse: Iterable[Any]) -> Iterator[Any]:
    parts = (part for one in sparse for part in (one.values, one.indices))
    for tensor in itertools.chain(tensors, parts):
        yield tensor.name
        for entry in tensor.external_data:
            yield entry.key
            yield entry.value
