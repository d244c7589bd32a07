"""Pruning criteria score every weight; the lowest scores are pruned. Some also change the others.

`register_criterion` adds one, and so does an installed package with an entry point in the group
`compressor.criteria`:

    [options.entry_points]
    compressor.criteria =
        random = my_package:RANDOM
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable

import numpy as np

from compressor.errors import CompressorError, UsageError
from compressor.pruning.reconstruction_solver import LayerProblem, solve

_GROUP = "compressor.criteria"


@dataclasses.dataclass(frozen=True)
class Criterion:
    """`score(weights, gradients)` -> scores, float of the weights' shape, at least 0.

    `gradients` is the mean gradient of the loss on calibration data, of the weights' shape, or
    None where `needs_gradients` is False. A group's score is the mean of its weights'.

    With `solve`, kernels are pruned one after another by it, on calibration inputs without labels,
    and `score` is not called: `solve(problem)` -> (weights, mask), float32 and bool, each (groups,
    in, out), of a `LayerProblem`. The mask is one that `problem.keep` gave. Biases are refitted,
    and a kernel for which magnitude pruning changes its outputs less is pruned by that.
    """

    name: str
    score: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    needs_gradients: bool = False
    solve: Callable[[LayerProblem], tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def calibrated(self) -> bool:
        """Whether it looks at examples."""
        return self.needs_gradients or self.solve is not None


def _magnitude(weights: np.ndarray, gradients: np.ndarray | None) -> np.ndarray:
    return np.abs(weights)


def _taylor(weights: np.ndarray, gradients: np.ndarray | None) -> np.ndarray:
    assert gradients is not None
    return np.abs(weights * gradients)


_CRITERIA = {
    criterion.name: criterion
    for criterion in (
        # Han et al., Learning both Weights and Connections for Efficient Neural Networks (2015).
        Criterion("magnitude", _magnitude),
        # The first-order Taylor term of the loss when the weight becomes zero: Molchanov et al.,
        # Importance Estimation for Neural Network Pruning (2019), equation 8.
        Criterion("taylor", _taylor, needs_gradients=True),
        # Layer-wise least squares: see `compressor.pruning.reconstruction`.
        Criterion("reconstruct", _magnitude, solve=solve),
    )
}


def register_criterion(criterion: Criterion) -> None:
    """Make `criterion` known by its name; raises UsageError when another one has it."""
    if _CRITERIA.get(criterion.name, criterion) is not criterion:
        raise UsageError("a criterion of this name exists already", value=criterion.name)
    _CRITERIA[criterion.name] = criterion


def criterion_names() -> list[str]:
    """The names of all criteria, those of installed packages included."""
    return sorted({*_CRITERIA, *(point.name for point in _entry_points())})


def get_criterion(name: str) -> Criterion:
    """The criterion `name`; raises UsageError for an unknown one or one that cannot be loaded."""
    if isinstance(name, str) and name in _CRITERIA:
        return _CRITERIA[name]
    for point in _entry_points():
        if point.name == name:
            try:
                found = point.load()
            except Exception as error:  # it runs code of another package
                what = "the criterion's package cannot be loaded"
                raise UsageError(what, value=f"{name} ({error})") from error
            if not isinstance(found, Criterion):
                raise UsageError("the entry point is not a Criterion", value=point.value)
            return found
    hint = f"choose from {', '.join(criterion_names())}"
    raise UsageError("unknown criterion", value=str(name), hint=hint)


def scores(criterion: Criterion, weights: np.ndarray, gradients: np.ndarray | None) -> np.ndarray:
    """The criterion's scores of one kernel, checked: floats of its shape, finite, not negative."""
    try:
        found = np.asarray(criterion.score(weights, gradients))
    except Exception as error:  # it is code of the user's
        value = f"{criterion.name} ({type(error).__name__}: {error})"
        raise UsageError("the criterion failed", value=value) from error
    if found.dtype.kind in "iub":
        found = found.astype(np.float64)
    if found.shape != weights.shape or found.dtype.kind != "f":
        raise CompressorError(
            "the criterion's scores do not have the weights' shape",
            value=f"{criterion.name} {found.shape} {found.dtype}, weights {weights.shape}",
        )
    if not np.isfinite(found).all() or (found < 0).any():
        what = "the criterion's scores are negative, NaN or infinite"
        raise CompressorError(what, value=criterion.name)
    return found


def _entry_points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=_GROUP)
