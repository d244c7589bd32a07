"""Layers with kernels: Dense and convolutions of all kinds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.models import Call
from compressor.shrinking.activations import apply_activation, is_elementwise
from compressor.shrinking.atoms import Atoms
from compressor.shrinking.followers import Follow
from compressor.shrinking.rule import Axis, Role, Rule, has_only, kind_name, values_of, variables_of


class Linear(Rule):
    """Dense and ordinary convolutions, with a kernel (*window, in, out) and a bias (out,)."""

    _inputs, _outputs = -2, -1
    """axes of the kernel"""

    joins_calls = True

    def __init__(self, width: str) -> None:
        self._width = width

    def refusal(self, call: Call) -> str:
        unknown = super().refusal(call)
        if unknown:
            return unknown
        if getattr(call.layer, "groups", 1) != 1:
            return "is grouped"
        known = has_only(call.layer, *self._variables()) and len(call.inputs) == 1
        return "" if known else "holds variables that are not known"

    def _variables(self) -> tuple[str, ...]:
        return ("kernel", "bias")

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        outputs = atoms.new(call.widths[-1])
        if not is_elementwise(call.layer.activation):
            atoms.pin(outputs, f"the activation of {kind_name(call)} '{call.path}' mixes channels")
        return [outputs]

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """An output is constant when all inputs that it uses are, and padding cannot change it."""
        layer, given = call.layer, inputs[0]
        if not is_elementwise(layer.activation):
            return [np.full(call.widths[-1] or 0, np.nan)]
        varying = ~foldable(given, self.pads(layer))
        varies = self.used(layer)[varying].any(axis=0)
        known = np.where(varying, 0.0, given)
        values = self.apply(layer, known) + values_of(layer).get("bias", np.float64(0))
        return [apply_activation(layer.activation, np.where(varies, np.nan, values))]

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        rank = len(layer.kernel.shape)
        return [
            Axis("kernel", rank + self._inputs, inputs, "consumer"),
            Axis("kernel", rank + self._outputs, outputs, "producer"),
            *_bias_axis(layer, outputs, "producer"),
        ]

    def config(self, layer: Any, width: int, *, bias: bool = False) -> dict[str, Any]:
        return {self._width: width} | ({"use_bias": True} if bias else {})

    def activation(self, layer: Any) -> Any:
        return layer.activation

    def pads(self, layer: Any) -> bool:
        """Whether a constant input may add something else at some positions."""
        return pads(layer)

    def _kernel(self, layer: Any) -> np.ndarray:
        """(*window, in, out)"""
        return np.moveaxis(values_of(layer)["kernel"], (self._inputs, self._outputs), (-2, -1))

    def used(self, layer: Any) -> np.ndarray:
        """Which output uses which input: bool (in, out)."""
        kernel = self._kernel(layer)
        return (kernel != 0).reshape(-1, *kernel.shape[-2:]).any(axis=0)

    def apply(self, layer: Any, constants: np.ndarray) -> np.ndarray:
        """What constant inputs, float64 (in,), add to the outputs: float64 (out,)."""
        kernel = self._kernel(layer)
        rows = np.flatnonzero(constants)
        kernel = kernel.reshape(-1, *kernel.shape[-2:])[:, rows].astype(np.float64)
        return np.asarray(constants[rows] @ kernel.sum(axis=0))

    def scaled(self, layer: Any, scale: np.ndarray) -> dict[str, np.ndarray]:
        """The kernels that make the outputs, before the bias, `scale` times as large."""
        kernel = self._kernel(layer).astype(np.float64) * scale
        return {"kernel": np.moveaxis(kernel, (-2, -1), (self._inputs, self._outputs))}


class Transposed(Linear):
    """A transposed convolution: a kernel (*window, out, in)."""

    _inputs, _outputs = -1, -2

    def pads(self, layer: Any) -> bool:
        """Unless every input gives one output, windows overlap less at the borders."""
        return any(size > 1 for size in (*layer.kernel_size, *layer.strides))


class Einsum(Linear):
    """EinsumDense that is a Dense on the last axis: a kernel (in, out), such as `abc,cd->abd`."""

    def refusal(self, call: Call) -> str:
        source, _, rest = call.layer.equation.replace(" ", "").partition(",")
        kernel, _, result = rest.partition("->")
        last = len(kernel) == 2 and source.endswith(kernel[0]) and kernel[1] not in source
        if not last or result != source[:-1] + kernel[1]:
            return "mixes channels"
        if call.layer.bias_axes not in (None, kernel[1]):
            return "holds variables that are not known"
        return super().refusal(call)

    def config(self, layer: Any, width: int, *, bias: bool = False) -> dict[str, Any]:
        axes = layer.equation.strip()[-1] if bias else layer.bias_axes
        return {"output_shape": (*layer.partial_output_shape[:-1], width), "bias_axes": axes}


class TimeDistributed(Linear):
    """A layer with a kernel, at every step of time."""

    def __init__(self, rule: Linear) -> None:
        self._rule = rule

    def refusal(self, call: Call) -> str:
        return self._rule.refusal(_inside(call))

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        return self._rule.link(_inside(call), inputs, atoms)

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return self._rule.constants(_inside(call), inputs)

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        return self._rule.axes(layer.layer, inputs, outputs)

    def config(self, layer: Any, width: int, *, bias: bool = False) -> dict[str, Any]:
        inner = layer.get_config()["layer"]
        config = inner["config"] | self._rule.config(layer.layer, width, bias=bias)
        # Without the shapes that it was built with, which may have changed.
        kept = {key: value for key, value in inner.items() if key != "build_config"}
        return {"layer": kept | {"config": config}}

    def activation(self, layer: Any) -> Any:
        return self._rule.activation(layer.layer)

    def pads(self, layer: Any) -> bool:
        return self._rule.pads(layer.layer)

    def used(self, layer: Any) -> np.ndarray:
        return self._rule.used(layer.layer)

    def apply(self, layer: Any, constants: np.ndarray) -> np.ndarray:
        return self._rule.apply(layer.layer, constants)

    def scaled(self, layer: Any, scale: np.ndarray) -> dict[str, np.ndarray]:
        return self._rule.scaled(layer.layer, scale)


def _inside(call: Call) -> Call:
    return dataclasses.replace(call, layer=call.layer.layer)


class Separable(Linear):
    """A depthwise convolution, (*window, in, multiplier), then one over channels alone."""

    def _variables(self) -> tuple[str, ...]:
        return ("depthwise_kernel", "pointwise_kernel", "bias")

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        rank = len(layer.depthwise_kernel.shape)
        inner = np.repeat(inputs, layer.depth_multiplier)
        return [
            Axis("depthwise_kernel", rank - 2, inputs, "consumer"),
            Axis("pointwise_kernel", rank - 2, inner, "consumer"),
            Axis("pointwise_kernel", rank - 1, outputs, "producer"),
            *_bias_axis(layer, outputs, "producer"),
        ]

    def used(self, layer: Any) -> np.ndarray:
        depthwise, pointwise = self._kernels(layer)
        through = (depthwise != 0).any(axis=0)[..., None] & (pointwise != 0)
        return np.asarray(through.any(axis=1))

    def apply(self, layer: Any, constants: np.ndarray) -> np.ndarray:
        depthwise, pointwise = self._kernels(layer)
        inner = depthwise.astype(np.float64).sum(axis=0) * constants[:, None]
        return np.asarray(np.einsum("im,imo->o", inner, pointwise.astype(np.float64)))

    def scaled(self, layer: Any, scale: np.ndarray) -> dict[str, np.ndarray]:
        pointwise = values_of(layer)["pointwise_kernel"].astype(np.float64)
        return {"pointwise_kernel": pointwise * scale}

    def _kernels(self, layer: Any) -> tuple[np.ndarray, np.ndarray]:
        values = values_of(layer)
        depthwise, pointwise = values["depthwise_kernel"], values["pointwise_kernel"]
        width, multiplier = depthwise.shape[-2:]
        return (
            depthwise.reshape(-1, width, multiplier),
            pointwise.reshape(width, multiplier, pointwise.shape[-1]),
        )


class Depthwise(Follow):
    """Every channel by itself, `depth_multiplier` times: kernel (*window, in, multiplier)."""

    joins_calls = True

    def refusal(self, call: Call) -> str:
        if not has_only(call.layer, "kernel", "bias"):
            return "holds variables that are not known"
        if not is_elementwise(call.layer.activation):
            return "has an activation that mixes channels"
        return Rule.refusal(self, call)

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        return [np.repeat(inputs[0], call.layer.depth_multiplier)]

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Constant where padding cannot change it, or where the kernel is zero."""
        layer = call.layer
        values = values_of(layer)
        kernel = values["kernel"].astype(np.float64)
        kernel = kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1])
        given = np.repeat(inputs[0], layer.depth_multiplier)
        varies = ~foldable(given, pads(layer)) & (kernel != 0).any(axis=0)
        sums = np.where(kernel.any(axis=0), given * kernel.sum(axis=0), 0.0)
        sums = sums + values.get("bias", np.float64(0))
        return [apply_activation(layer.activation, np.where(varies, np.nan, sums))]

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        kernel = Axis("kernel", len(layer.kernel.shape) - 2, inputs, "follower")
        return [kernel, *_bias_axis(layer, outputs, "follower")]

    def config(self, layer: Any, width: int, *, bias: bool = False) -> dict[str, Any]:
        return {"use_bias": True} if bias else {}

    def activation(self, layer: Any) -> Any:
        return layer.activation

    def scaled(self, layer: Any, scale: np.ndarray) -> dict[str, np.ndarray]:
        """As `Linear.scaled`."""
        kernel = values_of(layer)["kernel"].astype(np.float64)
        return {"kernel": kernel * scale.reshape(kernel.shape[-2:])}


def pads(layer: Any) -> bool:
    """Whether a layer's window reaches beyond its input."""
    window = getattr(layer, "kernel_size", ())
    return getattr(layer, "padding", "valid") != "valid" and any(size > 1 for size in window)


def _bias_axis(layer: Any, channels: np.ndarray, role: Role) -> list[Axis]:
    return [Axis("bias", 0, channels, role)] if "bias" in variables_of(layer) else []


def foldable(constants: np.ndarray, padded: bool) -> np.ndarray:
    """Which constants add the same at every position, bool: with padding, only zero."""
    return np.asarray(constants == 0) if padded else ~np.isnan(constants)
