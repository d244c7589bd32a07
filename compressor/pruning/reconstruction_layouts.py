"""Kernels as matrices, and the inputs of their layers as rows that those multiply."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Draw = Callable[[int], np.ndarray]
"""Number of rows that there are -> int64 indices of those to take, sorted."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one kernel of a layer multiplies what enters the layer."""

    layer: Any
    """the layer that holds the kernel; an RNN for the kernels of its cell"""
    rows: Callable[[np.ndarray, Draw], np.ndarray]
    """an input of the layer, float32, as the model gives it -> float32 (groups, rows, in)"""
    to_matrix: Callable[[np.ndarray], np.ndarray]
    """array of the kernel's shape -> (groups, in, out)"""
    to_kernel: Callable[[np.ndarray], np.ndarray]
    """(groups, in, out) -> array of the kernel's shape"""
    bias: Any = None
    """the variable that a constant of each output can be added to; None without one, and where it
    must not change"""
    bias_part: int | None = None
    """the index of its first axis, where only that part is this kernel's"""
    rectified: bool = False
    """whether the layer's activation is a ReLU"""
    per_output: bool = False
    """whether the last axis of the layer's output runs over the groups and outputs"""
    stage: int = 0
    """the order of a layer's kernels: 1 for one that multiplies what another of them made"""

    def bias_values(self, read: Callable[[Any], np.ndarray]) -> np.ndarray | None:
        """The bias, float32 (groups * out,), as `read` gives the variable; None without one."""
        if self.bias is None:
            return None
        values = read(self.bias)
        return (values if self.bias_part is None else values[self.bias_part]).ravel()

    def add_to_bias(self, change: np.ndarray) -> None:
        """Add `change`, (groups * out,), to the bias."""
        values = np.asarray(self.bias.numpy(), np.float32).copy()
        part = values if self.bias_part is None else values[self.bias_part]
        part += change.reshape(part.shape)
        self.bias.assign(values)


def layout_of(layer: Any, variable: Any) -> Layout | None:
    """The layout of the kernel `variable`, somewhere in `layer`; None where it is not known."""
    holder = _holder(layer, variable)
    if holder is None:
        return None
    kind = type(holder).__name__
    if not (type(holder).__module__ or "").startswith("keras."):
        return None
    make = _MAKERS.get(kind)
    found = make(holder, variable) if make else None
    bias = found.bias if found is not None else None
    if found is not None and bias is not None and (bias.constraint or not bias.trainable):
        # Without the bias it is not known what a ReLU makes of the outputs.
        found = dataclasses.replace(found, bias=None, bias_part=None, rectified=False)
    if found is None or type(layer).__name__ != "TimeDistributed" or layer.layer is not holder:
        return found
    # It calls the layer in a graph of its own, for each step.
    rows = found.rows
    return dataclasses.replace(
        found,
        layer=layer,
        rows=lambda given, draw: rows(given.reshape(-1, *given.shape[2:]), draw),
    )


def _holder(layer: Any, variable: Any) -> Any:
    """The layer inside of `layer` (or itself) that holds `variable`; for a cell, its RNN."""
    inside = list(layer._flatten_layers(include_self=True, recursive=True))
    for found in inside:
        own = [*found._trainable_variables, *found._non_trainable_variables]
        if any(held is variable for held in own):
            around = (other for other in inside if getattr(other, "cell", None) is found)
            return next(around, found)
    return None


def _is_relu(layer: Any) -> bool:
    activation = getattr(layer, "activation", None)
    own = (getattr(activation, "__module__", None) or "").startswith("keras.")
    return own and getattr(activation, "__name__", "") == "relu"


def _common(layer: Any) -> dict[str, Any]:
    bias = layer.bias if getattr(layer, "use_bias", False) else None
    return {"bias": bias, "rectified": _is_relu(layer), "per_output": True}


def _matrix(shape: tuple[int, ...], inputs: int) -> dict[str, Any]:
    """The conversions of a kernel whose first `inputs` axes are of its inputs."""
    size = math.prod(shape[:inputs])
    return {
        "to_matrix": lambda kernel: kernel.reshape(1, size, -1),
        "to_kernel": lambda matrix: matrix.reshape(shape),
    }


