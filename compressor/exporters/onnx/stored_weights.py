"""The weights of an ONNX file: constants that nodes use, as they are or decoded by other nodes.

The exporter names the last node of a chain that decodes a weight `decode/ENCODING/TENSOR`. That is
trusted only for the names of the weight and its encoding, not for being such a chain.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from compressor.exporters.onnx.chain import MARK
from compressor.exporters.onnx.constant_chains import ConstantGraph, ConstantValue
from compressor.exporters.onnx.graphs import bodies, taken
from compressor.exporters.onnx.tensor_reading import OnnxTensor

_INTEGERS = {"int8", "uint8", "int4", "uint4", "int2", "uint2"}
_STILL = {"Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that only change the type or shape of a weight."""

SCALES = {
    "QuantizeLinear": {1, 2},
    "DequantizeLinear": {1, 2},
    "QLinearConv": {1, 2, 4, 5, 6, 7},
    "QLinearMatMul": {1, 2, 4, 5, 6, 7},
    "MatMulInteger": {2, 3},
    "ConvInteger": {2, 3},
}
"""Operator -> its inputs that are scales and zero points, not weights."""
_BIASES = {"QLinearConv": {8}}
"""Operator -> its inputs that are weights, although 32-bit integers."""


@dataclasses.dataclass(frozen=True)
class OnnxWeight:
    """A weight of the model, as the file stores it."""

    name: str
    """of the encoded tensor, else of the value in the file"""
    encoding: str
    """dense, sparse-initializer, external, computed; or from the name of the chain's last node"""
    values: str
    """the type of the stored values: float32, float16, int8, codebook4, ..."""
    bytes: int
    """of all its constants; one that several weights share is counted with the first"""
    shape: tuple[int, ...] | None
    """None where it is computed by a chain"""
    source: ConstantValue = dataclasses.field(repr=False, compare=False)
    """how the graph computes it"""


def read_weights(model: Any, tensors: Mapping[str, OnnxTensor]) -> tuple[OnnxWeight, ...]:
    """The weights of the model's graph, in the order of use, unused ones last.

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
    """Constant value -> whether it is used as an integer bias."""
    used: dict[str, bool] = {}
    for node in graph.others:
        scales, biases = (table.get(node.op_type, ()) for table in (SCALES, _BIASES))
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
    """A constant as a weight; None for scalars and for integers such as shapes."""
    kind = tensor.type.name
    if not tensor.shape or not (forced or "float" in kind or kind in _INTEGERS):
        return None
    return OnnxWeight(tensor.name, tensor.encoding, kind, tensor.bytes, tensor.shape, value)


def _decoded(graph: ConstantGraph, value: ConstantValue) -> OnnxWeight | None:
    """A computed value as a weight; None where it is something else, such as a shape."""
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
        # Integers are a weight only where they have a scale.
        known = weight is not None and (scaled or "float" in weight.values)
        return dataclasses.replace(weight, shape=None) if weight and known else None
    if not any("float" in graph.tensors[part].type.name for part in value.parts):
        return None
    return OnnxWeight(value.name, "computed", _type(graph, value), 0, None, value)


def _type(graph: ConstantGraph, value: ConstantValue) -> str:
    """The type of the values that a weight is computed from, not of positions or scales."""
    tables = _tables(graph, value)
    if tables:
        # Codes of a uniform table have a scale, those of a codebook none.
        if not any(node.op_type == "Mul" and _floats(graph, node) for node in value.nodes):
            return "codebook4"
        return "ternary" if any(math.prod(table.shape) <= 3 for table in tables) else "int4"
    kinds = {graph.tensors[part].type.name for part in value.parts}
    known = [kind for kind in ("float16", "int8", "int4", "uint4", "float32") if kind in kinds]
    return known[0] if known else ", ".join(sorted(kinds))


def _tables(graph: ConstantGraph, value: ConstantValue) -> list[OnnxTensor]:
    """The float32 constants that are looked up by numbers, but not by ranks, which are products."""
    products = {node.output[0] for node in value.nodes if node.op_type == "Mul"}
    return [
        graph.tensors[node.input[0]]
        for node in value.nodes
        if node.op_type == "GatherElements"
        and node.input[0] in graph.tensors
        and graph.tensors[node.input[0]].type.name == "float32"
        and node.input[1] not in products
    ]


def _floats(graph: ConstantGraph, node: Any) -> bool:
    constants = (graph.tensors[name] for name in node.input if name in graph.tensors)
    return any(constant.type.name == "float32" for constant in constants)
