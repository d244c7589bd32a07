"""The bytes of a model whose pruned kernels are encoded, and from which sparsity on that saves any.

Two baselines matter for the paper: the weights alone, 4 bytes a parameter, and its own,
a checkpoint that also holds Adam's two moments, 12 bytes a parameter.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from compressor.encodings._tensors import Float32Array, as_matrix, nonzero_mask
from compressor.encodings.layouts import ENCODINGS, check_count

ENTROPY = "entropy"
"""the name of Shannon's bound beside those of the encodings"""

_COMPUTED_STEPS = 1_000_000
_MEASURED_STEPS = 2_000


def entropy_bound_bytes(shape: Sequence[int], nonzeros: float) -> float:
    """n H2(k / n) / 8 + 4 k bytes, for k non-zeros of n weights: what no encoding can beat.

    H2(d) = -d log2 d - (1 - d) log2(1 - d) bits, the entropy of whether a weight is zero, is the
    least that random positions take on average. The float32 values count as incompressible.

    Source: C. E. Shannon, A Mathematical Theory of Communication, Bell System Technical
    Journal 27, 1948, section 6 for H2 and theorem 9 for the bound.
    Raises UsageError for a count that the shape cannot hold.
    """
    weights = check_count(shape, nonzeros)
    bits = 0.0
    for count in (nonzeros, weights - nonzeros):
        if count:
            bits -= count * math.log2(count / weights)
    return bits / 8 + 4.0 * nonzeros


def model_bytes(kernels: Mapping[str, Float32Array], dense_parameters: int) -> dict[str, int]:
    """Encoding -> bytes of `kernels` encoded, plus 4 for each of `dense_parameters`.

    `kernels` are pruned, float32, of any rank from 1; the sizes are exact. The keys are those of
    ENCODINGS, then "entropy", the bound of `entropy_bound_bytes`, rounded up. Raises ModelError for
    a kernel that is no float32 array.
    """
    sizes = {
        name: sum(encoding.nbytes(kernel) for kernel in kernels.values())
        for name, encoding in ENCODINGS.items()
    }
    sizes[ENTROPY] = math.ceil(
        sum(
            entropy_bound_bytes(kernel.shape, int(np.count_nonzero(nonzero_mask(kernel))))
            for kernel in kernels.values()
        )
    )
    return {name: size + 4 * dense_parameters for name, size in sizes.items()}


def expected_model_bytes(
    encoding: str, kernels: Iterable[tuple[Sequence[int], float]], dense_parameters: int
) -> float:
    """Expected bytes of the encoded kernels, plus 4 for each of `dense_parameters`.

    `encoding` is a name, or "entropy" for the bound. `kernels` are (shape, non-zeros), at random
    positions. Raises UsageError for an impossible count.
    """
    bytes_of = entropy_bound_bytes if encoding == ENTROPY else ENCODINGS[encoding].expected_bytes
    encoded = sum(bytes_of(shape, nonzeros) for shape, nonzeros in kernels)
    return encoded + 4.0 * dense_parameters


def computed_break_even(
    encoding: str, shapes: Sequence[Sequence[int]], dense_parameters: int, baseline_bytes: float
) -> float | None:
    """The smallest sparsity from which on the expected model is no larger than the baseline.

    `encoding` is a name, or "entropy" for the bound. Each kernel of `shapes` keeps (1 - p) n of
    its n weights, in random places; `dense_parameters` stay float32. Returns p in [0, 1), a
    multiple of 1e-6 rounded up, or None when every sparsity below 1 gives a larger model.
    """

    def fits(proportion: float) -> bool:
        kept = [(shape, (1 - proportion) * math.prod(shape)) for shape in shapes]
        return expected_model_bytes(encoding, kept, dense_parameters) <= baseline_bytes

    return _first_proportion(fits, _COMPUTED_STEPS)


def measured_break_even(
    encoding: str, kernels: Mapping[str, Float32Array], dense_parameters: int, baseline_bytes: float
) -> float | None:
    """The same as `computed_break_even`, for trained kernels that are really pruned.

    `kernels` are float32, of any rank from 1, and not changed: at sparsity p the floor(p n)
    smallest |w| of each are zero. Returns p in [0, 1), a multiple of 0.0005 rounded up, or None.
    Only an encoding whose bytes depend on positions is pruned and encoded, eleven times. Raises
    ModelError for a kernel that is no float32 array.
    """
    layout = ENCODINGS[encoding]
    matrices = [as_matrix(kernel) for kernel in kernels.values()]
    # Of two equal magnitudes the first goes first.
    orders = [_ascending(matrix) if layout.positional else None for matrix in matrices]
    nonzeros = [int(np.count_nonzero(nonzero_mask(matrix))) for matrix in matrices]

    def fits(proportion: float) -> bool:
        size: float = 4 * dense_parameters
        for matrix, order, count in zip(matrices, orders, nonzeros, strict=True):
            gone = math.floor(proportion * matrix.size)
            if order is None:  # zeros are the smallest
                left = min(count, matrix.size - gone)
                size += layout.expected_bytes(matrix.shape, left)
                continue
            pruned = matrix.copy()
            pruned.reshape(-1)[order[:gone]] = 0
            size += layout.nbytes(pruned)
        return size <= baseline_bytes

    return _first_proportion(fits, _MEASURED_STEPS)


def _ascending(matrix: Float32Array) -> np.ndarray:
    """int64 (weights,): the places by magnitude, equal ones in their order, NaN last.

    Sorts magnitude and place as one integer, in a tenth of the time of a stable argsort.
    """
    keys = (matrix.reshape(-1).view(np.uint32) & np.uint32(0x7FFF_FFFF)).astype(np.uint64)
    keys = np.sort(keys << np.uint64(32) | np.arange(matrix.size, dtype=np.uint64))
    return (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)


def _first_proportion(fits: Callable[[float], bool], steps: int) -> float | None:
    """The first of 0, 1 / steps, ..., 1 - 1 / steps that fits, or None.

    By bisection: no encoding grows with fewer non-zeros, so once a sparsity fits, all above it do.
    (Nor does the bound, but for p below 1e-9.)
    """
    first = bisect.bisect_left(range(steps), True, key=lambda step: fits(step / steps))
    return None if first == steps else first / steps
