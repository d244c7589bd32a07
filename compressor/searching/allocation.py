"""How many weights each kernel keeps, so that together they take a given number of bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compressor.pruning.selection import lamp_counts, lamp_scores

_SPARSE, _POSITIONS = 2, 256
"""Bytes of a weight with its position, and of what decodes a sparse kernel. Dense it takes one byte
a weight: files with fewer bits have both smaller, by about the same factor."""


def stored_bytes(size: int, kept: int) -> int:
    """About the bytes of a kernel of `size` weights in a file, of which `kept` are not zero.

    In the smaller of two forms: dense, or as values with their positions.
    """
    return min(size, _SPARSE * kept + _POSITIONS)


def least_bytes(kernels: Mapping[str, np.ndarray]) -> int:
    """What the kernels take with one weight each, or whole where that is less."""
    return sum(stored_bytes(kernel.size, 1) for kernel in kernels.values())


def allocate(kernels: Mapping[str, np.ndarray], most: int) -> dict[str, float]:
    """The sparsity of each kernel, 0 to below 1, with which all take at most `most` bytes.

    Half a weight less than what goes, since the paper's rule (`kept_weights`) prunes one more.
    By `lamp_scores` of the squared weights; a kernel whose zeros would save no bytes keeps all its
    weights. Where not even one weight of each is as small, that is what is returned.
    """
    squares = {name: np.square(kernel.astype(np.float64)) for name, kernel in kernels.items()}
    scores = {name: lamp_scores(found) for name, found in squares.items()}
    fewest, kept = len(scores), sum(found.size for found in scores.values())
    while fewest < kept:
        middle = (fewest + kept + 1) // 2
        left = lamp_counts(scores, middle)
        if sum(stored_bytes(found.size, left[name]) for name, found in scores.items()) <= most:
            fewest = middle
        else:
            kept = middle - 1
    left = lamp_counts(scores, fewest)
    return {
        name: (found.size - left[name] - 0.5) / found.size
        if stored_bytes(found.size, left[name]) < found.size
        else 0
        for name, found in scores.items()
    }
