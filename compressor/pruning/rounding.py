"""Rounding the weights of a model, layer after layer, by the inputs of its layers.

As in `compressor.pruning.reconstruction`, each layer is to give what it gave in the model before,
from inputs that the layers in front of it, already rounded, give now; its bias is refitted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from compressor.pruning.reconstruction import Reconstruction, error_of, grouped
from compressor.pruning.rounding_solver import MOST_INPUTS, Grid, Integers, Table, round_to

GRIDS: Mapping[str, Callable[[], Grid]] = {
    "int8": lambda: Integers(127, pins=True),
    "int7": lambda: Integers(64, pins=True),
    "int5": lambda: Integers(15),
    "int4": lambda: Integers(7),
    "ternary": lambda: Integers(1),
    "codebook4": lambda: Table(16),
}
"""How a file stores a weight -> the values that it can have."""

_ROUNDED = {
    *("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D"),
    *("DepthwiseConv1D", "DepthwiseConv2D"),
}
"""Layers of which each output of a kernel is one channel of a file's scales."""


@dataclasses.dataclass(frozen=True)
class RoundedKernel:
    """What became of one kernel; it is as it was where there is a `reason`."""

    error: float
    """the squared error of the layer's outputs, relative to how much they vary"""
    nearest_error: float
    """the same with its weights rounded to the nearest values"""
    reason: str = ""


class Rounding(Reconstruction):
    """Rounds the kernels of one model on calibration inputs."""

    @contextlib.contextmanager
    def applied(self, values: Mapping[str, str]) -> Iterator[dict[str, RoundedKernel]]:
        """Within, the kernels have values of their grids; afterwards the model is as it was.

        `values` are keys of `GRIDS`, for each kernel. A weight that is zero stays zero. A kernel of
        which the outputs would be no closer than with its weights rounded to the nearest values
        stays as it is, and so does one whose inputs are not known.
        """
        order = [*self._seen, *(name for name in values if name not in self._seen)]
        try:
            yield {name: self._round_one(name, GRIDS[values[name]]) for name in order}
        finally:
            self._dense.restore()

    def _round_one(self, name: str, grid: Callable[[], Grid]) -> RoundedKernel:
        unknown = RoundedKernel(np.nan, np.nan, "what it multiplies is not known")
        if name not in self._seen:
            return unknown
        layout = self._layouts[name]
        if not layout.per_output or type(layout.layer).__name__ not in _ROUNDED:
            return unknown
        if layout.to_matrix(self._dense.of(self._kernels[name].variable)).shape[1] > MOST_INPUTS:
            return dataclasses.replace(unknown, reason=f"it has more than {MOST_INPUTS:,} inputs")
        problem = self._problem(name, lambda _, scores, progress: scores != 0)
        if problem.inputs.shape[1] == 0:
            return dataclasses.replace(unknown, reason="no finite inputs reach it")
        plain = grid()
        plain.fit(problem.weights, np.ones(problem.weights.shape[:2]))
        nearest = _to_nearest(plain, problem.weights)
        bias, product = layout.bias_values(self._dense.of), problem.inputs @ nearest
        own = product if bias is None else product + grouped(bias, product)
        least = error_of(problem, own)
        found = round_to(problem, grid())
        product = problem.inputs @ found
        shift = problem.centres(problem.made(found)[1] - product)
        error = error_of(problem, product + shift)
        if not (np.isfinite(found).all() and error < least):
            return RoundedKernel(error, least, "rounded to the nearest its error is smaller")
        if bias is not None:
            layout.add_to_bias(shift[:, 0] - bias.reshape(shift[:, 0].shape))
        self._kernels[name].variable.assign(layout.to_kernel(found))
        return RoundedKernel(error, least)


def _to_nearest(grid: Grid, weights: np.ndarray) -> np.ndarray:
    lines = range(weights.shape[1])
    found = [grid.nearest(weights[:, p], np.full((1, 1), p)) for p in lines]
    return np.stack(found, axis=1) * (weights != 0)
