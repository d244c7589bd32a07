"""Which elements of which variables belong to one channel, for pruning whole channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.shrinking.graph import Graph, graph_of_channels
from compressor.shrinking.kernels import Linear
from compressor.shrinking.rule import Role, Rule, variables_of
from compressor.shrinking.table import rule_named


@dataclass(frozen=True)
class VariableAxis:
    """An axis of a variable that runs over channels."""

    layer: str
    """the layer's path"""
    variable: Any
    """the Keras variable"""
    axis: int
    channels: np.ndarray
    """int64 (size of the axis,): the channel id of each index"""
    role: Role
    """producer: the last axis of a kernel, and its bias; follower: depthwise kernels and
    BatchNormalization; consumer: the axis of a kernel that runs over its inputs"""


@dataclass(frozen=True)
class ChannelMap:
    """The channels of a model. What has one channel id must go or stay together."""

    axes: tuple[VariableAxis, ...]
    producers: dict[str, np.ndarray]
    """layer path -> int64 (units,): the channel id of each unit of Dense, Conv, SeparableConv"""
    blocked: dict[str, str]
    """layer path of a producer -> why its units cannot be removed, in one line"""


def channel_map(model: Any) -> ChannelMap:
    """Find the channels of a built Functional or Sequential model.

    Ids are equal where elements must go together: Add couples two producers, Flatten repeats
    an id for every position, Concatenate puts ids side by side, a shared layer unifies its
    calls. Raises ModelError for a model that was never built, or whose code is its own.
    """
    graph = graph_of_channels(model)
    axes = [
        VariableAxis(
            call.path, variables_of(call.layer)[axis.name], axis.axis, axis.channels, axis.role
        )
        for call, rule in graph.layers(Rule).values()
        if call.layer is not None
        for axis in rule.axes(
            call.layer, graph.channels[call.inputs[0]], graph.channels[call.outputs[0]]
        )
    ]
    producers = producers_of(graph)
    reasons = {path: graph.blocked(ids) for path, ids in producers.items()}
    blocked = {path: reason for path, reason in reasons.items() if reason is not None}
    return ChannelMap(tuple(axes), producers, blocked)


def producers_of(graph: Graph) -> dict[str, np.ndarray]:
    """Layer path -> channel ids of the units of every layer that makes new channels."""
    found: dict[str, np.ndarray] = {}
    for call in graph.trace.calls:
        if call.layer is not None and isinstance(rule_named(call.layer, len(call.inputs)), Linear):
            found.setdefault(call.path, graph.channels[call.outputs[0]])
    return found
