"""Names and an order of tensors and nodes that are the same in every export of one model.

tf2onnx numbers its names by a counter of the process, names weights after TensorFlow's operators,
and iterates over sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from compressor.exporters.fingerprint import fingerprint, values_of
from compressor.exporters.onnx import graphs
from compressor.models import all_layers

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def name_after_layers(graph: Any, model: Any) -> set[str]:
    """Name weights layer/variable, nodes after the layer or operator, values after their nodes.

    Requires: the names of inputs and outputs are final. Returns the names of the weights for which
    a variable of `model` has the same values, in any order (transposed, or with its gates swapped).
    """
    return _name(graph, _Variables(model).take)


def keep_names(graph: Any) -> set[str]:
    """As `name_after_layers`, of a graph whose float weights have names already, which they keep.

    Without the folders that all of them lie in, and what tf2onnx adds: every step that decodes a
    weight is named after it. Returns those names.
    """
    weights = {e.name for e in graph.initializer if e.dims and e.data_type in _FLOATS}
    folders = zip(*(name.split("/")[:-1] for name in weights), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda parts: len(set(parts)) < 2, folders))

    def take(entry: Any, _: list[str]) -> str | None:
        if entry.name not in weights:
            return None
        name = "/".join(entry.name.split("/")[shared:])
        return name.removesuffix(":0").removesuffix("/ReadVariableOp") or entry.name

    return _name(graph, take)


def _name(graph: Any, take: Callable[[Any, list[str]], str | None]) -> set[str]:
    """Name everything; `take` gives the name of an initializer that is a weight, by its place."""
    used = {entry.name for entry in (*graph.input, *graph.output)}
    mapping = {name: name for name in used}
    found: set[str] = set()
    used_by = graphs.consumers(graph)
    for entry in graph.initializer:
        if entry.name in mapping:
            continue  # an output
        place = [entry.name, *(node.name for node, _ in used_by.get(entry.name, ()))]
        name = take(entry, place)
        if name is not None:
            mapping[entry.name] = graphs.unique(name, used)
            found.add(mapping[entry.name])
    for inner in graphs.all_graphs(graph):
        for node in inner.node:
            layer = next(
                (mapping[n].rpartition("/")[0] for n in node.input if mapping.get(n) in found), ""
            )
            node.name = graphs.unique(f"{layer}/{node.op_type}" if layer else node.op_type, used)
            for position, name in enumerate(node.output):
                if name and name not in mapping:
                    # Further outputs of a node get a number.
                    mapping[name] = graphs.unique(node.name, used) if position else node.name
        for entry in inner.initializer:
            if entry.name not in mapping:
                mapping[entry.name] = graphs.unique(_role(entry.name, used_by), used)
        for entry in (*inner.input, *inner.output):
            if entry.name not in mapping:
                mapping[entry.name] = graphs.unique("value", used)
    graphs.rename(graph, mapping)
    return found


def _role(name: str, used_by: dict[str, list[tuple[Any, int]]]) -> str:
    """The role of a constant in its first node, such as LSTM/W or Reshape/shape."""
    if name not in used_by:
        return "constant"
    node, position = used_by[name][0]
    if not onnx.defs.has(node.op_type):
        return f"{node.name}/constant"
    inputs = onnx.defs.get_schema(node.op_type).inputs
    # The last input of some operators is variadic.
    return f"{node.name}/{inputs[min(position, len(inputs) - 1)].name}"


class _Variables:
    """The variables of a model that no initializer was named after yet, by their values."""

    def __init__(self, model: Any) -> None:
        self._names: dict[bytes, list[str]] = {}
        for path, layer in all_layers(model).items():
            for variable in layer.variables:
                # In front of the layer's name Keras puts those of the models around it.
                _, found, tail = f"/{variable.path}".rpartition(f"/{layer.name}/")
                key = fingerprint(values_of(variable))
                self._names.setdefault(key, []).append(f"{path}/{tail if found else variable.name}")

    def take(self, entry: Any, place: list[str]) -> str | None:
        """The variable of these values, if possible of the layer of this place; only once."""
        values = graphs.array_of(entry)
        if values.dtype != np.float32 or values.ndim == 0:
            return None
        fitting = self._names.get(fingerprint(values), [])
        for name in fitting:
            layer = name.rpartition("/")[0]
            if any(layer in where for where in place):
                fitting.remove(name)
                return name
        return fitting.pop(0) if fitting else None


def put_in_order(graph: Any) -> None:
    """Order nodes as the outputs need them, and constants as the nodes do; in bodies, too.

    Requires: no name hides another. Ensures: nodes are in topological order; everything left leads
    to an output; names of sizes and graphs have no numbers of the process.
    """
    for inner in graphs.all_graphs(graph):
        _settle_twins(inner)
        _order_nodes(inner)
        _forget_numbers(inner)
    for inner in graphs.all_graphs(graph):
        known = graphs.constants(inner)
        used = dict.fromkeys(name for name in graphs.taken(inner) if name in known)
        graphs.replace_all(inner.initializer, [known[name] for name in used])


def _settle_twins(graph: Any) -> None:
    """Where a value and its Identity are both outputs, as of loops: the first is the value."""
    made_by = graphs.producers(graph)
    places = {entry.name: place for place, entry in enumerate(graph.output)}
    for name, place in places.items():
        node = made_by.get(name)
        other = places.get(node.input[0]) if node and node.op_type == "Identity" else None
        if node is not None and other is not None and place < other:
            graph.output[place].name, graph.output[other].name = node.input[0], name
    for node in graph.node:
        if not node.domain:
            node.ClearField("domain")


def _order_nodes(graph: Any) -> None:
    made_by = graphs.producers(graph)
    ordered: list[Any] = []
    done: set[int] = set()
    # (node, whether its inputs are done); a stack, since graphs are deep.
    waiting = [(made_by[o.name], False) for o in reversed(graph.output) if o.name in made_by]
    while waiting:
        node, is_ready = waiting.pop()
        key = id(node)
        if key in done:
            continue
        if is_ready:
            done.add(key)
            ordered.append(node)
            continue
        waiting.append((node, True))
        needed = [made_by[name] for name in graphs.needs(node) if name in made_by]
        waiting += [(other, False) for other in reversed(needed) if id(other) not in done]
    graphs.replace_all(graph.node, ordered)


def _forget_numbers(graph: Any) -> None:
    graph.name = "graph"
    del graph.value_info[:]
    for entry in (*graph.input, *graph.output):
        for size in entry.type.tensor_type.shape.dim:
            if size.dim_param.startswith("unk__"):
                size.ClearField("dim_param")
