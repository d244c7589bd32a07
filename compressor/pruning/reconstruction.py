"""Pruning layer after layer, so that what is left makes up for what goes.

Layers are done in the order of the model. Each is to give what it gave in the dense model, from
inputs that the layers before it, already pruned, give now: so each also makes up for those. Never
worse than magnitude pruning on the calibration inputs: a kernel for which it would be is pruned by
magnitude, and the reason is reported. Sources: see `compressor.pruning.reconstruction_solver`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.errors import CompressorError, UsageError
from compressor.pruning.channels import ChannelPlan
from compressor.pruning.kernels import Kernel
from compressor.pruning.magnitude import check_weights
from compressor.pruning.masks import Masks, masked_variables
from compressor.pruning.reconstruction_channels import Consumer, removal_costs
from compressor.pruning.reconstruction_dense import Dense
from compressor.pruning.reconstruction_inputs import (
    Calibration,
    Wanted,
    importance_of,
    rows_of,
    survey,
    wanted_rows,
)
from compressor.pruning.reconstruction_layouts import layout_of
from compressor.pruning.reconstruction_refining import Refining
from compressor.pruning.reconstruction_solver import (
    MOST_INPUTS,
    LayerProblem,
    rectified_targets,
    solve,
)

Solver = Callable[[LayerProblem], tuple[np.ndarray, np.ndarray]]
"""Problem -> weights and bool mask, each (groups, in, out)."""
Keep = Callable[[str, np.ndarray, float], np.ndarray]
"""Kernel's name, scores of its shape, progress 0 to 1 -> bool mask of its shape."""


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    """What became of one kernel."""

    mask: np.ndarray
    """bool, the kernel's shape"""
    report: Mapping[str, Any]
    """a JSON object: error, magnitude_error, rows, seconds, bytes; note, refined if there are"""


_FROZEN = "by cutting its inputs alone: it is frozen, so it cannot make up for them"
_CONSTRAINED = "by magnitude: it has a constraint of its own"
_MOST_AHEAD = 1e9
"""Inputs x inputs x outputs of a kernel up to which it is solved twice, to look ahead."""


