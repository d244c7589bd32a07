"""The channels of a TFLite graph: how each operator passes them on, and removing them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.graphs.channels import (
    ChannelWalk,
    OperatorStep,
    has_unread,
    unread_channels,
)
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.foreign import weight_names
from compressor.exporters.tflite.kernels import kernels_of
from compressor.exporters.tflite.passes import drop_dead_operators, fix_reshapes
from compressor.shrinking import ChannelMap

_SAME = {
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "HARD_SWISH", "GELU"),
    *("LOGISTIC", "TANH", "ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE"),
}
_IMAGES = {"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
_PAIRS = {
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU", "POW"),
}
_REDUCTIONS = {"MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"}


def walk_channels(model: Any) -> ChannelWalk:
    """Follow the channels of the main subgraph of a model; gives reshapes constant shapes."""
    fix_reshapes(model)
    drop_dead_operators(model)
    _unshare_vectors(model)
    main, users = graphs.main(model), graphs.users(model)
    fixed = {*graphs.indices(main.inputs), *graphs.indices(main.outputs)}
    names = weight_names(model)[0]

    def shape_of(index: int) -> Any:
        if index < 0:
            return None
        tensor = main.tensors[index]
        sizes = graphs.signature(tensor)
        if not len(sizes) and not tensor.hasRank and graphs.constant(model, index) is None:
            return None
        return [None if size < 0 else int(size) for size in sizes]

    def own(index: int) -> tuple[int, ...] | None:
        values = graphs.constant(model, index)
        single = values is not None and len(users.get(index, ())) == 1 and index not in fixed
        return values.shape if single and values is not None else None

    walk = ChannelWalk(shape_of, own)
    for operator in main.operators:
        if graphs.indices(operator.outputs):
            _Step(model, walk, operator, names, shape_of).take()
        else:
            walk.stop(graphs.indices(operator.inputs), graphs.operator_name(model, operator))
    walk.keep(graphs.indices(main.outputs), "its units are outputs of the model")
    return walk


def _unshare_vectors(model: Any) -> None:
    """Converters store equal biases once."""
    for index, users in graphs.users(model).items():
        values = graphs.constant(model, index)
        if values is None or values.ndim != 1 or values.dtype != np.float32:
            continue
        for operator, position in users[1:]:
            own = graphs.add_tensor(model, None, values.shape, values.dtype, values=values)
            graphs.replace_input(operator, position, own)


def remove_channels(model: Any, walk: ChannelWalk, found: ChannelMap, gone: np.ndarray) -> None:
    """Remove channels, by the ids of `found`, from all constants that have an axis of them."""
    main = graphs.main(model)
    left: dict[int, dict[int, np.ndarray]] = {}
    for cut in found.axes:
        left.setdefault(cut.variable.key, {})[cut.axis] = ~np.isin(cut.channels, gone)
    for index, axes in left.items():
        values = np.asarray(graphs.constant(model, index))
        for axis, stay in axes.items():
            values = np.compress(stay, values, axis)
            _narrow_scales(main.tensors[index], axis, stay)
        graphs.set_constant(model, index, values)
    for count in walk.counts:
        operator, remaining = count.operator, int(np.sum(~np.isin(count.ids, gone)))
        place = graphs.indices(operator.inputs)[1]
        shape = np.array(graphs.constant(model, place))
        if shape[count.place] > 0:
            shape[count.place] = remaining
            new = graphs.add_tensor(model, None, shape.shape, shape.dtype, values=shape)
            graphs.replace_input(operator, 1, new)
        operator.builtinOptionsType, operator.builtinOptions = 0, None
    for index, line in walk.lines.items():
        if not isinstance(index, int):
            continue  # what an operator takes as flat
        remaining = int(np.sum(~np.isin(line.ids, gone)))
        for sizes in (main.tensors[index].shape, main.tensors[index].shapeSignature):
            if sizes is not None and len(sizes) > line.axis and sizes[line.axis] > 0:
                sizes[line.axis] = remaining


def _narrow_scales(tensor: Any, axis: int, stay: np.ndarray) -> None:
    """What says how the values of a channel are quantised goes with the channel."""
    given = tensor.quantization
    if given is None or given.quantizedDimension != axis:
        return
    narrow = copy.copy(given)
    for name in ("scale", "zeroPoint", "min", "max"):
        numbers = getattr(given, name)
        if numbers is not None and len(numbers) == len(stay) > 1:
            setattr(narrow, name, np.asarray(numbers)[stay])
    tensor.quantization = narrow


def without_unread(model: Any) -> Any:
    """The model without channels that nothing reads."""
    if not has_unread(kernels_of(model)):
        return model
    narrow = graphs.copied(model)
    walk = walk_channels(narrow)
    found = walk.map()
    gone = unread_channels(found, lambda index: np.asarray(graphs.constant(narrow, index)))
    if not gone.size:
        return model
    remove_channels(narrow, walk, found, gone)
    return narrow


class _Step(OperatorStep):
    """One operator, taken by the method for its kind."""

    def __init__(
        self,
        model: Any,
        walk: ChannelWalk,
        operator: Any,
        names: dict[int, str],
        shape_of: Callable[[int], Any],
    ) -> None:
        given = graphs.indices(operator.inputs)
        self.inputs = given + [-1] * (2 - len(given))  # the file may be hostile
        result, what = graphs.indices(operator.outputs)[0], graphs.operator_name(model, operator)
        super().__init__(walk, self.inputs[0], result, self.inputs, what)
        self.model, self.operator, self.names = model, operator, names
        self.shape_of, self.options = shape_of, operator.builtinOptions

    def take(self) -> None:
        if self.what in _PAIRS:
            self.walk.elementwise(str(self.result), self.inputs, self.result, self.what)
        elif self.what == "CONCATENATION":
            rank = len(self.shape_of(self.result) or [0])
            self.walk.concatenated(
                self.inputs, self.result, getattr(self.options, "axis", 0) % rank, self.what
            )
        else:
            self.walk.stop(self.inputs[1:], self.what)
            _TAKERS.get(self.what, _Step._stop)(self)

    def _numbers(self, place: int) -> list[int] | None:
        values = (
            graphs.constant(self.model, self.inputs[place]) if len(self.inputs) > place else None
        )
        return None if values is None else values.ravel().tolist()

    def _image(self) -> None:
        self._only(self.axis == 3)

    def _bias(self) -> tuple[int, int] | None:
        return (self.inputs[2], 0) if len(self.inputs) > 2 and self.inputs[2] >= 0 else None

    def _convolution(self) -> None:
        kernel = self.inputs[1]
        name, shape = self.names.get(kernel, f"tensor {kernel}"), self.shape_of(kernel)
        channels = (self.shape_of(self.source) or [None])[-1]
        if shape is None or len(shape) != 4 or channels != shape[3]:
            self._stop()  # grouped, or not known
            return
        ends = (self.source, 3), (self.result, 3)
        self.walk.product(name, kernel, (3, 0), self._bias(), *ends, self.what)

    def _depthwise(self) -> None:
        if self.axis != 3:
            self._stop()
            return
        kernel, bias = self.inputs[1], self._bias()
        parts = [(kernel, 3)] + ([] if bias is None else [bias])
        name = self.names.get(kernel, f"tensor {kernel}")
        self.walk.depthwise(name, parts, self.source, self.result, self.what)

    def _dense(self) -> None:
        kernel = self.inputs[1]
        name, shape = self.names.get(kernel, f"tensor {kernel}"), self.shape_of(kernel)
        given, made = self.shape_of(self.source), self.shape_of(self.result)
        if shape is None or len(shape) != 2 or not given or not made:
            self._stop()
            return
        source: Any = self.source
        axis = len(given) - 1
        if given[-1] != shape[1] and None not in given[1:] and math.prod(given[1:]) == shape[1]:
            source, axis = ("flat", self.source), 1  # it takes all behind the batch as one
            self.walk.flattened(self.source, source, [size or 1 for size in given[1:]])
        ends = (source, axis), (self.result, len(made) - 1)
        self.walk.product(name, kernel, (1, 0), self._bias(), *ends, self.what)

    def _reduction(self) -> None:
        kept = bool(getattr(self.options, "keepDims", False))
        self._reduced(self._numbers(1), kept=kept)

    def _reshape(self) -> None:
        if self._numbers(1):
            self.walk.reshaped(self.operator, self.source, self.result, self.what)
        else:
            self._stop()

    def _transpose(self) -> None:
        self._reordered(self._numbers(1) or [])

    def _pad(self) -> None:
        pads, axis = self._numbers(1), self.axis
        if pads and axis is not None:
            self._only(not any(pads[2 * axis : 2 * axis + 2]))
        else:
            self._stop()


_TAKERS: dict[str, Callable[[_Step], None]] = {
    **dict.fromkeys(_SAME, _Step._same),
    **dict.fromkeys(_IMAGES, _Step._image),
    **dict.fromkeys(_REDUCTIONS, _Step._reduction),
    **dict.fromkeys(("PAD", "PADV2"), _Step._pad),
    **{"CONV_2D": _Step._convolution, "DEPTHWISE_CONV_2D": _Step._depthwise},
    **{"FULLY_CONNECTED": _Step._dense, "RESHAPE": _Step._reshape, "TRANSPOSE": _Step._transpose},
}
