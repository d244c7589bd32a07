"""Magnitude pruning of single weights, with the paper's exact counts."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.foundation import is_number


class PrunedKernel(NamedTuple):
    """The result of magnitude pruning for one kernel."""

    threshold: float
    """sorted |w| at index floor(n x sparsity)"""
    mask: np.ndarray
    """bool, the kernel's shape; True is kept"""


def check_sparsity(sparsity: float) -> float:
    """`sparsity` as a float; raises UsageError outside of [0, 1)."""
    if not (is_number(sparsity) and 0 <= sparsity < 1):
        raise UsageError(
            "sparsity must be at least 0 and below 1",
            value=str(sparsity),
            hint="0.9 prunes 90 % of the weights",
        )
    return float(sparsity)


def kept_weights(weights: int, sparsity: float) -> int:
    """How many of `weights` the paper keeps: n - floor(n x p) - 1, never below 0.

    Source: the paper's Tables 4 to 9, all twelve counts.
    """
    return max(weights - floor_share(weights, check_sparsity(sparsity)) - 1, 0)


def magnitude_prune(kernel: np.ndarray, sparsity: float) -> PrunedKernel:
    """Find the threshold and the mask of a float kernel of any shape.

    The threshold is sorted |w| at index floor(n x sparsity); what is strictly greater is kept. Of
    weights with exactly the threshold's magnitude the later ones in the flattened kernel are kept,
    so that always n - floor(n x sparsity) - 1 remain. Raises UsageError for a sparsity outside
    [0, 1), ModelError for NaN or infinite weights.
    """
    keep = kept_weights(kernel.size, sparsity)
    check_weights(kernel)
    threshold, mask = keep_highest(np.abs(kernel).ravel(), keep)
    assert threshold is not None
    return PrunedKernel(threshold, mask.reshape(kernel.shape))


def check_weights(kernel: np.ndarray) -> None:
    """Raise ModelError for an empty kernel, and for NaN or infinite weights."""
    if kernel.size == 0:
        raise ModelError("a kernel without weights cannot be pruned", value=kernel.shape)
    if not np.isfinite(kernel).all():
        raise ModelError(
            "a kernel with NaN or infinite weights cannot be pruned",
            value=kernel.shape,
            hint="train the model again, with a smaller learning rate",
        )


def keep_highest(scores: np.ndarray, keep: int) -> tuple[float | None, np.ndarray]:
    """Keep the `keep` highest of `scores` (n,): the highest pruned score, and bool (n,).

    Of equal scores the later ones are kept. The threshold is None when all are kept.
    """
    if keep >= scores.size:
        return None, np.ones(scores.shape, bool)
    index = scores.size - keep - 1
    threshold = np.partition(scores, index)[index]
    mask = scores > threshold
    missing = keep - int(np.count_nonzero(mask))
    if missing:
        mask[np.flatnonzero(scores == threshold)[-missing:]] = True
    return float(threshold), mask


def floor_share(weights: int, sparsity: float) -> int:
    """floor(n x p), exact on the decimal: in binary 100 x 0.29 is 28.999999999999996."""
    return math.floor(weights * Fraction(repr(float(sparsity))))
