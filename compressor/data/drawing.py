"""Drawing a few examples of a data set, over all of its classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.data.inputs import Array, Inputs, Targets, named, rows, take

MOST_NUMBERS = 2**26
"""Outputs that a model is judged by, a quarter of a gigabyte: 2,427 pictures of 96 x 96 x 3."""
_LEAST = 256
"""examples, however wide their outputs are"""


def draw_examples(x: Inputs, y: Targets | None, count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Which `count` examples of `x` to take, drawn at random: int64 indices, sorted.

    Where `y` holds integer labels, (n,), the draw is stratified (over those of the first output
    that has any, where there are several): one example of each class first, as far as they go (of
    classes drawn at random where there are more of them than `count`), and then so many of each
    class as is proportional to its size. Without labels, or with targets that are no integers, all
    examples are alike. All n indices where `count` is n or more. The same arguments always give the
    same indices, and the draw depends on `seed` alone, not on how often another one was made.
    """
    total = rows(x)
    if count >= total:
        return np.arange(total)
    generator = np.random.default_rng(seed)
    order = generator.permutation(total)
    labels = _labels(y)
    strata = np.zeros(total, np.int64) if labels is None else labels[order]
    _, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    grouped = np.argsort(stratum, kind="stable")
    rank = np.empty(total, np.int64)
    rank[grouped] = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The examples of a stratum lie evenly in 0 to 1, and its first one before all of that.
    offset = generator.random(len(sizes))[stratum]
    place = np.where(rank == 0, offset - 1, (rank + offset) / sizes[stratum])
    return np.sort(order[np.argsort(place, kind="stable")[:count]])


def most_judged(columns: int) -> int:
    """How many examples a model of so many output numbers a row is judged on at most.

    As many as have MOST_NUMBERS outputs: these are held in memory several times, for the model, its
    targets and what is made of it.
    """
    return max(MOST_NUMBERS // max(columns, 1), _LEAST)


def judged_part(x: Inputs, y: Targets | None, columns: int) -> tuple[Inputs, Targets | None]:
    """The examples and targets that a model of so many output numbers a row is judged on.

    All of them, or `most_judged`, drawn as by `draw_examples`.
    """
    most = most_judged(columns)
    if most >= rows(x):
        return x, y
    chosen = draw_examples(x, y, most)
    return take(x, chosen), take(y, chosen)


def _labels(y: Targets | None) -> Array | None:
    found = [] if y is None else named(y).values()
    return next((array for array in found if array.ndim == 1 and array.dtype.kind in "iub"), None)
