"""Rounding one kernel so that the weights rounded later make up for those rounded before.

Sources: Frantar et al., GPTQ (2023), for the order and the updates through the Cholesky factor of
the inverse; Nagel et al., Up or Down? (2020), for the objective, the error of the layer's outputs.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from compressor.pruning.reconstruction_solver import LayerProblem, floored, pull_of

MOST_INPUTS = 10_240
"""Of a kernel: the inverse of inputs by inputs takes 840 MB in float64."""
_BLOCK = 128
"""Inputs whose errors are passed on together to those behind them."""
_CLIPS = np.geomspace(0.05, 1.0, 20).astype(np.float32)
"""Which part of the largest weight the largest integer may stand for."""
_LLOYD_ROUNDS = 25


class Grid(Protocol):
    """The values that weights can have."""

    def fit(self, weights: np.ndarray, squares: np.ndarray) -> None:
        """Choose the values for `weights` (groups, in, out), where an error of a weight counts by
        the mean square of its input, (groups, in)."""

    def nearest(self, weights: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The nearest values to those of the input `place`, (groups, 1), of each group: (groups,
        out)."""

    def refit(self, rounded: np.ndarray, gram: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """`rounded` (groups, in, out), with the values moved to where A rounded = goal is met best;
        which weights share a value stays."""


class Integers:
    """Integers within +-bound, times a scale for each output."""

    def __init__(self, bound: int, *, pins: bool = False) -> None:
        """`pins`: one weight of each output keeps the bound, since the stock quantisers take the
        largest weight over the bound for the scale."""
        self._bound = np.float32(bound)
        self._pins = pins
        self._scale = np.ones((1, 1), np.float32)
        self._largest = np.zeros((1, 1), np.int64)

    def fit(self, weights: np.ndarray, squares: np.ndarray) -> None:
        sizes = np.abs(weights)
        self._largest = sizes.argmax(axis=1)
        largest = sizes.max(axis=1, initial=0) / self._bound
        largest[largest < np.finfo(np.float32).tiny] = 1
        self._scale = largest
        if self._pins:
            return
        least = np.full(largest.shape, np.inf)
        counts = squares.astype(np.float32)[..., None]
        for clip in _CLIPS:
            scale = largest * clip
            found = self._rounded(weights, scale)
            scale = scale * _ratio(counts * found, weights, found)
            error = (counts * np.square(self._rounded(weights, scale) - weights)).sum(axis=1)
            self._scale = np.where(error < least, scale, self._scale)
            least = np.minimum(error, least)

    def nearest(self, weights: np.ndarray, place: np.ndarray) -> np.ndarray:
        found = self._rounded(weights[:, None], self._scale)[:, 0]
        if self._pins:
            whole = np.copysign(self._bound * self._scale, weights)
            found = np.where(self._largest == place, whole, found)
        return np.asarray(found)

    def refit(self, rounded: np.ndarray, gram: np.ndarray, goal: np.ndarray) -> np.ndarray:
        factor = _ratio(rounded, goal, gram @ rounded)
        self._scale = self._scale * factor
        return rounded * factor[:, None]

    def _rounded(self, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Weights (groups, in, out) as multiples of `scale`, (groups, out)."""
        found = np.rint(weights / scale[:, None])
        np.clip(found, -self._bound, self._bound, out=found)
        found *= scale[:, None]
        return np.asarray(found)


class Table:
    """A few values for all weights, one of which is zero."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values = np.zeros(1, np.float32)

    def fit(self, weights: np.ndarray, squares: np.ndarray) -> None:
        """By k-means from quantiles, as the codebook of weights that are rounded to the nearest."""
        kept = weights != 0
        values, counts = weights[kept], np.broadcast_to(squares[..., None], weights.shape)[kept]
        order = np.argsort(values, kind="stable")
        values = values[order].astype(np.float64)
        if not values.size:
            return
        summed = np.concatenate([[0.0], np.cumsum(counts[order])])
        moments = np.concatenate([[0.0], np.cumsum(counts[order] * values)])
        places = (np.arange(self._size - 1) + 0.5) / (self._size - 1)
        even = np.linspace(values[0], values[-1], len(places))
        centres = np.sort((np.quantile(values, places) + even) / 2)
        for _ in range(_LLOYD_ROUNDS):
            edges = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
            edges = np.concatenate([[0], edges, [values.size]])
            mass, moment = np.diff(summed[edges]), np.diff(moments[edges])
            centres = np.sort(np.where(mass > 0, moment / np.maximum(mass, 1e-30), centres))
        self._values = np.unique(np.append(centres, 0).astype(np.float32))

    def nearest(self, weights: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.asarray(self._values[self._codes(weights)])

    def refit(self, rounded: np.ndarray, gram: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """One least squares over the values, without that of zero."""
        codes, size = self._codes(rounded), len(self._values)
        matrix, aim = np.zeros((size, size)), np.zeros(size)
        for code in np.flatnonzero(self._values):
            chosen = (codes == code).astype(np.float32)
            aim[code] = float((chosen * goal).sum(dtype=np.float64))
            matrix[code] = np.bincount(codes.ravel(), (gram @ chosen).ravel(), size)
        used = np.flatnonzero((self._values != 0) & (np.diag(matrix) > 0))
        values = self._values.astype(np.float64)
        values[used] = np.linalg.lstsq(matrix[np.ix_(used, used)], aim[used], rcond=None)[0]
        return np.asarray(values[codes], np.float32)

    def _codes(self, weights: np.ndarray) -> np.ndarray:
        return np.searchsorted((self._values[1:] + self._values[:-1]) / 2, weights)


def round_to(problem: LayerProblem, grid: Grid) -> np.ndarray:
    """The weights (groups, in, out), all of them values of `grid`, that change the outputs little.

    Weights that are zero stay zero.

    1. Inputs and outputs are centred, which is the best bias in closed form. A ridge, the more the
       fewer rows there are, holds inputs that are almost never active.
    2. The weights that meet the outputs best take the place of the model's, since the layers before
       it are rounded already.
    3. Weights are rounded input by input, those of the strongest inputs first, and the error of
       each is passed on to those that are not rounded yet.
    4. The values of the grid are moved to where the rounded weights meet the outputs best.

    Raises numpy.linalg.LinAlgError where inputs are not finite.
    """
    inputs = problem.inputs - problem.centres(problem.inputs)
    rows = np.float32(inputs.shape[1])
    squares = np.einsum("gnk,gnk->gk", inputs, inputs, dtype=np.float64) / rows
    strength = floored(squares)
    pull = pull_of(*inputs.shape[1:])
    turned = np.swapaxes(inputs, 1, 2)
    system = (turned @ inputs / rows).astype(np.float64)
    places = np.arange(system.shape[1])
    system[:, places, places] += pull * strength
    change = problem.outputs - problem.centres(problem.outputs)
    goal = turned @ change / rows
    goal += (pull * strength).astype(np.float32)[..., None] * problem.weights
    kept = problem.weights != 0
    gram = system.astype(np.float32)
    inverse = np.linalg.inv(system)
    del system
    best = (inverse @ goal).astype(np.float32)
    grid.fit(best * kept, strength)
    order = np.argsort(-squares, axis=1, kind="stable")[..., None]
    ordered = np.take_along_axis(inverse, order, axis=1)
    del inverse
    ordered = np.take_along_axis(ordered, np.swapaxes(order, 1, 2), axis=2)
    factor = np.swapaxes(np.linalg.cholesky(ordered), 1, 2).astype(np.float32)
    del ordered
    rounded = _in_order(best, factor, kept, order[..., 0], grid)
    return grid.refit(rounded, gram, goal)


def _in_order(
    weights: np.ndarray, factor: np.ndarray, kept: np.ndarray, order: np.ndarray, grid: Grid
) -> np.ndarray:
    """Weights (groups, in, out) rounded in this order of inputs, (groups, in).

    `factor` is the upper Cholesky factor of the inverse, in the same order.
    """
    groups = np.arange(len(weights))
    rest = np.take_along_axis(weights, order[..., None], axis=1)
    rounded = np.zeros_like(weights)
    for first in range(0, rest.shape[1], _BLOCK):
        last = min(first + _BLOCK, rest.shape[1])
        errors = np.empty_like(rest[:, first:last])
        for number in range(first, last):
            place = order[:, number]
            found = grid.nearest(rest[:, number], place[:, None]) * kept[groups, place]
            rounded[groups, place] = found
            error = (rest[:, number] - found) / factor[:, number, number, None]
            errors[:, number - first] = error
            behind = factor[:, number, number + 1 : last, None]
            rest[:, number + 1 : last] -= behind * error[:, None]
        rest[:, last:] -= np.swapaxes(factor[:, first:last, last:], 1, 2) @ errors
    return rounded


def _ratio(left: np.ndarray, wanted: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The factor of `made` for which <left, made> is <left, wanted>, (groups, out); above 0."""
    power = np.einsum("gko,gko->go", left, made)
    product = np.einsum("gko,gko->go", left, wanted)
    useful = (power > 0) & (product > 0)
    return np.where(useful, product / np.where(useful, power, 1), 1).astype(np.float32)
