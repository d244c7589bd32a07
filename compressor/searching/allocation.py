"""How many weights each kernel keeps, so that together they keep a given number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def lamp(kernels: Mapping[str, np.ndarray], kept: int) -> dict[str, float]:
    """The sparsity of each kernel, 0 to below 1, with about `kept` weights left in all.

    By the scores of layer-adaptive magnitude pruning: a squared weight, divided by the sum of the
    squares of its kernel that are not smaller. The largest weight of each kernel scores 1, so that
    none is emptied. Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning
    (2021), equation 2.
    """
    scores = {}
    for name, kernel in kernels.items():
        squares = np.sort(np.square(kernel.astype(np.float64)).ravel())
        left = np.cumsum(squares[::-1])[::-1]
        scores[name] = squares / np.maximum(left, np.finfo(np.float64).tiny)
    judged = np.concatenate(list(scores.values()))
    kept = min(max(kept, len(kernels)), judged.size)
    threshold = np.partition(judged, judged.size - kept)[judged.size - kept]
    return {
        name: 1 - max(int((found >= threshold).sum()), 1) / found.size
        for name, found in scores.items()
    }
