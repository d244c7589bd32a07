"""New sizes and weights of layers, by which channels are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.shrinking.graph import Graph
from compressor.shrinking.kernels import Linear
from compressor.shrinking.liveness import Liveness, Use
from compressor.shrinking.rebuilding import Edit
from compressor.shrinking.rule import Axis, Rule, values_of


def edits_of(graph: Graph, uses: list[Use], choice: Liveness) -> dict[int, Edit]:
    """id of a layer -> its changes, for layers whose variables or size depend on channels."""
    by_layer = {id(use.layer): use for use in uses}
    edits = {}
    for key, (call, rule) in graph.layers(Rule).items():
        if not rule.joins_calls:
            continue
        inputs, outputs = graph.channels[call.inputs[0]], graph.channels[call.outputs[0]]
        width, bias = int(choice.kept[outputs].sum()), None
        axes = rule.axes(call.layer, inputs, outputs)
        values = values_of(call.layer) if axes else {}
        if isinstance(rule, Linear):
            bias = folded_bias(by_layer[key], choice)
            if bias is not None:
                values["bias"] = bias
                axes = [axis for axis in axes if axis.name != "bias"]
                axes.append(Axis("bias", 0, outputs, "producer"))
        for axis in axes:
            values[axis.name] = _cut(values[axis.name], axis, choice)
        edits[key] = Edit(rule.config(call.layer, width, bias=bias is not None), values)
    return edits


def entries_of(graph: Graph, choice: Liveness) -> dict[int, int]:
    """id of a nested model's InputLayer -> its new number of channels, where it changes."""
    widths = {
        key: (len(graph.channels[tensor]), int(choice.kept[graph.channels[tensor]].sum()))
        for key, tensor in graph.trace.entries.items()
    }
    return {key: new for key, (old, new) in widths.items() if new < old}


def folded_bias(use: Use, choice: Liveness) -> np.ndarray | None:
    """The bias, float64 (out,), plus what removed constant inputs add; None where that is zero."""
    gone = use.foldable & ~choice.needed[use.inputs]
    added = use.rule.apply(use.layer, np.where(gone, use.constants, 0.0))
    added = np.where(choice.needed[use.outputs], added, 0.0)
    if not added.any():
        return None
    bias: Any = values_of(use.layer).get("bias", np.zeros(len(added)))
    return np.asarray(bias.astype(np.float64) + added)


def _cut(value: np.ndarray, axis: Axis, choice: Liveness) -> np.ndarray:
    """Keep the kept channels along an axis, with zeros for fillers."""
    if axis.role != "follower":
        shape = [1] * value.ndim
        shape[axis.axis] = -1
        value = np.where(choice.needed[axis.channels].reshape(shape), value, value.dtype.type(0))
    return np.compress(choice.kept[axis.channels], value, axis=axis.axis)
