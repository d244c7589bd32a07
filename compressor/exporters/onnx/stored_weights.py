"""The weights of an ONNX file: constants that nodes use, as they are or decoded by other nodes.

The exporter names the last node of a chain that decodes a weight `decode/ENCODING/TENSOR`. The
name is believed for what the weight and its encoding are called, not for that the chain is one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.exporters.onnx.constant_chains import Chain, ConstantGraph
from compressor.exporters.onnx.nested_graphs import captured
from compressor.exporters.onnx.tensor_reading import OnnxTensor

DECODE = "decode/"

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
class Weight:
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
    chain: Chain = dataclasses.field(repr=False, compare=False)
    """how the graph makes it"""


def find_weights(model: Any, tensors: Mapping[str, OnnxTensor]) -> tuple[Weight, ...]:
    """The weights of the model's graph, in the order in which it uses them, unused ones last.

    `tensors` are its checked constants by name. Raises CheckpointError.
    """
    graph = ConstantGraph(model, tensors)
    weights: list[Weight] = []
    counted: set[str] = set()
    for name, forced in _used(graph, model).items():
        chain = graph.chain(name)
        stored = None if chain.nodes else _stored(tensors[name], chain, forced)
        weight = _decoded(graph, chain) if chain.nodes else stored
        if weight is not None:
            size = sum(tensors[part].bytes for part in chain.parts if part not in counted)
            counted.update(chain.parts)
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
    inner = captured(graph.others)
    results = {info.name for info in model.graph.output}
    needed = {name for node in graph.nodes for name in node.input} | inner | results
    unused = [name for name in graph.tensors if name not in needed]
    for name in (*sorted(inner), *sorted(results), *unused):
        used.setdefault(name, False)
    return {name: bias for name, bias in used.items() if name in graph or name in graph.tensors}


def _stored(tensor: OnnxTensor, chain: Chain, forced: bool) -> Weight | None:
    """A constant as a weight; None for a scalar, and for integers that steer the graph."""
    kind = tensor.type.name
    if not tensor.shape or not (forced or "float" in kind or kind in _INTEGERS):
        return None
    return Weight(tensor.name, tensor.encoding, kind, tensor.bytes, tensor.shape, chain)


def _decoded(graph: ConstantGraph, chain: Chain) -> Weight | None:
    """What a chain ends in as a weight; None where it makes something else, such as a shape."""
    kinds = [graph.tensors[part].type.name for part in chain.parts]
    last = [node for node in chain.nodes if node.name.startswith(DECODE)]
    if len(last) == 1:
        encoding, _, name = last[0].name.removeprefix(DECODE).partition("/")
        if encoding and name and last[0].output:
            whole = graph.chain(last[0].output[0])
            return Weight(name, encoding, _values(graph, chain), 0, None, whole)
    first = graph.tensors.get(_first(graph, chain.value))
    scaled = any(node.op_type == "DequantizeLinear" for node in chain.nodes)
    if first is not None and all(node.op_type in _STILL for node in chain.nodes):
        weight = _stored(first, chain, scaled)
        # Integers are a weight only where something gives them a scale.
        known = weight is not None and (scaled or "float" in weight.values)
        return dataclasses.replace(weight, shape=None) if weight and known else None
    if not any("float" in kind for kind in kinds):
        return None
    return Weight(chain.value, "computed", _values(graph, chain), 0, None, chain)


def _first(graph: ConstantGraph, name: str) -> str:
    """The constant that a chain begins with, going up along first inputs."""
    while (node := graph.producer(name)) is not None:
        name = node.input[0]
    return name


def _values(graph: ConstantGraph, chain: Chain) -> str:
    """The type of the values that a chain is made of, positions and scales aside."""
    tensors = {part: graph.tensors[part] for part in chain.parts}
    if any(name.endswith(_TABLE) for name in tensors):
        # Codes of a uniform table have a scale; those of a codebook are all there is to a value.
        return "int4" if any(name.endswith(_SCALE) for name in tensors) else "codebook4"
    kinds = {tensor.type.name for tensor in tensors.values()}
    known = [kind for kind in ("float16", "int8", "int4", "uint4", "float32") if kind in kinds]
    return known[0] if known else ", ".join(sorted(kinds))
