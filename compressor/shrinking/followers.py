"""Layers that keep channels apart: activations, pooling, reshaping, BatchNormalization."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow
from compressor.models import Call
from compressor.shrinking.activations import apply_activation, is_elementwise
from compressor.shrinking.atoms import Atoms
from compressor.shrinking.rule import Axis, Rule, has_only, kind_name, values_of


class Follow(Rule):
    """One input, and one output with the same channels and constants: pooling, dropout."""

    def refusal(self, call: Call) -> str:
        unknown = super().refusal(call)
        if unknown:
            return unknown
        if len(call.inputs) != 1 or len(call.outputs) != 1:
            return "takes or gives several tensors"
        if call.training:
            return "is called as in training"
        return "" if call.widths[0] == call.widths[1] else "changes the number of channels"

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        return [inputs[0]]

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return [inputs[0]]


class Dropout(Follow):
    """Nothing at inference; a noise shape that names the number of channels keeps them."""

    def refusal(self, call: Call) -> str:
        shape = getattr(call.layer, "noise_shape", None)
        if shape is not None and shape[-1] not in (None, 1):
            return "fixes the number of channels"
        return super().refusal(call)


class Elementwise(Follow):
    """One function of every element: ReLU, Activation, `x * 0.5`."""

    def refusal(self, call: Call) -> str:
        unknown = super().refusal(call)
        if unknown:
            return unknown
        activation = getattr(call.layer, "activation", None)
        if activation is not None and not is_elementwise(activation):
            return "mixes channels"
        if kind_name(call).endswith("Divide") and isinstance(
            call.node.arguments.args[0], (int, float)
        ):
            return "divides by channels"
        return "" if _only_numbers(call) else "may treat channels differently"

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        tensor = call.node.input_tensors[0]

        def function(values: Any) -> Any:
            arguments, options = call.node.arguments.fill_in({id(tensor): values})
            options = {name: v for name, v in options.items() if name not in ("training", "mask")}
            return call.layer.call(*arguments, **options)

        return [apply_activation(function, inputs[0])]


class Padding(Follow):
    """Zeros at the border: a constant other than zero does not stay one."""

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return [np.where(inputs[0] == 0, 0.0, np.nan)]


class UpSampling(Follow):
    """Repeats or interpolates positions; weights of higher interpolations may not sum to one."""

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        if getattr(call.layer, "interpolation", "nearest") in ("nearest", "bilinear"):
            return [inputs[0]]
        return [np.where(inputs[0] == 0, 0.0, np.nan)]


class Flatten(Follow):
    """Every channel becomes as many elements as there are positions."""

    refusal = Rule.refusal

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        return [np.tile(inputs[0], _positions(call))]

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return self.link(call, inputs, Atoms())


class Reshape(Flatten):
    """A reshape that keeps the last axis, or that flattens."""

    joins_calls = True

    def refusal(self, call: Call) -> str:
        unknown = Rule.refusal(self, call)
        if unknown or _flattens(call) or call.widths[0] == call.widths[1]:
            return unknown
        return "mixes channels with positions"

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        return [np.tile(inputs[0], _positions(call)) if _flattens(call) else inputs[0]]

    def config(self, layer: Any, width: int, *, bias: bool = False) -> dict[str, Any]:
        target = list(layer.target_shape)
        if target[-1] != -1:
            target[-1] = width
        return {"target_shape": target}


class BatchNormalization(Follow):
    """A scale and a shift for every channel."""

    joins_calls = True
    _VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")

    def refusal(self, call: Call) -> str:
        if call.layer.axis not in (-1, len(call.input_shapes[0]) - 1):
            return "normalises another axis"
        if not has_only(call.layer, *self._VARIABLES):
            return "holds variables that are not known"
        return super().refusal(call)

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        scale, shift = scale_and_shift(call.layer)
        return [np.where(scale == 0, shift, inputs[0] * scale + shift)]

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        return [Axis(name, 0, outputs, "follower") for name in values_of(layer)]


class PReLU(Follow):
    """A slope for negative values, of each element, or of axes that share one."""

    joins_calls = True
    spoils = "has other slopes at other positions"

    def refusal(self, call: Call) -> str:
        if not has_only(call.layer, "alpha"):
            return "holds variables that are not known"
        return super().refusal(call)

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        alpha = values_of(call.layer)["alpha"].astype(np.float64)
        slopes = alpha.reshape(-1, alpha.shape[-1])
        slope = np.where((slopes == slopes[0]).all(axis=0), slopes[0], np.nan)
        return [np.where(inputs[0] < 0, inputs[0] * slope, inputs[0])]

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        shape = tuple(layer.alpha.shape)
        own = shape[-1] == len(outputs)
        return [Axis("alpha", len(shape) - 1, outputs, "follower")] if own else []


def scale_and_shift(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """BatchNormalization at inference is x * scale + shift, each float64 (channels,)."""
    values = {name: value.astype(np.float64) for name, value in values_of(layer).items()}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + layer.epsilon)
    return scale, values.get("beta", 0.0) - values["moving_mean"] * scale


def _only_numbers(call: Call) -> bool:
    _, keras = quiet_tensorflow.load()
    arguments = (call.node.arguments.args, call.node.arguments.kwargs)
    own = [getattr(call.layer, name, None) for name in ("scale", "offset")]
    return all(
        argument is None
        or isinstance(argument, (bool, int, float, str, keras.KerasTensor))
        or getattr(argument, "shape", None) == ()
        for argument in [*keras.tree.flatten(arguments), *own]
    )


def _positions(call: Call) -> int:
    return math.prod(size or 1 for size in call.input_shapes[0][1:-1])


def _flattens(call: Call) -> bool:
    return len(call.output_shapes[0]) == 2 and None not in call.input_shapes[0][1:]
