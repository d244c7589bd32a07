"""Integer weights for TFLite: the scale of every channel, and how a file stores it."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.exporters.quantization import Quantized, quantize_symmetric
from compressor.exporters.tflite.schema import schema

_CLIPS = np.linspace(0.4, 1.0, 16, dtype=np.float32)
"""how much of a channel's largest magnitude the largest integer may stand for"""

SCALE_BYTES = 12
"""of one channel in a file: a float32 scale and an int64 zero point"""


def quantize(weights: np.ndarray, bits: int, axis: int | None) -> Quantized:
    """Round float32 weights to integers of 8 or 4 bits, for each channel of `axis`.

    With 8 bits the largest magnitude sets the scale. With 4 the scale with the least squared
    error does: a few large weights would cost the many small ones most of their 15 steps. A
    weight that is zero stays zero. Raises ModelError for weights that are not finite.
    """
    if bits == 8:
        return quantize_symmetric(weights, bits=bits, axis=axis)
    return _least_squares(weights, bits, axis)


def _least_squares(weights: np.ndarray, bits: int, axis: int | None) -> Quantized:
    plain = quantize_symmetric(weights, bits=bits, axis=axis)
    rows = _rows(np.asarray(weights, np.float32), axis)
    bound = 2 ** (bits - 1) - 1
    error = np.full(len(rows), np.inf)
    scale = plain.scale.copy()
    for clip in _CLIPS:
        steps = plain.scale * clip
        integers = _rounded(rows, steps, bound)
        # For given integers the best scale is that of linear regression.
        power = np.einsum("ij,ij->i", integers, integers)
        product = np.einsum("ij,ij->i", integers, rows)
        fitted = np.where(power > 0, product / np.maximum(power, 1), steps).astype(np.float32)
        fitted = np.where(fitted > 0, fitted, steps)
        found = np.square(rows - fitted[:, None] * _rounded(rows, fitted, bound)).sum(axis=1)
        better = found < error
        error = np.where(better, found, error)
        scale = np.where(better, fitted, scale)
    integers = _rounded(rows, scale, bound).astype(np.int8)
    shape = np.moveaxis(weights, axis, 0).shape if axis is not None else weights.shape
    values = integers.reshape(shape)
    if axis is not None:
        values = np.moveaxis(values, 0, axis)
    return Quantized(np.ascontiguousarray(values), scale.astype(np.float32), axis, bits)


def _rows(weights: np.ndarray, axis: int | None) -> np.ndarray:
    if axis is None:
        return weights.reshape(1, -1)
    return np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)


def _rounded(rows: np.ndarray, scale: np.ndarray, bound: int) -> np.ndarray:
    return np.clip(np.rint(rows / scale[:, None]), -bound, bound)


def parameters(scale: np.ndarray, axis: int | None) -> Any:
    """The QuantizationParametersT of symmetric integers: zero points are 0."""
    return schema().QuantizationParametersT(
        scale=np.asarray(scale, np.float32),
        zeroPoint=np.zeros(len(scale), np.int64),
        quantizedDimension=axis or 0,
    )
