"""The rule of each kind of layer or operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.models import Call
from compressor.shrinking.followers import (
    BatchNormalization,
    Dropout,
    Elementwise,
    Flatten,
    Follow,
    Padding,
    PReLU,
    Reshape,
    UpSampling,
)
from compressor.shrinking.kernels import (
    Depthwise,
    Einsum,
    Linear,
    Separable,
    TimeDistributed,
    Transposed,
)
from compressor.shrinking.merges import Concatenate, Merge, difference, product
from compressor.shrinking.rule import Barrier, Rule


def _named(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


def _along(combine: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(combine, axis=0)


_MERGES: dict[str, Rule] = {
    "Concatenate": Concatenate(),
    "Add": Merge(_along(np.sum)),
    "Subtract": Merge(difference),
    "Multiply": Merge(product),
    "Maximum": Merge(_along(np.max)),
    "Minimum": Merge(_along(np.min)),
}
_LAYERS: dict[str, Rule] = {
    **_named(Linear("units"), "Dense"),
    **_named(Linear("filters"), "Conv1D Conv2D Conv3D"),
    **_named(Transposed("filters"), "Conv1DTranspose Conv2DTranspose Conv3DTranspose"),
    **_named(Einsum(""), "EinsumDense"),
    **_named(Separable("filters"), "SeparableConv1D SeparableConv2D"),
    **_named(Depthwise(), "DepthwiseConv1D DepthwiseConv2D"),
    **_named(BatchNormalization(), "BatchNormalization"),
    **_named(PReLU(), "PReLU"),
    **_named(Elementwise(), "Activation ReLU LeakyReLU ELU Rescaling"),
    **_named(
        Dropout(),
        "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout"
        " GaussianDropout GaussianNoise ActivityRegularization Identity",
    ),
    **_named(
        Follow(),
        "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D"
        " AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D"
        " GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D"
        " AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D"
        " AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D"
        " Cropping1D Cropping2D Cropping3D RepeatVector",
    ),
    **_named(Padding(), "ZeroPadding1D ZeroPadding2D ZeroPadding3D"),
    **_named(UpSampling(), "UpSampling1D UpSampling2D UpSampling3D"),
    **_named(Flatten(), "Flatten"),
    **_named(Reshape(), "Reshape"),
    **_MERGES,
    "Average": Merge(_along(np.mean)),
}
_OPERATIONS: dict[str, Rule] = {
    **_named(Elementwise(), "Relu Relu6 Sigmoid Tanh Silu HardSigmoid HardSilu LeakyRelu Elu"),
    **_MERGES,
}
_WITH_NUMBERS = {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"}


def rule_named(operation: Any, inputs: int) -> Rule:
    """The rule for a layer or operation on `inputs` tensors; the user's classes are barriers."""
    module, name = type(operation).__module__, type(operation).__name__
    if module.startswith("keras.src.layers."):
        if name == "TimeDistributed":
            inner = rule_named(operation.layer, inputs)
            return TimeDistributed(inner) if isinstance(inner, Linear) else Barrier()
        return _LAYERS.get(name, Barrier())
    if module.startswith("keras.src.ops."):
        if inputs == 1 and name in _WITH_NUMBERS:
            return Elementwise()
        return _OPERATIONS.get(name, Barrier())
    return Barrier()


def rule_of(call: Call) -> Rule:
    """The rule for a call; a barrier with the reason, where the call is not understood."""
    rule = rule_named(call.layer, len(call.inputs))
    why = rule.refusal(call)
    return Barrier(why) if why else rule
