"""Drawing a few examples of a data set, over all of its classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.data.inputs import Inputs, rows


def draw_examples(
    x: Inputs, y: np.ndarray | None, count: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Which `count` examples of `x` to take, drawn at random: int64 indices, sorted.

    Where `y`, (n,), holds integer labels, the draw is stratified: one example of each class
    first, as far as they go (of classes drawn at random where there are more of them than
    `count`), and then so many of each class as is proportional to its size. Without labels, or
    with targets that are no integers, all examples are alike. All n indices where `count` is n
    or more. The same arguments always give the same indices, and the draw depends on `seed`
    alone, not on how often another one was made.
    """
    total = rows(x)
    if count >= total:
        return np.arange(total)
    generator = np.random.default_rng(seed)
    order = generator.permutation(total)
    stratified = y is not None and y.ndim == 1 and y.dtype.kind in "iub"
    strata = y[order] if y is not None and stratified else np.zeros(total, np.int64)
    _, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    grouped = np.argsort(stratum, kind="stable")
    rank = np.empty(total, np.int64)
    rank[grouped] = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The examples of a stratum lie evenly in 0 to 1, and its first one before all of that.
    offset = generator.random(len(sizes))[stratum]
    place = np.where(rank == 0, offset - 1, (rank + offset) / sizes[stratum])
    return np.sort(order[np.argsort(place, kind="stable")[:count]])
