"""Activations: which are elementwise, and what they make of a constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow

_FUNCTIONS = frozenset(
    [
        *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu"),
        *("hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu"),
        *("sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus"),
        *("sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold"),
    ]
)
LAYERS = frozenset(["ReLU", "LeakyReLU", "ELU"])
"""Layers that apply one function to every element."""


def is_elementwise(activation: Any) -> bool:
    """Whether an activation function or layer is known and keeps channels apart."""
    if not getattr(activation, "__module__", "").startswith("keras."):
        return False
    name = getattr(activation, "__name__", None)
    return name in _FUNCTIONS if name is not None else type(activation).__name__ in LAYERS


def is_linear(activation: Any) -> bool:
    _, keras = quiet_tensorflow.load()
    return activation is None or activation is keras.activations.linear


def apply_activation(function: Any, constants: np.ndarray) -> np.ndarray:
    """Apply an elementwise `function` of tensors (1, channels) to constants, float64 (channels,).

    NaN, of channels that vary, stays NaN.
    """
    _, keras = quiet_tensorflow.load()
    known = ~np.isnan(constants)
    tensor = keras.ops.convert_to_tensor(np.where(known, constants, 0.0)[None], dtype="float64")
    applied = np.asarray(keras.ops.convert_to_numpy(function(tensor)), np.float64)
    return np.where(known, applied.reshape(constants.shape), np.nan)
