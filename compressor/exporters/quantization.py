"""Fewer bits a weight: symmetric integers and codebooks. A weight that is zero stays zero."""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.errors import ModelError

CODEBOOK_SIZE = 16
_LLOYD_ROUNDS = 25
_SAMPLE = 200_000
_CLIPS = np.linspace(0.4, 1.0, 16, dtype=np.float32)
"""how much of a channel's largest magnitude the largest integer may stand for"""
_CLIPS_2_BITS = np.geomspace(0.05, 1.0, 24, dtype=np.float32)
_MULTIPLE = 1e-4
"""of a step, by which rounding to float32 may move a multiple of it"""
_TELLING = 8
"""weights of a channel, fewer of which may be multiples of one step by chance"""
_LOOKED_AT = 64
"""weights of a channel that are looked at first"""


@dataclasses.dataclass(frozen=True)
class Quantized:
    """Weights as integers: `values` * `scale`, broadcast along `axis`."""

    values: np.ndarray
    """int8, of the weights' shape; within -7..7 where there are 4 bits, -1..1 where there are 2"""
    scale: np.ndarray
    """float32 (channels,), or (1,) where `axis` is None; never zero"""
    axis: int | None
    bits: int

    def dequantized(self) -> np.ndarray:
        scale = self.scale
        if self.axis is not None:
            shape = [1] * self.values.ndim
            shape[self.axis] = -1
            scale = scale.reshape(shape)
        return self.values.astype(np.float32) * scale


@dataclasses.dataclass(frozen=True)
class Codebook:
    """Weights as indices into a table: `table[codes]`."""

    codes: np.ndarray
    """uint8, of the weights' shape, below len(table)"""
    table: np.ndarray
    """float32 (entries,), ascending"""

    def dequantized(self) -> np.ndarray:
        return self.table[self.codes]


def quantize_symmetric(weights: np.ndarray, *, bits: int = 8, axis: int | None = None) -> Quantized:
    """Round float32 weights to integers within +-(2^(bits-1) - 1), 0 < bits <= 8.

    The scale of each channel of `axis`, or of all weights, is the largest magnitude over that
    bound, as the TFLite specification has it for weights (zero point 0). Weights that are multiples
    of another scale, since they were rounded before, keep their values. Raises ModelError for
    weights that are not finite.
    """
    weights = _finite(weights)
    bound = 2 ** (bits - 1) - 1
    others = (
        None if axis is None else tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    )
    largest = np.max(np.abs(weights), axis=others, keepdims=True, initial=0.0)
    scale = (largest / _steps(weights, largest, axis, bound)).astype(np.float32)
    # A channel of zeros, or whose scale would underflow, is stored as zeros.
    scale[scale < np.finfo(np.float32).tiny] = 1.0
    values = np.clip(np.rint(weights / scale), -bound, bound).astype(np.int8)
    return Quantized(values, scale.reshape(-1), axis, bits)


