"""Layer-wise least squares: which weights of one kernel to keep, and what those become.

The layer's own inputs say how much each weight matters and how the others can make up for it, so
neither labels nor gradients of a loss are needed. Sources: Frantar and Alistarh, Optimal Brain
Compression (2022) and SparseGPT (2023), for the objective; Meng et al., ALPS (2024), for ADMM, a
rising sparsity and conjugate gradients on the support that it ends with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

_PULL = 0.1
_STRONGEST_PULL = 0.3
"""Towards the dense weights, for as many rows as inputs, which are scaled to a mean square of 1:
the fewer rows, the less they say about weights. And the strongest pull."""
_FLOOR = 0.03
"""Added to each input's mean square, of the mean over all: else inputs that are almost never
active get huge weights."""
_PENALTY = 0.3
_ITERATIONS = 30
_RAMP = 0.7
"""The part of the iterations in which the sparsity rises, by a cubic schedule."""
_STEPS = 20
_FEWER_STEPS = 10
"""Of conjugate gradients: from the weights of ADMM, and from those of the round before."""
_ROUNDS = 3
_MOST_WORK = 1e11
"""Inputs x inputs x outputs up to which targets behind a ReLU follow what is made."""
MOST_INPUTS = 10_240
"""Up to which the matrix of inputs by inputs is held: 420 MB."""
_SLAB = 512
"""Outputs that the conjugate gradients work on at a time."""
_SLOWER = 8
"""Times that one operation of an exact solution takes longer than one of a matrix product."""
_HEARD = 1e-2
"""Of the root mean square of all outputs: one that is less important is not solved for."""


@dataclasses.dataclass(frozen=True)
class LayerProblem:
    """One kernel as matrices: choose `weights` with inputs @ weights + bias close to `outputs`.

    Groups are those of a grouped or depthwise convolution, else there is one.
    """

    inputs: np.ndarray
    """float32 (groups, rows, in): what enters the kernel, with the layers before it pruned"""
    outputs: np.ndarray
    """float32 (groups, rows, out): what it gave in the dense model, with the bias"""
    weights: np.ndarray
    """float32 (groups, in, out): the dense ones"""
    importance: np.ndarray
    """float32 (groups, out), above 0: how much the model's outputs change with each output"""
    has_bias: bool
    """whether a constant can be added to each output; it is refitted afterwards"""
    rectified: bool
    """whether a ReLU follows, which makes all outputs below 0 alike"""
    keep: Callable[[np.ndarray, float], np.ndarray]
    """scores (groups, in, out), at least 0, and progress 0 to 1 -> bool mask (groups, in, out) of
    what stays; at progress 1 as many as was asked, before that more"""
    decided: np.ndarray | None = None
    """bool (groups, in, out): what stays, where that is known already, as for channels"""

    def centres(self, values: np.ndarray) -> np.ndarray:
        """The means over the rows, (groups, 1, n); zero where no bias can make up for them."""
        if not self.has_bias or not values.shape[1]:
            return np.zeros((values.shape[0], 1, values.shape[2]), np.float32)
        return values.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)

    def made(self, weights: np.ndarray, rounds: int = _ROUNDS) -> tuple[np.ndarray, np.ndarray]:
        """The outputs that `weights` make with the best bias, and those that they should make.

        The latter are `outputs`, but behind a ReLU what is below 0 and made so counts as met.
        """
        product = self.inputs @ weights
        wanted = self.outputs
        for _ in range(rounds if self.rectified and self.has_bias else 1):
            made = product + self.centres(wanted - product)
            wanted = rectified_targets(self.outputs, made) if self.rectified else wanted
        return product + self.centres(wanted - product), wanted


def rectified_targets(outputs: np.ndarray, made: np.ndarray) -> np.ndarray:
    """`outputs`; where they are below 0, whatever is `made` below 0, at most 0."""
    return np.where(outputs > 0, outputs, np.minimum(made, 0))


