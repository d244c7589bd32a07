"""A second pass over a model that is pruned already: its layers make up for what the logits lack.

The first pass brings each layer close to what it gave in the dense model, as if the layers behind
it could do nothing. Here a layer moves its outputs to where the logits come closer to the dense
ones: one Gauss-Newton step with the curvature of inputs times that of outputs, on the weights that
are left, as far as the logits' error falls. Source: Martens and Grosse, Optimizing Neural Networks
with Kronecker-factored Approximate Curvature (2015).
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow
from compressor.pruning.kernels import Kernel
from compressor.pruning.reconstruction_inputs import (
    Calibration,
    Seen,
    entered,
    most_rows,
    signs,
    watching,
)
from compressor.pruning.reconstruction_layouts import Layout
from compressor.pruning.reconstruction_solver import MOST_INPUTS, floored

_STEPS = (1.0, 0.5, 0.25, 0.125, 0.0625)
_SOLVING = 30
"""Conjugate gradients."""
_MOST_WORK = 5e10
"""Inputs x inputs x outputs of a kernel that is refined."""
_DAMPING = 0.01
"""Of the mean square of each input; and thrice as much of the outputs' curvature."""
_JUDGED = 2048
"""Examples on which the logits' error is compared."""
_EXAMPLES = 4096
"""That slopes are taken of, about."""
_MOST_VALUES = 2**24
"""Of their logits."""
_MOST_ENTERED = 2**26
"""Of what enters a layer for them, 256 MiB."""


