"""Walking and changing ONNX graphs (onnx.GraphProto): names, nodes, constants.

A name is used once in a model: the bodies of loops and branches see the names of the graphs around
them, and hide none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import helper, shape_inference

from compressor.exporters.onnx import apart

_FEW = 64
"""Integers of the largest constant that may be stored as varints: shapes, axes, powers."""


def all_graphs(graph: Any) -> Iterator[Any]:
    """`graph`, and the bodies of its loops and branches."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from all_graphs(body)


def bodies(node: Any) -> Iterator[Any]:
    """The graphs that are attributes of a node."""
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def all_nodes(graph: Any) -> Iterator[Any]:
    for inner in all_graphs(graph):
        yield from inner.node


def needs(node: Any) -> list[str]:
    """The names that a node and its bodies take."""
    return [*node.input, *(name for body in bodies(node) for name in taken(body))]


def taken(graph: Any) -> list[str]:
    """The names that nodes take and outputs are, in the order of the nodes."""
    names = [name for node in graph.node for name in needs(node)]
    return names + [entry.name for entry in graph.output]


def array_of(initializer: Any) -> np.ndarray:
    return apart.array(initializer)


def tensor(name: str, values: np.ndarray) -> Any:
    """An initializer of little-endian raw data, or of varints where these are fewer bytes."""
    values = np.asarray(values)
    made = apart.tensor(name, values)
    if values.dtype in (np.int32, np.int64) and 0 < values.size <= _FEW:
        short = helper.make_tensor(name, made.data_type, values.shape, values.ravel().tolist())
        return min(made, short, key=lambda one: one.ByteSize())
    return made


def constants(graph: Any) -> dict[str, Any]:
    """The initializers of the outermost graph by name."""
    return {entry.name: entry for entry in graph.initializer}


def producers(graph: Any) -> dict[str, Any]:
    """Value -> the node that computes it, in the outermost graph."""
    return {name: node for node in graph.node for name in node.output if name}


def uses(graph: Any) -> dict[str, int]:
    """How often each value is taken: by nodes here and in bodies, and as an output."""
    count: dict[str, int] = {}
    for inner in all_graphs(graph):
        for node in inner.node:
            for name in node.input:
                count[name] = count.get(name, 0) + 1
        for entry in inner.output:
            count[entry.name] = count.get(entry.name, 0) + 1
    return count


def consumers(graph: Any) -> dict[str, list[tuple[Any, int]]]:
    """Value -> (node, position) of each input that takes it, bodies included."""
    found: dict[str, list[tuple[Any, int]]] = {}
    for node in all_nodes(graph):
        for position, name in enumerate(node.input):
            found.setdefault(name, []).append((node, position))
    return found


def attribute(node: Any, name: str, default: Any) -> Any:
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def rename(graph: Any, mapping: Mapping[str, str]) -> None:
    """Rename values everywhere."""
    for inner in all_graphs(graph):
        for node in inner.node:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name in mapping:
                        names[position] = mapping[name]
        entries: Iterable[Any] = (*inner.initializer, *inner.input, *inner.output)
        for entry in entries:
            entry.name = mapping.get(entry.name, entry.name)


def sizes_of(entry: Any) -> list[int | None] | None:
    """The sizes of a ValueInfoProto, None for one that is open; None where it says none."""
    kind = entry.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim]


def inferred(model: Any) -> Any:
    """The graph of an onnx.ModelProto with the sizes of values that follow from its operators.

    As it is where ONNX refuses to infer them.
    """
    try:
        return shape_inference.infer_shapes(model, data_prop=True).graph
    except shape_inference.InferenceError:
        return model.graph


def unique(wanted: str, taken: set[str]) -> str:
    """`wanted`, numbered where that is taken; the result is added to `taken`."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def fresh(graph: Any, wanted: str) -> str:
    """A name that no value of `graph` has: `wanted`, or numbered."""
    return unique(wanted, names_of(graph))


def names_of(graph: Any) -> set[str]:
    """The names of all values, also those of bodies."""
    found: set[str] = set()
    for inner in all_graphs(graph):
        entries: Iterable[Any] = (*inner.initializer, *inner.input, *inner.output)
        found |= {entry.name for entry in entries}
        for node in inner.node:
            found |= {*node.input, *node.output}
    return found


def replace_all(field: Any, entries: Iterable[Any]) -> None:
    """Make `entries` the content of a repeated field."""
    kept = list(entries)
    del field[:]
    field.extend(kept)