def solve(problem: LayerProblem) -> tuple[np.ndarray, np.ndarray]:
    """The weights and the mask, each (groups, in, out), that change the outputs least.

    1. Inputs and outputs are centred, which is the best bias in closed form; each input is scaled
       to a mean square of 1, each output by its importance.
    2. ADMM at a rising sparsity, then conjugate gradients on the mask that it ends with.
    3. Behind a ReLU the targets below 0 follow what is made, some times on the way.
    4. Outputs that hardly anything depends on keep dense weights, as few as `keep` leaves them.
    """
    heard = np.flatnonzero(_tempered(problem.importance)[0] >= _HEARD)
    if len(problem.importance) > 1 or heard.size == problem.importance.size:
        return _solve(problem)
    masks = [] if problem.decided is None else [problem.decided]
    sizes = np.square(problem.inputs).mean(axis=1)[..., None]
    scores = np.square(problem.weights * _tempered(problem.importance)[:, None]) * sizes

    def keep(heard_scores: np.ndarray, progress: float) -> np.ndarray:
        scores[..., heard] = heard_scores
        masks[:] = [problem.keep(scores, progress)]
        return masks[0][..., heard]

    part, _ = _solve(
        dataclasses.replace(
            problem,
            outputs=problem.outputs[..., heard],
            weights=problem.weights[..., heard],
            importance=problem.importance[..., heard],
            keep=keep,
            decided=None if problem.decided is None else problem.decided[..., heard],
        )
    )
    (mask,) = masks
    weights = np.where(mask, problem.weights, np.float32(0))
    weights[..., heard] = part
    return weights, mask


def _solve(problem: LayerProblem) -> tuple[np.ndarray, np.ndarray]:
    centred = problem.inputs - problem.centres(problem.inputs)
    squares = np.einsum("gnk,gnk->gk", centred, centred, dtype=np.float64) / centred.shape[1]
    scale = np.sqrt(floored(squares)).astype(np.float32)[..., None]
    centred /= np.swapaxes(scale, 1, 2)
    centred /= np.float32(np.sqrt(centred.shape[1]))
    importance = _tempered(problem.importance)[:, None, :]
    dense = problem.weights * scale * importance
    system = _System(centred)
    pull = np.float32(system.pull)

    def aim(wanted: np.ndarray) -> np.ndarray:
        change = (wanted - problem.centres(wanted)) * importance
        change /= np.float32(np.sqrt(centred.shape[1]))
        return np.asarray(np.swapaxes(centred, 1, 2) @ change + pull * dense)

    def follow(scaled: np.ndarray) -> np.ndarray:
        return aim(problem.made(scaled / (scale * importance))[1])

    goal = aim(problem.outputs)
    follows = problem.rectified and dense.size * float(dense.shape[1]) <= _MOST_WORK
    if problem.decided is not None:
        mask = problem.decided
        kept = np.where(mask, dense, np.float32(0))
    else:
        kept, mask = _admm(system, problem, dense, goal, follow if follows else None)
    kept = _fitted(system, goal, kept, mask)
    for _ in range(_ROUNDS if follows else 0):
        kept = _fitted(system, follow(kept), kept, mask, _FEWER_STEPS)
    return kept / (scale * importance), mask


def floored(squares: np.ndarray) -> np.ndarray:
    """The mean squares of inputs, of any shape, none much smaller than their mean."""
    return np.asarray(squares + max(_FLOOR * float(squares.mean()), 1e-30))


def pull_of(rows: int, inputs: int) -> float:
    """The pull towards the dense weights, for inputs that are scaled to a mean square of 1."""
    return min(_PULL * inputs / rows, _STRONGEST_PULL)


def _tempered(importance: np.ndarray) -> np.ndarray:
    """`importance` with a root mean square of 1, and never so small that its output is given up."""
    size = float(np.sqrt(np.mean(np.square(importance, dtype=np.float64))))
    return (importance / (size or 1.0) + 1e-3).astype(np.float32)


