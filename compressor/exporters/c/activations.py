"""Functions of one value, which a table of 256 integers holds exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.exporters.c.network import Lookup, Tensor

if TYPE_CHECKING:
    from compressor.exporters.c.operator import Operator

Function = Callable[[np.ndarray], np.ndarray]
"""Of real numbers, float64, of any shape."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


_FUNCTIONS: dict[str, Callable[[Any], Function]] = {
    "LOGISTIC": lambda options: _sigmoid,
    "TANH": lambda options: np.tanh,
    "RELU": lambda options: lambda x: np.maximum(x, 0),
    "RELU6": lambda options: lambda x: np.clip(x, 0, 6),
    "RELU_N1_TO_1": lambda options: lambda x: np.clip(x, -1, 1),
    "LEAKY_RELU": lambda options: lambda x: np.where(x < 0, options.alpha * x, x),
    "ELU": lambda options: lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "HARD_SWISH": lambda options: lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "GELU": lambda options: _gelu_tanh if options.approximate else _gelu,
    "ABS": lambda options: np.abs,
    "NEG": lambda options: np.negative,
    "EXP": lambda options: np.exp,
    "SQUARE": lambda options: np.square,
    "QUANTIZE": lambda options: lambda x: x,
}


def reader(name: str) -> Callable[[Operator], None] | None:
    """What adds the operator to a network; None where it is no function of one value."""
    if name not in _FUNCTIONS:
        return None

    def read(operator: Operator) -> None:
        source = operator.map(0)
        number, tensor = operator.result()
        if tensor.shape != source.shape:
            raise operator.refuse(f"{source.shape} to {tensor.shape}")
        table = table_of(source, tensor, _FUNCTIONS[name](operator.options))
        operator.add(Lookup((operator.number(0),), number, table))

    return read


def table_of(source: Tensor, target: Tensor, function: Function) -> np.ndarray:
    """int8 (256,): the function of every integer of `source`, rounded half up in `target`."""
    values = (np.arange(-128, 128) - source.zero) * source.scale
    with np.errstate(over="ignore"):
        levels = np.floor(function(values) / target.scale + 0.5) + target.zero
    table: np.ndarray = np.clip(levels, target.low, target.high).astype(np.int8)
    return table