class Refining:
    """The logits of a model as it is now, for the time when its kernels are pruned."""

    def __init__(self, model: Any, calibration: Calibration) -> None:
        self._model, self._calibration = model, calibration
        self._batches = calibration.batches
        self._wanted: list[list[Any]] = []
        values = examples = 0
        for make in self._batches:
            logits = self._logits(make())
            values += sum(math.prod(part.shape) for part in logits)
            if values > _MOST_VALUES or not all(np.isfinite(part).all() for part in logits):
                self._wanted = []
                return
            self._wanted.append(logits)
            examples += len(logits[0])
            if examples >= _EXAMPLES:
                return

    def refine(
        self, kernels: Mapping[str, Kernel], layouts: Mapping[str, Layout], seen: Mapping[str, Seen]
    ) -> dict[str, dict[str, Any]]:
        """Change kernels, where they are not zero, and biases, if that helps; say what it did.

        Of the kernels that act once on each example, in the order of `seen`: others change too many
        outputs together. For each: "refined", the squared error of the logits relative to their
        spread, before and after.
        """
        found: dict[str, dict[str, Any]] = {}
        error = self._error() if self._wanted else 0.0
        for name, part in seen.items():
            layout = layouts[name]
            if error > 0 and layout.per_output and part.calls == part.places == 1:
                with self._from(layout.layer):
                    before, error = error, self._one(kernels[name].variable, layout, error)
                found[name] = {"refined": [before, error]}
        return found

    @contextlib.contextmanager
    def _from(self, layer: Any) -> Iterator[None]:
        """Compute what comes before `layer` once, where all ways to the outputs lead through it."""
        tensorflow, keras = quiet_tensorflow.load()
        whole, calibration = self._model, self._batches
        try:
            rest = keras.Model(layer.input, whole.outputs)
            width = math.prod(layer.input.shape[1:])
        except (AttributeError, TypeError, ValueError):  # no graph, other ways, an open size
            yield
            return
        if width * _EXAMPLES <= _MOST_ENTERED:
            pairs = zip(calibration, self._wanted, strict=False)
            made = [entered(whole, {id(layer): (layer, 1)}, make()) for make, _ in pairs]
            batches = [tensorflow.convert_to_tensor(one[id(layer)][0]) for one in made]
            self._model, self._batches = rest, [functools.partial(_same, one) for one in batches]
        try:
            yield
        finally:
            self._model, self._batches = whole, calibration

    def _one(self, variable: Any, layout: Layout, error: float) -> float:
        """Refine one kernel; the error of the logits afterwards, `error` at most."""
        start = layout.to_matrix(np.asarray(variable.numpy(), np.float32))
        places, outputs = (np.flatnonzero(start[0].any(axis=axis)) for axis in (1, 0))
        work = float(places.size) ** 2 * outputs.size
        if len(start) > 1 or not 0 < work <= _MOST_WORK or places.size >= MOST_INPUTS:
            return error
        rows, slopes, signed = self._seen_by(layout, start.shape)
        rows, slopes, signed = rows[:, places], slopes[:, outputs], signed[:, outputs]
        if layout.bias is not None:  # its column takes part like any other input
            rows = np.concatenate([rows, np.ones_like(rows[:, :1])], axis=1)
        free = start[0][np.ix_(places, outputs)] != 0
        free = np.concatenate([free, np.ones((rows.shape[1] - len(free), outputs.size), bool)])
        found = _step(rows, slopes, signed, free)
        if not np.isfinite(found).all():
            return error
        change, shift = np.zeros_like(start), np.zeros(start.shape[2], np.float32)
        change[0][np.ix_(places, outputs)] = found[: places.size]
        if layout.bias is not None:
            shift[outputs] = found[-1]
        best, now = 0.0, 0.0

        def move(step: float) -> None:
            nonlocal now
            variable.assign(layout.to_kernel(start + np.float32(step) * change))
            if layout.bias is not None:
                layout.add_to_bias(np.float32(step - now) * shift)
            now = step

        for step in _STEPS:
            move(step)
            reached = self._error()
            if reached < error:
                best, error = step, reached
            elif best:
                break
        move(best)
        return error

    def _seen_by(
        self, layout: Layout, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs (rows, in), slopes of the logits' squared error by the sums of the layer, and of
        the logits times random signs, each (rows, out), float32."""
        tensorflow, _ = quiet_tensorflow.load()
        generator = np.random.default_rng([self._calibration.seed, 3])
        rows: list[np.ndarray] = []
        slopes: list[np.ndarray] = []
        signed: list[np.ndarray] = []
        left = most_rows(*shape)
        for make, wanted in zip(self._batches, self._wanted, strict=False):
            taken: list[Any] = []
            with tensorflow.GradientTape(True, watch_accessed_variables=False) as tape:

                def note(given: Any, output: Any, tape: Any = tape, to: Any = taken) -> None:
                    tape.watch(output)
                    to += [given, output]

                with watching(layout.layer, note):
                    logits = self._logits(make(), keep=True)
                pairs = zip(logits, wanted, strict=True)
                error = sum(tensorflow.reduce_sum((a - b) ** 2) / 2 for a, b in pairs)
                drawn = [signs(generator, part.shape, part.dtype) for part in logits]
                pairs = zip(logits, drawn, strict=True)
                total = sum(tensorflow.reduce_sum(a * b) for a, b in pairs)
            given, output = taken
            zero = tensorflow.UnconnectedGradients.ZERO
            active = np.asarray(output) > 0 if layout.rectified else np.True_
            for of, to in ((error, slopes), (total, signed)):
                slope = tape.gradient(of, output, unconnected_gradients=zero)
                to.append((np.asarray(slope, np.float32) * active).reshape(-1, shape[2]))
            rows.append(layout.rows(np.asarray(given, np.float32), np.arange)[0])
            left -= len(rows[-1])
            if left <= 0:
                break
        return np.concatenate(rows), np.concatenate(slopes), np.concatenate(signed)

    def _error(self) -> float:
        """The squared error of the logits, relative to how much the dense ones vary."""
        gone = spread = 0.0
        examples = 0
        for make, wanted in zip(self._batches, self._wanted, strict=False):
            for now, before in zip(self._logits(make()), wanted, strict=True):
                gone += float(np.square(now - before, dtype=np.float64).sum())
                spread += float(np.square(before - before.mean(axis=0), dtype=np.float64).sum())
            examples += len(wanted[0])
            if examples >= _JUDGED:
                break
        error = gone / (spread or 1.0)
        return error if math.isfinite(error) else math.inf

    def _logits(self, batch: Any, *, keep: bool = False) -> list[Any]:
        """Of each output; as tensors with `keep`, else float32 arrays."""
        _, keras = quiet_tensorflow.load()
        made = self._calibration.logits(keras.tree.flatten(self._model(batch)))
        return made if keep else [np.asarray(part, np.float32) for part in made]


def _same(batch: Any) -> Any:
    return batch


def _step(rows: np.ndarray, slopes: np.ndarray, signed: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The Gauss-Newton step of weights (in, out), where they are `free`.

    It solves A W C = -X'G: A = X'X of the inputs, C = J'J of the slopes of the logits.
    """
    inputs = rows.T @ rows / np.float32(len(rows))
    outputs = signed.T @ signed / np.float32(len(rows))
    _damp(inputs, _DAMPING * floored(np.diag(inputs)))
    _damp(outputs, np.full(len(outputs), 3 * _DAMPING * max(np.diag(outputs).mean(), 1e-30)))
    goal = -(rows.T @ slopes) / np.float32(len(rows))
    if free.all():
        return np.linalg.solve(outputs, np.linalg.solve(inputs, goal).T).T
    sizes = np.diag(inputs)[:, None] * np.diag(outputs)
    found = np.zeros(free.shape, np.float32)
    rest = np.where(free, goal, np.float32(0))
    way = rest / sizes
    size = float((rest * way).sum())
    for _ in range(_SOLVING):
        image = np.where(free, inputs @ (way @ outputs), np.float32(0))
        length = size / max(float((way * image).sum()), 1e-30)
        found += np.float32(length) * way
        rest -= np.float32(length) * image
        before, size = size, float((rest * rest / sizes).sum())
        way = rest / sizes + np.float32(size / max(before, 1e-30)) * way
    return found


def _damp(matrix: np.ndarray, values: np.ndarray) -> None:
    matrix[np.diag_indices_from(matrix)] += values.astype(np.float32)