class _System:
    """The matrix A = X'X + pull, and the inverse of A + _PENALTY; X is float32 (groups, rows, in).

    For fewer rows than inputs the inverse is (1 - X' (XX' + p)^-1 X) / p, p = pull + _PENALTY; and
    for more than MOST_INPUTS, A is applied by way of the rows, too.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows
        self._wide = rows.shape[1] < rows.shape[2]
        self.pull = pull_of(*rows.shape[1:])
        turned = np.swapaxes(rows, 1, 2)
        small = rows @ turned if self._wide else turned @ rows
        places = np.arange(small.shape[1])
        # Well-conditioned as shifted; but by way of the rows, small differences are left.
        shifted = small.astype(np.float64 if self._wide else np.float32)
        shifted[:, places, places] += self.pull + _PENALTY
        self._inverse = np.linalg.inv(shifted).astype(np.float32)
        self.gram: np.ndarray | None = None
        """A, float32 (groups, in, in), where it is held"""
        if rows.shape[2] <= MOST_INPUTS:
            self.gram = turned @ rows if self._wide else small
            places = np.arange(rows.shape[2])
            self.gram[:, places, places] += self.pull

    def apply(self, weights: np.ndarray) -> np.ndarray:
        if self.gram is not None:
            return np.asarray(self.gram @ weights)
        turned = np.swapaxes(self._rows, 1, 2)
        return np.asarray(turned @ (self._rows @ weights) + np.float32(self.pull) * weights)

    def solve(self, weights: np.ndarray) -> np.ndarray:
        if not self._wide:
            return np.asarray(self._inverse @ weights)
        inner = self._inverse @ (self._rows @ weights)
        found = weights - np.swapaxes(self._rows, 1, 2) @ inner
        found /= np.float32(self.pull + _PENALTY)
        return np.asarray(found)


def _admm(
    system: _System,
    problem: LayerProblem,
    dense: np.ndarray,
    goal: np.ndarray,
    follow: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sparse weights and their mask, in scaled units."""
    ramp = _ITERATIONS * _RAMP
    turns = set(np.linspace(ramp, _ITERATIONS - 2, _ROUNDS).astype(int).tolist())
    kept, dual = dense, np.zeros_like(dense)
    mask = np.ones(dense.shape, bool)
    for number in range(_ITERATIONS):
        found = system.solve(goal + np.float32(_PENALTY) * (kept - dual))
        found += dual
        progress = 1 - (1 - min((number + 1) / ramp, 1.0)) ** 3
        mask = problem.keep(np.square(found), progress)
        kept = np.where(mask, found, np.float32(0))
        dual = found - kept
        if follow is not None and number in turns:
            goal = follow(kept)
    return kept, mask


def _fitted(
    system: _System, goal: np.ndarray, start: np.ndarray, mask: np.ndarray, steps: int = _STEPS
) -> np.ndarray:
    """Solve A W = goal on the mask, each output on its own.

    Exactly where that is less work than `steps` of conjugate gradients from `start`.
    """
    gram = system.gram
    if gram is not None and len(gram) == 1 and (lines := _shared_lines(mask[0])) is not None:
        places, outputs = lines
        found = np.zeros_like(goal)
        part = gram[0][np.ix_(places, places)].astype(np.float64)
        found[0][np.ix_(places, outputs)] = np.linalg.solve(part, goal[0][np.ix_(places, outputs)])
        return found
    kept = mask.sum(axis=1, dtype=np.float64)
    if (
        gram is not None
        and _SLOWER * (kept**3 / 3 + 30 * kept**2).sum() < steps * 2.0 * mask.size * mask.shape[1]
    ):
        return _exact(gram, goal, mask)
    found = np.empty_like(start)
    for first in range(0, start.shape[2], _SLAB):
        part = (slice(None), slice(None), slice(first, first + _SLAB))
        found[part] = _conjugate(system, goal[part], start[part], mask[part], steps)
    return found


def _shared_lines(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The inputs and outputs that are kept, where a mask (in, out) is whole lines; else None."""
    places, outputs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (places, outputs) if mask.sum() == places.size * outputs.size else None


def _exact(gram: np.ndarray, goal: np.ndarray, mask: np.ndarray) -> np.ndarray:
    found = np.zeros_like(goal)
    for group, output in np.ndindex(mask.shape[0], mask.shape[2]):
        places = np.flatnonzero(mask[group, :, output])
        part = gram[group][np.ix_(places, places)].astype(np.float64)
        found[group, places, output] = np.linalg.solve(part, goal[group, places, output])
    return found


def _conjugate(
    system: _System, goal: np.ndarray, weights: np.ndarray, mask: np.ndarray, steps: int
) -> np.ndarray:
    weights = np.array(weights)
    rest = (goal - system.apply(weights)) * mask
    way = rest.copy()
    size = np.einsum("gkm,gkm->gm", rest, rest)[:, None]
    for _ in range(steps):
        image = system.apply(way) * mask
        step = size / np.maximum(np.einsum("gkm,gkm->gm", way, image)[:, None], 1e-30)
        weights += step * way
        rest -= step * image
        before, size = size, np.einsum("gkm,gkm->gm", rest, rest)[:, None]
        way *= size / np.maximum(before, 1e-30)
        way += rest
    return weights
