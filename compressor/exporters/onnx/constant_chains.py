"""Values of an ONNX graph that depend on constants only, and the chains of nodes that make them.

A runtime computes such a value once, when it loads the file: a compressed weight is the value at
the lower end of such a chain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.exporters.onnx.tensor_reading import OnnxTensor, damaged

_SHARING = 16
_FLOOR = 100_000
"""All chains together may visit this much for each node and input of the graph, and as much more:
honest chains hardly share nodes."""

_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


@dataclasses.dataclass(frozen=True)
class Chain:
    """A value that depends on constants only, with all that is above it."""

    value: str
    """its name in the graph"""
    nodes: tuple[Any, ...]
    """each after those that it needs; none where the value is a constant itself"""
    parts: tuple[str, ...]
    """the names of the constants that it is made of"""


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
        # From version 4 of the format on, an initializer that is also an input can be replaced.
        free = {info.name for info in model.graph.input} if model.ir_version >= 4 else set()
        self._known = {name for name in tensors if name not in free}
        self._producer: dict[str, int] = {}
        written = set(tensors) | {info.name for info in model.graph.input}
        size = 0
        for number, node in enumerate(self.nodes):
            outputs = [name for name in node.output if name]
            twice = written.intersection(outputs)
            if twice or len(set(outputs)) < len(outputs):
                raise damaged(f"the name {(sorted(twice) or outputs)[0][:80]!r} is given twice")
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

    def producer(self, name: str) -> Any | None:
        """The node that makes a constant value, or None."""
        number = self._producer.get(name)
        return None if number is None else self.nodes[number]

    def chain(self, value: str) -> Chain:
        """The chain that ends in `value`.

        Raises CheckpointError when the chains share so much that looking at all would take long.
        """
        found: dict[int, None] = {}
        # A node comes twice: to look at what it needs, and, when that is found, to be taken.
        pending = [(value, False)]
        while pending:
            name, ready = pending.pop()
            number = self._producer.get(name)
            if number is None or number in found:
                continue
            if ready:
                found[number] = None
                continue
            node = self.nodes[number]
            self._budget -= 1 + len(node.input)
            if self._budget < 0:
                raise damaged("its chains of constants share too many nodes")
            pending.append((name, True))
            pending += [(needed, False) for needed in reversed(node.input)]
        nodes = tuple(self.nodes[number] for number in found)
        names = [value, *(name for node in nodes for name in node.input)]
        parts = dict.fromkeys(name for name in names if name in self.tensors)
        return Chain(value, nodes, tuple(parts))

    def _is_constant(self, node: Any) -> bool:
        inputs = [name for name in node.input if name]
        nested = any(part.HasField("g") or len(part.graphs) for part in node.attribute)
        standard = node.domain in ("", "ai.onnx") and node.op_type not in _RANDOM
        return standard and bool(inputs) and not nested and all(name in self for name in inputs)
