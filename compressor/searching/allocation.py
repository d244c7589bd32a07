"""How many weights each kernel keeps, so that together they take a given number of bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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


def lamp(kernels: Mapping[str, np.ndarray], kept: int) -> dict[str, float]:
    """The sparsity of each kernel, 0 to below 1, with about `kept` weights left in all.

    By the scores of layer-adaptive magnitude pruning: a squared weight, divided by the sum of the
    squares of its kernel that are not smaller. The largest weight of each kernel scores 1, so that
    none is emptied. Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning
    (2021), equation 2.
    """
    scores = _scores(kernels)
    left = _left(scores, kept)
    return {name: 1 - left[name] / found.size for name, found in scores.items()}


def allocate(kernels: Mapping[str, np.ndarray], most: int) -> dict[str, float]:
    """The sparsity of each kernel, 0 to below 1, with which all take at most `most` bytes.

    By the scores of `lamp`; a kernel whose zeros would save no bytes keeps all its weights. Where
    not even one weight of each is as small, that is what is returned.
    """
    scores = _scores(kernels)
    fewest, kept = len(scores), sum(found.size for found in scores.values())
    while fewest < kept:
        middle = (fewest + kept + 1) // 2
        left = _left(scores, middle)
        if sum(stored_bytes(found.size, left[name]) for name, found in scores.items()) <= most:
            fewest = middle
        else:
            kept = middle - 1
    left = _left(scores, fewest)
    return {
        name: 1 - left[name] / found.size
        if stored_bytes(found.size, left[name]) < found.size
        else 0
        for name, found in scores.items()
    }


def _scores(kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The score of each weight, float64, ascending."""
    scores = {}
    for name, kernel in kernels.items():
        squares = np.sort(np.square(kernel.astype(np.float64)).ravel())
        larger = np.cumsum(squares[::-1])[::-1]
        scores[name] = squares / np.maximum(larger, np.finfo(np.float64).tiny)
    return scores


def _left(scores: Mapping[str, np.ndarray], kept: int) -> dict[str, int]:
    """How many weights each kernel keeps, at least one, of about `kept` in all."""
    judged = np.concatenate(list(scores.values()))
    kept = min(max(kept, len(scores)), judged.size)
    threshold = np.partition(judged, judged.size - kept)[judged.size - kept]
    return {name: max(int((found >= threshold).sum()), 1) for name, found in scores.items()}
