"""Values of an ONNX graph that depend on constants only, and the chains of nodes behind them.

A runtime computes such a value, such as a compressed weight, once, when it loads the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.exporters.onnx.tensor_reading import OnnxTensor, damaged_onnx

_SHARING = 16
_FLOOR = 100_000
"""All chains together may make so many visits for each node and input of the graph, plus the floor:
honest chains hardly share nodes."""

_RANDOM = {
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
    *("RandomUniform", "RandomUniformLike"),
}


@dataclasses.dataclass(frozen=True)
class ConstantValue:
    """A value that depends on constants only, with the chain that computes it."""

    name: str
    """in the graph"""
    nodes: tuple[Any, ...]
    """in topological order; empty where the value is a constant itself"""
    parts: tuple[str, ...]
    """the names of the constants that it is computed from"""


class ConstantGraph:
    """The graph of a model, and which of its values depend on constants only.

    `tensors` are its checked constants by name. Raises CheckpointError where a name is given to
    two values.
    """

    def __init__(self, model: Any, tensors: Mapping[str, OnnxTensor]) -> None:
        self.tensors = tensors
        self.nodes = [node for node in model.graph.node if node.op_type != "Constant"]
        self.others: list[Any] = []
        """nodes that depend on more than constants"""
        # Since version 4 of the format, an initializer that is also an input can be replaced.
        free = {info.name for info in model.graph.input} if model.ir_version >= 4 else set()
        self._known = {name for name in tensors if name not in free}
        self._producer: dict[str, int] = {}
        written = set(tensors) | {info.name for info in model.graph.input}
        size = 0
        for number, node in enumerate(self.nodes):
            outputs = [name for name in node.output if name]
            twice = written.intersection(outputs)
            if twice or len(set(outputs)) < len(outputs):
                raise damaged_onnx(
                    f"the name {(sorted(twice) or outputs)[0][:80]!r} is given twice"
                )
            written.update(outputs)
            size += 1 + len(node.input)
            if self._is_constant(node):
                self._known.update(outputs)
                self._producer.update(dict.fromkeys(outputs, number))
            else:
                self.others.append(node)
        self._budget = _SHARING * size + _FLOOR

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def beginning(self, name: str) -> str:
        """The constant at the start of a chain, going up along first inputs."""
        while (number := self._producer.get(name)) is not None:
            name = self.nodes[number].input[0]
        return name

    def value(self, name: str) -> ConstantValue:
        """The value of that name; CheckpointError when the chains share too many nodes."""
        found: set[int] = set()
        pending = [name]
        while pending:
            number = self._producer.get(pending.pop())
            if number is None or number in found:
                continue
            found.add(number)
            inputs = self.nodes[number].input
            self._budget -= 1 + len(inputs)
            if self._budget < 0:
                raise damaged_onnx("its chains of constants share too many nodes")
            pending += inputs
        # A node is constant only if those that it takes from stand before it.
        nodes = tuple(self.nodes[number] for number in sorted(found))
        names = dict.fromkeys([name, *(taken for node in nodes for taken in node.input)])
        return ConstantValue(name, nodes, tuple(part for part in names if part in self.tensors))

    def _is_constant(self, node: Any) -> bool:
        inputs = [name for name in node.input if name]
        nested = any(part.HasField("g") or len(part.graphs) for part in node.attribute)
        standard = node.domain in ("", "ai.onnx") and node.op_type not in _RANDOM
        return standard and bool(inputs) and not nested and all(name in self for name in inputs)
