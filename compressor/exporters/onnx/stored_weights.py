"""The weights of an ONNX file: constants that nodes use, as they are or decoded by other nodes.

The exporter names the last node of a chain that decodes a weight `decode/ENCODING/TENSOR`. The
name is believed for what the weight and its encoding are called, not for that the chain is one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.exporters.onnx.constant_chains import ConstantGraph, ConstantValue
from compressor.exporters.onnx.decoding import MARK
from compressor.exporters.onnx.graphs import bodies, taken
from compressor.exporters.onnx.tensor_reading import OnnxTensor

_INTEGERS = {"int8", "uint8", "int4", "uint4", "int2", "uint2"}
_STILL = {"Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that leave a weight what it is, in another type or shape."""

_SCALES = {
    "QuantizeLinear": {1, 2},
    "DequantizeLinear": {1, 2},
    "QLinearConv": {1, 2, 4, 5, 6, 7},
    "QLinearMatMul": {1, 2, 4, 5, 6, 7},
    "MatMulInteger": {2, 3},
    "ConvInteger": {2, 3},
}
"""Operator -> which of its inputs are scales and zero points, and so no weights."""
_BIASES = {"QLinearConv": {8}}
"""Operator -> which of its inputs are weights although they are integers of 32 bits."""

_TABLE, _SCALE = "/table", "/scale"
"""How the exporter's names of tables and scales end."""


@dataclasses.dataclass(frozen=True)
class OnnxWeight:
    """A weight of the model, as the file stores it."""

    name: str
    """of the tensor that was encoded, else of the value in the file"""
    encoding: str
    """dense, sparse-initializer, external; or as the last node of its chain says; or computed"""
    values: str
    """the type of the stored values: float32, float16, int8, codebook4, ..."""
    bytes: int
    """of all constants that it is made of; one that several share is counted with the first"""
    shape: tuple[int, ...] | None
    """of the one constant that it is; None where a chain decides"""
    source: ConstantValue = dataclasses.field(repr=False, compare=False)
    """how the graph makes it"""


def read_weights(model: Any, tensors: Mapping[str, OnnxTensor]) -> tuple[OnnxWeight, ...]:
    """The weights of the model's graph, in the order in which it uses them, unused ones last.

    `tensors` are its checked constants by name. Raises CheckpointError.
    """
    graph = ConstantGraph(model, tensors)
    weights: list[OnnxWeight] = []
    counted: set[str] = set()
    for name, forced in _used(graph, model).items():
        value = graph.value(name)
        weight = _decoded(graph, value) if value.nodes else _stored(tensors[name], value, forced)
        if weight is not None:
            size = sum(tensors[part].bytes for part in value.parts if part not in counted)
            counted.update(value.parts)
            weights.append(dataclasses.replace(weight, bytes=size))
    return tuple(weights)


def _used(graph: ConstantGraph, model: Any) -> dict[str, bool]:
    """The constant values that something uses -> whether one is a bias of integers."""
    used: dict[str, bool] = {}
    for node in graph.others:
        scales, biases = (table.get(node.op_type, ()) for table in (_SCALES, _BIASES))
        for position, name in enumerate(node.input):
            if name and position not in scales:
                used[name] = used.get(name, False) or position in biases
    inner = {name for node in graph.others for body in bodies(node) for name in taken(body)}
    results = {info.name for info in model.graph.output}
    needed = {name for node in graph.nodes for name in node.input} | inner | results
    unused = [name for name in graph.tensors if name not in needed]
    for name in (*sorted(inner), *sorted(results), *unused):
        used.setdefault(name, False)
    return {name: bias for name, bias in used.items() if name in graph or name in graph.tensors}


def _stored(tensor: OnnxTensor, value: ConstantValue, forced: bool) -> OnnxWeight | None:
    """A constant as a weight; None for a scalar, and for integers that steer the graph."""
    kind = tensor.type.name
    if not tensor.shape or not (forced or "float" in kind or kind in _INTEGERS):
        return None
    return OnnxWeight(tensor.name, tensor.encoding, kind, tensor.bytes, tensor.shape, value)


def _decoded(graph: ConstantGraph, value: ConstantValue) -> OnnxWeight | None:
    """What nodes make as a weight; None where it is something else, such as a shape."""
    marked = [node for node in value.nodes if node.name.startswith(MARK)]
    if len(marked) == 1:
        encoding, _, name = marked[0].name.removeprefix(MARK).partition("/")
        if encoding and name and marked[0].output:
            whole = graph.value(marked[0].output[0])
            return OnnxWeight(name, encoding, _type(graph, value), 0, None, whole)
    first = graph.tensors.get(graph.beginning(value.name))
    scaled = any(node.op_type == "DequantizeLinear" for node in value.nodes)
    if first is not None and all(node.op_type in _STILL for node in value.nodes):
        weight = _stored(first, value, scaled)
        # Integers are a weight only where something gives them a scale.
        known = weight is not None and (scaled or "float" in weight.values)
        return dataclasses.replace(weight, shape=None) if weight and known else None
    if not any("float" in graph.tensors[part].type.name for part in value.parts):
        return None
    return OnnxWeight(value.name, "computed", _type(graph, value), 0, None, value)


def _type(graph: ConstantGraph, value: ConstantValue) -> str:
    """The type of what a value is made of, positions and scales aside."""
    if any(part.endswith(_TABLE) for part in value.parts):
        # Codes of a uniform table have a scale; those of a codebook are all there is to a value.
        return "int4" if any(part.endswith(_SCALE) for part in value.parts) else "codebook4"
    kinds = {graph.tensors[part].type.name for part in value.parts}
    known = [kind for kind in ("float16", "int8", "int4", "uint4", "float32") if kind in kinds]
    return known[0] if known else ", ".join(sorted(kinds))