def _dense(layer: Any, variable: Any) -> Layout:
    shape = tuple(variable.shape)

    def rows(inputs: np.ndarray, draw: Draw) -> np.ndarray:
        flat = inputs.reshape(-1, shape[0])
        return flat[None, draw(len(flat))]

    return Layout(layer, rows, **_matrix(shape, 1), **_common(layer))


def _convolution(layer: Any, variable: Any) -> Layout:
    shape = tuple(variable.shape)
    groups, places = int(layer.groups), math.prod(shape[:-2])
    inputs, outputs = shape[-2], shape[-1] // groups

    def rows(given: np.ndarray, draw: Draw) -> np.ndarray:
        taken = _windows(layer, shape[:-2], given, draw)
        parts = taken.reshape(len(taken), places, groups, inputs).transpose(2, 0, 1, 3)
        return np.ascontiguousarray(parts.reshape(groups, len(taken), places * inputs))

    def to_matrix(kernel: np.ndarray) -> np.ndarray:
        parts = kernel.reshape(places * inputs, groups, outputs)
        return np.ascontiguousarray(parts.transpose(1, 0, 2))

    def to_kernel(matrix: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(matrix.transpose(1, 0, 2)).reshape(shape)

    return Layout(layer, rows, to_matrix, to_kernel, **_common(layer))


def _depthwise(layer: Any, variable: Any) -> Layout:
    return Layout(layer, **_depthwise_parts(layer, variable), **_common(layer))


def _depthwise_parts(layer: Any, variable: Any) -> dict[str, Any]:
    shape = tuple(variable.shape)
    places, channels, times = math.prod(shape[:-2]), shape[-2], shape[-1]

    def rows(given: np.ndarray, draw: Draw) -> np.ndarray:
        taken = _windows(layer, shape[:-2], given, draw)
        return np.ascontiguousarray(taken.transpose(2, 0, 1))

    def to_matrix(kernel: np.ndarray) -> np.ndarray:
        parts = kernel.reshape(places, channels, times)
        return np.ascontiguousarray(parts.transpose(1, 0, 2))

    def to_kernel(matrix: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(matrix.transpose(1, 0, 2)).reshape(shape)

    return {"rows": rows, "to_matrix": to_matrix, "to_kernel": to_kernel}


def _separable(layer: Any, variable: Any) -> Layout:
    first = _depthwise_parts(layer, layer.depthwise_kernel)
    if variable is layer.depthwise_kernel:
        return Layout(layer, **first)
    shape = tuple(variable.shape)

    def rows(given: np.ndarray, draw: Draw) -> np.ndarray:
        kernel = np.asarray(layer.depthwise_kernel.numpy(), np.float32)
        made = first["rows"](given, draw) @ first["to_matrix"](kernel)
        return np.ascontiguousarray(made.transpose(1, 0, 2).reshape(1, made.shape[1], -1))

    return Layout(layer, rows, **_matrix(shape, len(shape) - 1), **_common(layer), stage=1)


def _transposed(layer: Any, variable: Any) -> Layout:
    """What each input adds to the outputs around it counts as its outputs."""
    shape = tuple(variable.shape)

    def rows(given: np.ndarray, draw: Draw) -> np.ndarray:
        flat = _channels_last(layer, given).reshape(-1, shape[-1])
        return flat[None, draw(len(flat))]

    def to_matrix(kernel: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(kernel.reshape(-1, shape[-1]).T[None])

    def to_kernel(matrix: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(matrix[0].T).reshape(shape)

    return Layout(layer, rows, to_matrix, to_kernel)


def _einsum(layer: Any, variable: Any) -> Layout | None:
    """Only products of whole axes: those that end the input, by those that begin the kernel."""
    sides = re.fullmatch(r"([a-zA-Z.]+),([a-zA-Z]+)->([a-zA-Z.]+)", layer.equation.replace(" ", ""))
    if sides is None:
        return None
    given, kernel, made = (side.replace("...", "") for side in sides.groups())
    summed = [axis for axis in kernel if axis not in made]
    count = len(summed)
    plain = kernel[:count] == "".join(summed) and given.endswith(kernel[:count])
    rest = kernel[count:]
    if not count or not plain or not made.endswith(rest) or any(axis in given for axis in rest):
        return None
    shape = tuple(variable.shape)
    size = math.prod(shape[:count])

    def rows(inputs: np.ndarray, draw: Draw) -> np.ndarray:
        flat = inputs.reshape(-1, size)
        return flat[None, draw(len(flat))]

    bias = layer.bias
    whole = bias is not None and math.prod(bias.shape) == math.prod(shape[count:])
    return Layout(
        layer,
        rows,
        **_matrix(shape, count),
        bias=bias if whole else None,
        rectified=_is_relu(layer) and (bias is None or whole),
        per_output=len(rest) == 1,
    )


def _recurrent(layer: Any, variable: Any) -> Layout:
    shape = tuple(variable.shape)
    bias = layer.cell.bias if layer.cell.use_bias else None
    recurrent = variable is layer.cell.recurrent_kernel
    two = bias is not None and len(bias.shape) == 2  # a GRU's, with reset_after

    def rows(inputs: np.ndarray, draw: Draw) -> np.ndarray:
        sequences = _states(layer, inputs) if recurrent else inputs
        flat = sequences.reshape(-1, shape[0])
        return flat[None, draw(len(flat))]

    part, stage = int(recurrent) if two else None, int(recurrent)
    return Layout(layer, rows, **_matrix(shape, 1), bias=bias, bias_part=part, stage=stage)


def _states(layer: Any, inputs: np.ndarray) -> np.ndarray:
    """The state that the recurrent kernel multiplies at each step, (n, steps, units)."""
    changed = {"return_sequences": True, "return_state": False, "stateful": False}
    before = {name: getattr(layer, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(layer, name, value)
        made = np.asarray(layer(inputs, training=False), np.float32)
    finally:
        for name, value in before.items():
            setattr(layer, name, value)
    return np.concatenate([np.zeros_like(made[:, :1]), made[:, :-1]], axis=1)


_MAKERS: Mapping[str, Callable[[Any, Any], Layout | None]] = {
    "Dense": _dense,
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    "EinsumDense": _einsum,
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), _recurrent),
}


def _channels_last(layer: Any, inputs: np.ndarray) -> np.ndarray:
    return np.moveaxis(inputs, 1, -1) if layer.data_format == "channels_first" else inputs


def _windows(layer: Any, sizes: tuple[int, ...], inputs: np.ndarray, draw: Draw) -> np.ndarray:
    """Some of the windows that a convolution sees, (rows, places of a window, channels)."""
    inputs = _channels_last(layer, inputs)
    strides = _each(layer.strides, len(sizes))
    dilations = _each(layer.dilation_rate, len(sizes))
    pads, counts = [], []
    for length, size, stride, dilation in zip(
        inputs.shape[1:-1], sizes, strides, dilations, strict=True
    ):
        reach = (size - 1) * dilation
        if layer.padding == "same":
            count = -(-length // stride)
            missing = max((count - 1) * stride + reach + 1 - length, 0)
            pads.append((missing // 2, missing - missing // 2))
        else:
            pads.append((reach if layer.padding == "causal" else 0, 0))
            count = (length + pads[-1][0] - reach - 1) // stride + 1
        counts.append(count)
    padded = np.pad(inputs, ((0, 0), *pads, (0, 0)))
    taken = np.unravel_index(draw(len(inputs) * math.prod(counts)), (len(inputs), *counts))
    index: list[np.ndarray] = [taken[0].reshape(-1, *[1] * len(sizes))]
    for axis, (size, stride, dilation) in enumerate(zip(sizes, strides, dilations, strict=True)):
        steps = np.arange(size) * dilation
        steps = steps.reshape([-1 if other == axis else 1 for other in range(len(sizes))])
        index.append(taken[axis + 1].reshape(-1, *[1] * len(sizes)) * stride + steps)
    windows = padded[tuple(index)]
    return np.asarray(windows.reshape(len(windows), math.prod(sizes), inputs.shape[-1]))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (int(value),) * axes if isinstance(value, int) else tuple(map(int, value))