def _steps(weights: np.ndarray, largest: np.ndarray, axis: int | None, bound: int) -> np.ndarray:
    """How many steps the largest magnitude of a channel is: `bound`, or the fewest of which all
    weights of the channel are multiples. float32, of the shape of `largest`."""
    moved = weights if axis is None else np.moveaxis(weights, axis, 0)
    rows = moved.reshape(largest.size, -1)
    some = rows[:, :: max(rows.shape[1] // _LOOKED_AT, 1)]
    steps = np.full(len(rows), bound, np.float32)
    if rows.shape[1] < _TELLING:
        return steps.reshape(largest.shape)
    unit = largest.reshape(-1, 1)
    unknown = np.flatnonzero(unit >= np.finfo(np.float32).tiny * bound)
    for count in range(1, bound):
        found = unknown
        for part in (some, rows):
            scaled = part[found] * (np.float32(count) / unit[found])
            scaled -= np.rint(scaled)
            found = found[np.abs(scaled).max(axis=1, initial=0.0) < _MULTIPLE]
        steps[found] = count
        unknown = np.setdiff1d(unknown, found)
    return steps.reshape(largest.shape)


def quantize_least_squares(
    weights: np.ndarray, *, bits: int = 4, axis: int | None = None
) -> Quantized:
    """As `quantize_symmetric`, but with the scale of each channel that has the least squared error.

    In 4 bits, scaling by the largest magnitude costs the many small weights most of the 15 steps.
    """
    plain = quantize_symmetric(weights, bits=bits, axis=axis)
    weights = np.asarray(weights, np.float32)
    moved = weights if axis is None else np.moveaxis(weights, axis, 0)
    rows = moved.reshape(len(plain.scale), -1)
    bound = 2 ** (bits - 1) - 1

    def rounded(scale: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(rows / scale[:, None]), -bound, bound)

    error, best = np.full(len(rows), np.inf), plain.scale.copy()
    for clip in _CLIPS_2_BITS if bits == 2 else _CLIPS:
        steps = plain.scale * clip
        integers = rounded(steps)
        # For given integers the best scale is that of linear regression.
        power = np.einsum("ij,ij->i", integers, integers)
        product = np.einsum("ij,ij->i", integers, rows)
        fitted = np.where(power > 0, product / np.maximum(power, 1), steps).astype(np.float32)
        fitted = np.where(fitted > 0, fitted, steps)
        found = np.square(rows - fitted[:, None] * rounded(fitted)).sum(axis=1)
        better = found < error
        error, best = np.where(better, found, error), np.where(better, fitted, best)
    values = rounded(best).astype(np.int8).reshape(moved.shape)
    if axis is not None:
        values = np.moveaxis(values, 0, axis)
    return Quantized(np.ascontiguousarray(values), best.astype(np.float32), axis, bits)


def make_codebook(weights: np.ndarray, *, zero: bool = True, size: int = CODEBOOK_SIZE) -> Codebook:
    """Choose `size` values by k-means (Lloyd, from quantiles), and the nearest for each weight.

    With `zero`, one entry is exactly zero; zero weights, and those nearest to it, get that entry.
    Without, none is reserved: for weights whose zeros are not stored. Deterministic. Raises
    ModelError for weights that are not finite.
    """
    weights = _finite(weights)
    flat = weights.ravel()
    nonzero = flat[flat != 0] if zero else flat
    entries = size - 1 if zero else size
    # Deep compression (Han et al., 2016) starts from equal steps, so that large weights are heard.
    centroids = _kmeans(nonzero, entries)
    table = np.unique(np.append(centroids, np.float32(0)) if zero else centroids)
    codes = nearest(table, flat)
    if zero:
        codes[flat == 0] = np.searchsorted(table, np.float32(0))
    return Codebook(codes.reshape(weights.shape), table)


def nearest(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """uint8 numbers of the entries of the ascending `table` that are nearest to `values`."""
    return np.searchsorted((table[1:] + table[:-1]) / 2, values).astype(np.uint8)


def _kmeans(values: np.ndarray, clusters: int) -> np.ndarray:
    distinct = np.unique(values)
    if distinct.size <= clusters:
        return distinct if distinct.size else np.zeros(1, np.float32)
    ordered = np.sort(values).astype(np.float64)
    if ordered.size > _SAMPLE:  # every k-th of the sorted weights is a fair sample
        ordered = np.append(ordered[:: ordered.size // _SAMPLE], ordered[-1])
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    even = np.linspace(ordered[0], ordered[-1], clusters)
    quantiles = np.quantile(ordered, (np.arange(clusters) + 0.5) / clusters)
    centers = np.sort((even + quantiles) / 2)
    for _ in range(_LLOYD_ROUNDS):
        edges = np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [ordered.size]])
        counts = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centers)
        if np.array_equal(moved, centers):
            break
        centers = np.sort(moved)
    return centers.astype(np.float32)


def _finite(weights: np.ndarray) -> np.ndarray:
    weights = np.asarray(weights, np.float32)
    if not np.isfinite(weights).all():
        raise ModelError(
            "the model holds weights that are not finite", value=f"shape {weights.shape}"
        )
    return weights
