"""From which pruning proportion on an encoding saves anything.

Two baselines matter for the paper: the weights alone, 4 bytes a parameter, and its own,
a checkpoint that also holds Adam's two moments, 12 bytes a parameter.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compressor.encodings._tensors import Float32Array, as_matrix
from compressor.encodings.layouts import ENCODINGS
from compressor.encodings.sizes import expected_model_bytes

# Proportions are searched on a grid of so many steps: 1e-6 and 0.0005.
_COMPUTED_STEPS = 1_000_000
_MEASURED_STEPS = 2_000


def computed_break_even(
    encoding: str,
    shapes: Sequence[Sequence[int]],
    dense_parameters: int,
    baseline_bytes: float,
) -> float | None:
    """Smallest proportion from which on the expected model is no larger than the baseline.

    encoding: the name of one, or "entropy" for the bound
    shapes: of the pruned kernels; each keeps (1 - p) n of its n weights, in random places
    dense_parameters: how many parameters stay dense float32, 4 bytes each
    baseline_bytes: what the model is compared with

    Returns p in [0, 1), a multiple of 1e-6 rounded up, or None when even the last
    proportion below 1 gives a larger model.
    """

    def fits(proportion: float) -> bool:
        kept = [(shape, (1 - proportion) * math.prod(shape)) for shape in shapes]
        return expected_model_bytes(encoding, kept, dense_parameters) <= baseline_bytes

    return _first_proportion(fits, _COMPUTED_STEPS)


def measured_break_even(
    encoding: str,
    kernels: Mapping[str, Float32Array],
    dense_parameters: int,
    baseline_bytes: float,
) -> float | None:
    """The same as computed_break_even, by really pruning and encoding trained kernels.

    encoding: the name of one
    kernels: name -> dense float32 kernel, any rank from 1; none is changed. At proportion
        p its floor(p n) smallest |w| are set to zero, in each kernel on its own.
    dense_parameters, baseline_bytes: as in computed_break_even

    Returns p in [0, 1), a multiple of 0.0005 rounded up, or None. The kernels are encoded
    eleven times: seconds for some million weights.
    Raises ModelError for a kernel that is no float32 array.
    """
    matrices = [as_matrix(kernel) for kernel in kernels.values()]
    # Sorted once: a stable order also says which of two equal magnitudes goes first.
    orders = [np.argsort(np.abs(matrix), axis=None, kind="stable") for matrix in matrices]

    def fits(proportion: float) -> bool:
        size = 4 * dense_parameters
        for matrix, order in zip(matrices, orders, strict=True):
            pruned = matrix.copy()
            pruned.reshape(-1)[order[: math.floor(proportion * matrix.size)]] = 0
            size += ENCODINGS[encoding].nbytes(pruned)
        return size <= baseline_bytes

    return _first_proportion(fits, _MEASURED_STEPS)


def _first_proportion(fits: Callable[[float], bool], steps: int) -> float | None:
    """The first of 0, 1 / steps, ..., 1 - 1 / steps that fits, or None.

    By bisection: no encoding grows when there are fewer non-zeros, so once a proportion
    fits, all above it do. (Nor does the bound, but for p below 1e-9.)
    """
    first = bisect.bisect_left(range(steps), True, key=lambda step: fits(step / steps))
    return None if first == steps else first / steps
