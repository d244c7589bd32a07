"""Which elements of which variables belong to one channel, for pruning whole channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.shrinking.graph import graph_of_channels
from compressor.shrinking.kernels import Linear
from compressor.shrinking.rule import Role, Rule, variables_of
from compressor.shrinking.table import rule_named


@dataclass(frozen=True)
class VariableAxis:
    """An axis of a variable that runs over channels."""

    layer: str
    """the layer's path"""
    variable: Any
    axis: int
    channels: np.ndarray
    """int64 (size of the axis,), channel ids"""
    role: Role
    """producer: the last axis of a kernel, and its bias; follower: depthwise kernels and
    BatchNormalization; consumer: the axis of a kernel that runs over its inputs"""

    def spread(self, values: np.ndarray) -> np.ndarray:
        """One value a channel, (size of the axis,), broadcast to the variable's shape."""
        shape = [1] * len(self.variable.shape)
        shape[self.axis] = -1
        return np.broadcast_to(values.reshape(shape), tuple(self.variable.shape))


@dataclass(frozen=True)
class ChannelMap:
    """The channels of a model; what shares a channel id is kept or removed together."""

    axes: tuple[VariableAxis, ...]
    producers: dict[str, np.ndarray]
    """path of each Dense, Conv, SeparableConv -> int64 (units,), channel ids"""
    blocked: dict[str, str]
    """layer path of a producer -> why its units cannot be removed, in one line"""


def channel_map(model: Any) -> ChannelMap:
    """Find the channels of a built Functional or Sequential model.

    Add couples two producers, Flatten repeats an id for every position, Concatenate puts ids side
    by side, a shared layer unifies its calls. Raises ModelError for a model that was never built,
    or has code of its own.
    """
    graph = graph_of_channels(model)
    axes = [
        VariableAxis(call.path, variables_of(call.layer)[axis.name], *axis[1:])
        for call, rule in graph.layers(Rule).values()
        if call.layer is not None
        for axis in rule.axes(
            call.layer, graph.channels[call.inputs[0]], graph.channels[call.outputs[0]]
        )
    ]
    producers: dict[str, np.ndarray] = {}
    for call in graph.trace.calls:
        if call.layer is not None and isinstance(rule_named(call.layer, len(call.inputs)), Linear):
            producers.setdefault(call.path, graph.channels[call.outputs[0]])
    reasons = {path: graph.blocked(ids) for path, ids in producers.items()}
    blocked = {path: reason for path, reason in reasons.items() if reason is not None}
    return ChannelMap(tuple(axes), producers, blocked)
