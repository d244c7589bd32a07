"""Removing units that nothing reads from an ONNX graph, where no Keras model was shrunk before."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.exporters.onnx import graphs

_ELEMENTWISE = ("Relu", "Sigmoid", "Tanh", "Clip", "Identity")


def drop_dead_units(graph: Any) -> None:
    """Product, activation, product: units of the first that the second multiplies by zero go.

    Requires: topological order. Ensures the same outputs. Both kernels are constants that nothing
    else takes, and so is the bias between them; at least one unit stays.
    """
    known, taken, made_by = graphs.constants(graph), graphs.uses(graph), graphs.producers(graph)

    def kernel(node: Any) -> tuple[Any, bool] | None:
        """The kernel of a product, and whether its rows are outputs."""
        if node is None or node.op_type not in ("Gemm", "MatMul"):
            return None
        entry = known.get(node.input[1])
        if entry is None or len(entry.dims) != 2 or taken[entry.name] != 1:
            return None
        if graphs.attribute(node, "transA", 0):
            return None
        return entry, bool(graphs.attribute(node, "transB", 0))

    for node in graph.node:
        after, value = kernel(node), node.input[0] if node.input else ""
        while taken.get(value) == 1 and (middle := made_by.get(value)) is not None:
            if middle.op_type not in _ELEMENTWISE:
                break
            value = middle.input[0]
        first = made_by.get(value)
        before = kernel(first)
        if first is None or after is None or before is None or taken[value] != 1:
            continue
        bias = None
        if len(first.input) > 2 and first.input[2]:
            bias = known.get(first.input[2])
            units = before[0].dims[0 if before[1] else 1]
            if bias is None or taken[bias.name] != 1 or list(bias.dims) != [units]:
                continue
        alive = graphs.array_of(after[0]).any(axis=0 if after[1] else 1)
        if alive.all() or not alive.any():
            continue
        for entry, axis in (
            (after[0], 1 if after[1] else 0),
            (before[0], 0 if before[1] else 1),
            *([] if bias is None else [(bias, 0)]),
        ):
            values = np.compress(alive, graphs.array_of(entry), axis=axis)
            entry.CopyFrom(graphs.tensor(entry.name, values))
