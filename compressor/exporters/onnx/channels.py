"""The channels of an ONNX graph: how each operator passes them on, and removing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from compressor.exporters.graphs.channels import (
    ChannelWalk,
    Count,
    OperatorStep,
    has_unread,
    unread_channels,
)
from compressor.exporters.onnx import graphs
from compressor.exporters.onnx.kernels import kernels_of
from compressor.shrinking import ChannelMap

_SAME = {
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
    *("Gelu", "Mish", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Clip"),
    *("Identity", "Dropout", "Cast", "ThresholdedRelu", "Reciprocal", "Swish"),
}
_POOLS = {"MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"}
_PAIRS = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu", "Sum", "Mean"}
_REDUCTIONS = {"ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceL2"}


def walk_channels(model: Any) -> ChannelWalk:
    """Follow the channels of a model in the form of `kernels.open_model`."""
    graph = model.graph
    _unshare_vectors(graph)
    inferred = graphs.inferred(model)
    shapes: dict[str, Any] = {
        entry.name: graphs.sizes_of(entry)
        for entry in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    constants, taken = graphs.constants(graph), graphs.uses(graph)
    shapes |= {name: tuple(entry.dims) for name, entry in constants.items()}

    def own(name: str) -> tuple[int, ...] | None:
        return tuple(constants[name].dims) if name in constants and taken[name] == 1 else None

    walk = ChannelWalk(shapes.get, own)
    for node in graph.node:
        if node.domain in ("", "ai.onnx") and not list(graphs.bodies(node)):
            _Step(walk, node, constants, shapes).take()
        else:
            walk.stop(graphs.needs(node), node.op_type)
    walk.keep([entry.name for entry in graph.output], "its units are outputs of the model")
    return walk


def _unshare_vectors(graph: Any) -> None:
    """Exporters store equal biases once."""
    constants, taken = graphs.constants(graph), graphs.uses(graph)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in constants and len(constants[name].dims) == 1 and taken[name] > 1:
                own = graphs.fresh(graph, name)
                graph.initializer.append(graphs.tensor(own, graphs.array_of(constants[name])))
                node.input[position] = own
                taken[name] -= 1


def remove_channels(model: Any, walk: ChannelWalk, found: ChannelMap, gone: np.ndarray) -> None:
    """Remove channels, by the ids of `found`, from all constants that have an axis of them."""
    graph, constants = model.graph, graphs.constants(model.graph)
    left: dict[str, dict[int, np.ndarray]] = {}
    for cut in found.axes:
        left.setdefault(cut.variable.key, {})[cut.axis] = ~np.isin(cut.channels, gone)
    for name, axes in left.items():
        values = graphs.array_of(constants[name])
        for axis, stay in axes.items():
            values = np.compress(stay, values, axis)
        constants[name].CopyFrom(graphs.tensor(name, values))
    for count in walk.counts:
        _set_count(graph, count, int(np.sum(~np.isin(count.ids, gone))))
    del graph.value_info[:]


def without_unread(model: Any) -> Any:
    """The model, in the form of `kernels.open_model`, without channels that nothing reads."""
    if not has_unread(kernels_of(model)):
        return model
    narrow = onnx.ModelProto()
    narrow.CopyFrom(model)
    walk = walk_channels(narrow)
    found, constants = walk.map(), graphs.constants(narrow.graph)
    gone = unread_channels(found, lambda name: graphs.array_of(constants[name]))
    if not gone.size:
        return model
    remove_channels(narrow, walk, found, gone)
    return narrow


def _set_count(graph: Any, count: Count, left: int) -> None:
    node = count.operator
    if node.op_type == "Conv":
        for entry in node.attribute:
            if entry.name == "group":
                entry.i = left
    elif node.op_type == "Reshape":
        shape = graphs.array_of(graphs.constants(graph)[node.input[1]]).copy()
        if shape[count.place] > 0:
            shape[count.place] = left
            name = graphs.fresh(graph, f"{node.output[0]}/shape")
            graph.initializer.append(graphs.tensor(name, shape))
            node.input[1] = name


class _Step(OperatorStep):
    """One node, taken by the method for its operator."""

    def __init__(
        self, walk: ChannelWalk, node: Any, constants: Mapping[str, Any], shapes: Mapping[str, Any]
    ) -> None:
        source = node.input[0] if node.input else ""
        super().__init__(walk, source, node.output[0], list(graphs.needs(node)), node.op_type)
        self.node, self.constants, self.shapes = node, constants, shapes

    def take(self) -> None:
        kind = self.node.op_type
        if kind in _PAIRS:
            self.walk.elementwise(self.result, list(self.node.input), self.result, self.what)
        elif kind == "Concat":
            self._concat()
        else:
            self.walk.stop(self.node.input[1:], self.what)
            _TAKERS.get(kind, _Step._stop)(self)

    def _pool(self) -> None:
        self._only(self.axis == 1 and len(self.node.output) == 1)

    def _attribute(self, name: str, default: Any) -> Any:
        return graphs.attribute(self.node, name, default)

    def _rank(self, value: str) -> int:
        return len(self.shapes.get(value) or ())

    def _numbers(self, place: int, name: str) -> list[int] | None:
        """Integers of an attribute, or of a constant input; None where they are computed."""
        if place < len(self.node.input) and (given := self.node.input[place]):
            known = given in self.constants
            return graphs.array_of(self.constants[given]).ravel().tolist() if known else None
        return list(self._attribute(name, []))

    def _conv(self) -> None:
        kernel, *bias = [name for name in self.node.input[1:] if name]
        parts = [(name, 0) for name in (kernel, *bias)]
        groups, shape = self._attribute("group", 1), self.shapes.get(kernel)
        if groups == 1:
            self.walk.product(
                *(kernel, kernel, (1, 0), parts[1] if bias else None),
                *((self.source, 1), (self.result, 1), self.what),
            )
        elif shape is not None and shape[1] == 1 and self.axis == 1:
            entered = self.walk.depthwise(kernel, parts, self.source, self.result, self.what)
            if entered is not None:
                if len(entered) != groups:
                    self.walk.stop([self.result], self.what)
                self.walk.counts.append(Count(self.node, 0, entered))
        else:
            self._stop()

    def _gemm(self) -> None:
        kernel, *bias = [name for name in self.node.input[1:] if name]
        axes = (1, 0) if self._attribute("transB", 0) else (0, 1)
        if self._attribute("transA", 0):
            self._stop()
            return
        part = (bias[0], self._rank(bias[0]) - 1) if bias else None
        self.walk.product(
            *(kernel, kernel, axes, part, (self.source, 1), (self.result, 1), self.what)
        )

    def _matmul(self) -> None:
        kernel, rank = self.node.input[1], self._rank(self.source)
        if self._rank(kernel) != 2 or kernel not in self.constants or rank < 2:
            self._stop()
            return
        ends = (self.source, rank - 1), (self.result, rank - 1)
        self.walk.product(kernel, kernel, (0, 1), None, *ends, self.what)

    def _batchnormalization(self) -> None:
        if self.axis != 1 or len(self.node.output) > 1:
            self._stop()
            return
        parts = [(name, 0) for name in self.node.input[1:]]
        self.walk.depthwise(self.result, parts, self.source, self.result, self.what)

    def _concat(self) -> None:
        rank, axis = self._rank(self.result) or 1, self._attribute("axis", 0)
        self.walk.concatenated(list(self.node.input), self.result, axis % rank, self.what)

    def _flatten(self) -> None:
        if self._attribute("axis", 1) == 1:
            self.walk.reshaped(self.node, self.source, self.result, self.what)
        else:
            self._stop()

    def _reshape(self) -> None:
        if self._attribute("allowzero", 0) or self.node.input[1] not in self.constants:
            self._stop()
        else:
            self.walk.reshaped(self.node, self.source, self.result, self.what)

    def _squeeze(self) -> None:
        axes = self._numbers(1, "axes") if self._rank(self.source) else None
        self._reduced(axes, kept=False)

    def _unsqueeze(self) -> None:
        axes, rank = self._numbers(1, "axes"), self._rank(self.result)
        if not axes or not rank or self.axis is None:
            self._stop()
            return
        added = {axis % rank for axis in axes}
        left = [axis for axis in range(rank) if axis not in added]
        self._only(self.axis < len(left), left[self.axis])

    def _transpose(self) -> None:
        self._reordered(list(self._attribute("perm", [])))

    def _reduction(self) -> None:
        kept = bool(self._attribute("keepdims", 1))
        self._reduced(self._numbers(1, "axes"), kept=kept)

    def _pad(self) -> None:
        pads, axes = self._numbers(1, "pads"), self._numbers(3, "")
        if pads is None or axes or self.axis is None:
            self._stop()
            return
        rank = len(pads) // 2
        self._only(self.axis < rank and not pads[self.axis] and not pads[self.axis + rank])

    def _resize(self) -> None:
        by_sizes = len(self.node.input) > 3 and self.node.input[3]
        scales = (None if by_sizes else self._numbers(2, "")) or []
        self._only(self.axis is not None and scales[self.axis : self.axis + 1] == [1])


_TAKERS: dict[str, Callable[[_Step], None]] = {
    **dict.fromkeys(_SAME, _Step._same),
    **dict.fromkeys(_POOLS, _Step._pool),
    **dict.fromkeys(_REDUCTIONS, _Step._reduction),
    **{"Conv": _Step._conv, "Gemm": _Step._gemm, "MatMul": _Step._matmul},
    **{"BatchNormalization": _Step._batchnormalization, "Flatten": _Step._flatten},
    **{"Reshape": _Step._reshape, "Squeeze": _Step._squeeze, "Unsqueeze": _Step._unsqueeze},
    **{"Transpose": _Step._transpose, "Pad": _Step._pad, "Resize": _Step._resize},
}