class Reconstruction:
    """Prunes the kernels of one model by a solver, on calibration inputs."""

    def __init__(
        self,
        model: Any,
        kernels: Mapping[str, Kernel],
        calibration: Calibration,
        solver: Solver = solve,
    ) -> None:
        self._model, self._kernels = model, kernels
        self._calibration, self._solver = calibration, solver
        found = {name: layout_of(k.layer, k.variable) for name, k in kernels.items()}
        self._layouts = {name: layout for name, layout in found.items() if layout is not None}
        self._seen = survey(model, self._layouts, calibration)
        self._shifts: dict[str, np.ndarray] = {}  # kernel -> what was added to its bias
        self._refining = Refining(model, calibration) if solver is solve else None
        self._dense = Dense(model, {name: self._wanted(name) for name in self._seen}, calibration)

    def sensitivities(self) -> dict[str, np.ndarray]:
        """What zeroing each weight alone costs: an estimate of the squared change of the logits.

        Arrays of the kernels' shapes, comparable between kernels. For a kernel whose inputs are
        not known, the squared weights.
        """
        found = {}
        for name, kernel in self._kernels.items():
            values = np.square(kernel.numpy().astype(np.float64))
            if name in self._seen:
                layout, seen = self._layouts[name], self._seen[name]
                rows = self._dense.rows(name)
                rows = np.where(np.isfinite(rows), rows, 0).astype(np.float64)
                spread = rows.var(axis=1) if layout.bias is not None else (rows**2).mean(axis=1)
                weights = layout.to_matrix(values)
                importance = importance_of(seen, weights.shape)[:, None, :].astype(np.float64)
                scale = spread[..., None] * np.square(importance) * seen.places
                values = layout.to_kernel(weights * scale)
            found[name] = values
        return found

    def channel_scores(self, plan: ChannelPlan) -> dict[str, np.ndarray]:
        """What it costs to remove each channel of `plan` from the model as it is, in best order.

        By layer of the plan, arrays of its kernel's shape, the same for all weights of a channel.
        """
        found = {}
        for part in plan.sets:
            consumers = list(self._consumers(plan, part.channels))
            costs = removal_costs(consumers, part.channels, part.gone)
            for name, ids in part.layers.items():
                kernel = self._kernels[name]
                if consumers:
                    scores = costs[np.searchsorted(part.channels, ids)]
                    line = np.broadcast_to(scores, kernel.matrix_shape)
                    found[name] = kernel.from_matrix(line)
                else:
                    found[name] = np.abs(kernel.numpy())
        return found

    def _consumers(self, plan: ChannelPlan, channels: np.ndarray) -> Iterator[Consumer]:
        names = {id(kernel.variable): name for name, kernel in self._kernels.items()}
        for axis in plan.map.axes:
            name = names.get(id(axis.variable))
            if axis.role != "consumer" or name not in self._seen:
                continue
            layout, seen = self._layouts[name], self._seen[name]
            lines = layout.to_matrix(axis.spread(axis.channels))
            if len(lines) > 1 or not np.isin(axis.channels, channels).any():
                continue
            problem = self._problem(name, lambda name, scores, progress: scores > 0)
            rows = (problem.inputs - problem.centres(problem.inputs))[0]
            outputs = None
            if self._dense.is_changed():
                outputs = (problem.outputs - problem.centres(problem.outputs))[0]
            importance = problem.importance[0] * np.sqrt(seen.places)
            yield Consumer(rows, problem.weights[0], importance, lines[0, :, 0], outputs)

    def run(
        self, keep: Keep, names: Collection[str] | None = None, masks: Masks | None = None
    ) -> dict[str, Reconstructed]:
        """Prune all kernels, or those of `names`, and change their weights and biases.

        `masks` of whole channels decide already what stays, of these kernels and of others.
        """
        for kernel in self._kernels.values():
            check_weights(kernel.numpy())
        order = [*self._seen, *(name for name in self._kernels if name not in self._seen)]
        order = [name for name in order if names is None or name in names]
        try:
            if not masks and self._solver is solve:
                self._look_ahead(order, keep)
            for variable, mask in masked_variables(self._model, masks or {}):
                variable.assign(np.where(mask, variable.numpy(), 0))
            return {name: self._one(name, keep, decided=bool(masks)) for name in order}
        except BaseException:
            self._dense.restore()  # a model is pruned as a whole or not at all
            raise

    def refine(self, done: Mapping[str, Reconstructed]) -> dict[str, Reconstructed]:
        """Bring the logits closer to the dense ones, once all kernels are pruned as in `done`.

        Returns `done` with what came of it; a solver of the user's is left as it is, and so is a
        kernel that must not change.
        """
        if self._refining is None or not self._dense.is_changed():
            return dict(done)
        try:
            free = [name for name in self._seen if _why_fixed(self._kernels[name]) is None]
            seen = {name: self._seen[name] for name in free}
            found = self._refining.refine(self._kernels, self._layouts, seen)
        except BaseException:
            self._dense.restore()
            raise
        return {
            name: dataclasses.replace(one, report={**one.report, **found.get(name, {})})
            for name, one in done.items()
        }

    def _look_ahead(self, order: Sequence[str], keep: Keep) -> None:
        """Weigh outputs by what becomes of them in a model whose later layers are pruned already.

        Else much of a layer is spent on units that nothing is left of behind it.
        """
        costs: dict[str, np.ndarray] = {}
        found = {}
        for name in order[1:]:
            if name not in self._seen:
                continue
            layout, before = self._layouts[name], self._dense.of(self._kernels[name].variable)
            matrix = layout.to_matrix(before)
            if matrix.size * matrix.shape[1] > _MOST_AHEAD:
                costs = costs or self.sensitivities()
                found[name] = np.where(keep(name, costs[name], 1.0), before, np.float32(0))
                continue
            problem = self._problem(name, keep)
            if problem.inputs.shape[1]:
                found[name] = layout.to_kernel(self._solver(problem)[0])
        for name, values in found.items():
            self._kernels[name].variable.assign(values)
        ahead = survey(self._model, self._layouts, self._calibration)
        self._dense.restore()
        for name, seen in ahead.items():
            if name in self._seen and seen.importance is not None:
                self._seen[name].importance = seen.importance

    def _one(self, name: str, keep: Keep, *, decided: bool) -> Reconstructed:
        start = time.perf_counter()
        variable = self._kernels[name].variable
        if name in self._shifts:  # of an earlier run
            self._layouts[name].add_to_bias(-self._shifts.pop(name))
        before = self._dense.of(variable)
        by_magnitude = keep(name, np.abs(before), 1.0)
        plain = np.where(by_magnitude, before, np.float32(0))
        note = _why_fixed(self._kernels[name])
        if note is None and name not in self._seen:
            note = "by magnitude: what its kernel multiplies is not known"
        if note is not None:
            variable.assign(plain)
            return Reconstructed(by_magnitude, {"note": note})
        layout = self._layouts[name]
        problem = self._problem(name, keep)
        if decided:
            problem = with_decided(problem, layout.to_matrix(by_magnitude))
        bias, product = layout.bias_values(self._dense.of), problem.inputs @ layout.to_matrix(plain)
        least = error_of(problem, product if bias is None else product + grouped(bias, product))
        report: dict[str, Any] = {"magnitude_error": least, "error": least}
        mask, weights = by_magnitude, plain
        if problem.inputs.shape[1] == 0:
            report["note"] = "by magnitude: no finite inputs reach it"
        else:
            found, chosen = self._solve(name, problem)
            product = problem.inputs @ found
            shift = problem.centres(problem.made(found)[1] - product)
            error = error_of(problem, product + shift)
            if np.isfinite(found).all() and error <= least:
                report["error"] = error
                mask, weights = layout.to_kernel(chosen), layout.to_kernel(found)
                if bias is not None:
                    left = chosen.any(axis=1) if decided else np.True_
                    self._shifts[name] = (shift[:, 0] - bias.reshape(shift[:, 0].shape)) * left
                    layout.add_to_bias(self._shifts[name])
            else:
                report["note"] = "by magnitude, whose error is smaller"
        variable.assign(np.where(mask, weights, np.float32(0)))
        report |= {
            "rows": problem.inputs.shape[1],
            "seconds": round(time.perf_counter() - start, 2),
            "bytes": _bytes(problem),
        }
        return Reconstructed(mask, report)

    def _problem(self, name: str, keep: Keep) -> LayerProblem:
        layout = self._layouts[name]
        weights = layout.to_matrix(self._dense.of(self._kernels[name].variable))
        inputs = wanted = self._dense.rows(name)
        if self._dense.is_changed():
            found = rows_of(self._model, {name: self._wanted(name)}, self._calibration)
            inputs = found[name]
        outputs = wanted @ weights
        bias = layout.bias_values(self._dense.of)
        if bias is not None:
            outputs += grouped(bias, weights)
        finite = np.isfinite(inputs).all(axis=(0, 2)) & np.isfinite(outputs).all(axis=(0, 2))
        if not finite.all():
            inputs, outputs = inputs[:, finite], outputs[:, finite]
        return LayerProblem(
            inputs,
            outputs,
            weights,
            importance_of(self._seen[name], weights.shape),
            bias is not None,
            layout.rectified,
            lambda scores, progress: layout.to_matrix(
                keep(name, layout.to_kernel(scores), progress)
            ),
        )

    def _wanted(self, name: str) -> Wanted:
        layout, seen = self._layouts[name], self._seen[name]
        shape = layout.to_matrix(self._kernels[name].numpy()).shape
        return wanted_rows(layout, seen, shape, list(self._kernels).index(name))

    def _solve(self, name: str, problem: LayerProblem) -> tuple[np.ndarray, np.ndarray]:
        try:
            weights, mask = self._solver(problem)
            weights, mask = np.asarray(weights, np.float32), np.asarray(mask)
        except Exception as error:  # it may be code of the user's
            value = f"{name} ({type(error).__name__}: {error})"
            raise UsageError("the criterion failed to reconstruct", value=value) from error
        shape = problem.weights.shape
        if weights.shape != shape or mask.shape != shape or mask.dtype != np.bool_:
            raise CompressorError(
                "the criterion's weights and mask do not have the kernel's shape",
                value=f"{name}: {weights.shape}, {mask.shape} {mask.dtype}, kernel {shape}",
            )
        if (problem.keep(mask.astype(np.float32), 1.0) != mask).any():
            what = "the criterion's mask does not keep what was asked"
            raise CompressorError(what, value=name, hint="return a mask that `keep` gave")
        return np.where(mask, weights, np.float32(0)), mask


