"""A tensor as an ONNX file holds it: constants, and the nodes that decode them, in exact bytes."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Container
from typing import Any

import numpy as np
from onnx import helper

from compressor.exporters.onnx.apart import byte_size, framed, payload
from compressor.exporters.onnx.graphs import tensor, unique
from compressor.exporters.onnx.weights import Stored

MARK = "decode/"
_CHARACTERS = string.ascii_letters + string.digits


@dataclasses.dataclass
class Chain:
    """A tensor as a file holds it; `nodes` are in topological order."""

    name: str
    encoding: str
    stored: Stored
    uniform: bool = False
    """whether it is to have the nodes of others, so that all may call one function"""
    nodes: list[Any] = dataclasses.field(default_factory=list)
    initializers: list[Any] = dataclasses.field(default_factory=list)
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)
    """initializers and nodes that are in the file once, by their names"""

    @property
    def file_bytes(self) -> int:
        """Bytes that it adds to the file, with its nodes and all that it shares."""
        return self.bytes_beside(())

    def bytes_beside(self, present: Container[str]) -> int:
        """The same in a file that already has the shared parts of these names."""
        new = [part for name, part in self.shared.items() if name not in present]
        parts = (*self.nodes, *self.initializers, *new)
        return sum(framed(byte_size(part)) for part in parts)

    @property
    def payload_bytes(self) -> int:
        """Bytes of its values, positions and scales."""
        sparse = [
            attribute.sparse_tensor
            for node in self.nodes
            for attribute in node.attribute
            if attribute.HasField("sparse_tensor")
        ]
        indices = sum(entry.indices.ByteSize() + len(entry.values.raw_data) for entry in sparse)
        return indices + sum(map(payload, self.initializers))

    def constant(self, values: np.ndarray) -> str:
        """Add an initializer of this tensor, and return its name."""
        self.initializers.append(tensor(self._next(), values))
        return str(self.initializers[-1].name)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = self._next()
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def once(self, what: str, values: Any, dtype: Any) -> str:
        """Add an initializer that chains share, and return its name.

        `what` says what it is, in a digit and another character: it takes the bytes of the name
        that it gets in the file.
        """
        self.shared[what] = tensor(what, np.asarray(values, dtype))
        return what

    def _next(self) -> str:
        return unique(short_name(len(self.nodes) + len(self.initializers)), {self.name})

    def finish(self, value: str) -> Chain:
        """Give `value` the name of the tensor."""
        if self.nodes:
            self.nodes[-1].output[0] = self.name
            self.nodes[-1].name = f"{MARK}{self.encoding}/{self.name}"
        else:
            next(entry for entry in self.initializers if entry.name == value).name = self.name
        return self


def short_name(number: int) -> str:
    """A name for a value that only nodes see: it is in the file at least twice, so that it counts.

    Two characters for 3,224 names, so that a chain takes the same bytes wherever it is.
    """
    rest, last = divmod(number, len(_CHARACTERS))
    turn, first = divmod(rest, len(string.ascii_letters))
    return f"{string.ascii_letters[first]}{_CHARACTERS[last]}{turn or ''}"