def _why_fixed(kernel: Kernel) -> str | None:
    """Why nothing but zeros may be put into a kernel; None where it can be solved for."""
    if not kernel.variable.trainable:
        return _FROZEN
    return None if kernel.variable.constraint is None else _CONSTRAINED


def grouped(bias: np.ndarray, array: np.ndarray) -> np.ndarray:
    """A bias (groups * out,) as (groups, 1, out), to be added to an array of as many groups."""
    return bias.reshape(len(array), 1, -1)


def error_of(problem: LayerProblem, made: np.ndarray) -> float:
    """The squared error of outputs, relative to how much the dense ones vary, 0 to about 1.

    Outputs count by their importance: those that nothing is left of behind the layer, hardly.
    """
    if problem.outputs.shape[1] == 0:
        return 0.0
    wanted = rectified_targets(problem.outputs, made) if problem.rectified else problem.outputs
    reference = np.maximum(problem.outputs, 0) if problem.rectified else problem.outputs
    importance = np.square(problem.importance, dtype=np.float64)
    size = _weighted(reference - problem.centres(reference), importance)
    return _weighted(made - wanted, importance) / (size or 1.0)


def _weighted(values: np.ndarray, importance: np.ndarray) -> float:
    """The sum of squares of (groups, rows, out), each output with its weight, (groups, out)."""
    squares = np.einsum("gnm,gnm->gm", values, values, dtype=np.float64)
    return float((squares * importance).sum())


def _bytes(problem: LayerProblem) -> int:
    """About what solving takes at its peak: rows, outputs, statistics and iterates."""
    groups, rows, inputs = problem.inputs.shape
    outputs = problem.outputs.shape[2]
    values = 2 * rows * inputs + 4 * rows * outputs + 9 * inputs * outputs
    values += inputs**2 * (inputs <= MOST_INPUTS) + 5 * min(rows, inputs) ** 2
    return 4 * groups * values


def with_decided(problem: LayerProblem, mask: np.ndarray) -> LayerProblem:
    """The problem with this mask; outputs that nothing is left of do not count."""
    left = np.asarray(mask.any(axis=1))
    outputs, importance = problem.outputs * left[:, None], problem.importance * left
    return dataclasses.replace(problem, outputs=outputs, importance=importance, decided=mask)
