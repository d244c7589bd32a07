"""Layer-wise least squares on a graph file: what enters each layer is read from its runtime.

As `compressor.pruning.reconstruction` does it for Keras models, except that all outputs of a layer
count alike: nothing says how much the scores depend on each.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.data import Inputs, TrainingData, rows, take
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters.graph_inputs import draw
from compressor.exporters.graph_job import GraphJob
from compressor.exporters.graph_layers import GraphLayer
from compressor.exporters.made_inputs import CALIBRATED
from compressor.exporters.parity import Reference
from compressor.exporters.request import ExportedFile
from compressor.pruning import KernelMasks
from compressor.pruning.reconstruction_inputs import most_rows
from compressor.pruning.reconstruction_solver import LayerProblem, rectified_targets, solve

_MOST_VALUES = 2**26
"""of what enters a layer, held at once"""


@dataclasses.dataclass
class Activations:
    """The values of one graph on the calibration inputs, as its runtime computes them."""

    job: GraphJob
    kind: Any
    """the module of the format's kernels"""
    x: Inputs

    def of(self, graph: Any, layer: GraphLayer) -> np.ndarray | None:
        """What enters a layer, float32 (n, ...); None where it has no row an example."""
        if layer.source in self.job.original.inputs:
            place = self.job.original.inputs.index(layer.source)
            return np.asarray(self.job.reference.feed.arrays(self.x)[place], np.float32)
        file = ExportedFile(self.kind.probe(graph, layer.source), self.job.original.inputs, (), {})
        loaded = self.job.processes.loaded(self.job.own_runtime, self.job.graph.format, file)
        try:
            with loaded as (_, run):
                one = run(self._examples(1), 1)
                return run(self._examples(_MOST_VALUES // max(one.size, 1)), self.job.batch)
        except CheckFailedError:
            return None

    def _examples(self, most: int) -> Reference:
        count = max(min(rows(self.x), most), 1)
        x, nothing = take(self.x, slice(0, count)), np.zeros((count, 1), np.float32)
        given = self.job.reference
        return dataclasses.replace(given, x=x, scores=nothing, labels=None, factors=None)


def calibration_inputs(job: GraphJob, count: int) -> Inputs:
    """Training examples without labels, or made-up inputs where a range is given for them."""
    if job.data is not None:
        return TrainingData.of(job.data).training_part(count)[0]
    if job.made.given is None:
        raise UsageError(
            "this criterion looks at what layers compute on examples",
            value="no data",
            hint="give --data, or --input-range LOW,HIGH to make some up",
        )
    return draw(job.ports, count, job.sizes, job.made, CALIBRATED)


def reconstruct(
    job: GraphJob, kind: Any, graph: Any, masks: KernelMasks, count: int
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """Prune the kernels of `graph` that `masks` can choose for, and change what is left.

    Layers are pruned in the order of the graph, each from the inputs that those before it give now.
    Returns the mask of each kernel, and a report: error and magnitude_error, or a note where it was
    pruned by magnitude.
    """
    seen = Activations(job, kind, calibration_inputs(job, count))
    dense = kind.open_model(job.graph.content)
    kernels = kind.kernels_of(graph)
    found: dict[str, np.ndarray] = {}
    reports: dict[str, dict[str, Any]] = {}
    layers = {layer.name: layer for layer in kind.layers_of(graph)}
    for name in [*layers, *(name for name in masks.names if name not in layers)]:
        if name not in masks.names:
            continue
        values = kernels[name][0]
        changed = bool(found)
        found[name] = masks.choose(name, np.abs(values), 1.0)
        made, reports[name] = np.where(found[name], values, 0), {}
        solved = None
        if name in layers:
            solved = _solved(seen, (dense, graph), layers[name], masks, values, changed=changed)
        if solved is None:
            reports[name] = {"note": "by magnitude: what its kernel multiplies is not known"}
        else:
            weights, mask, bias, reports[name] = solved
            if weights is not None:
                found[name], made = mask, weights
                if bias is not None:
                    kind.store_bias(graph, layers[name], bias)
        kind.store(graph, {name: made.astype(np.float32)})
    return found, reports


def _solved(
    seen: Activations,
    graphs: tuple[Any, Any],
    layer: GraphLayer,
    masks: KernelMasks,
    values: np.ndarray,
    *,
    changed: bool,
) -> Any:
    """(weights or None, mask, bias or None, report); None where nothing is seen of the layer."""
    dense, graph = graphs
    now = seen.of(graph, layer)
    then = seen.of(dense, layer) if changed else now
    matrix = layer.to_matrix(values)
    groups, width, outputs = matrix.shape
    most, seed = most_rows(groups, width, outputs), 0
    if now is None or then is None or now.shape != then.shape:
        return None
    entering, wanted = layer.rows(now, most, seed), layer.rows(then, most, seed)
    if entering.shape[2] != width or not (
        np.isfinite(entering).all() and np.isfinite(wanted).all()
    ):
        return None
    goal = wanted @ matrix
    if layer.bias is not None:
        goal += layer.bias.reshape(groups, 1, outputs)

    def keep(scores: np.ndarray, progress: float) -> np.ndarray:
        return layer.to_matrix(masks.choose(layer.name, layer.to_kernel(scores), progress))

    problem = LayerProblem(
        inputs=entering,
        outputs=goal,
        weights=matrix,
        importance=np.ones((groups, outputs), np.float32),
        has_bias=layer.bias is not None,
        rectified=layer.rectified,
        keep=keep,
    )
    plain = keep(np.abs(matrix), 1.0)
    product = entering @ np.where(plain, matrix, np.float32(0))
    if layer.bias is not None:
        product = product + layer.bias.reshape(groups, 1, outputs)
    least = _error(problem, product)
    weights, mask = solve(problem)
    weights = np.where(mask, weights, np.float32(0))
    product = entering @ weights
    shift = problem.centres(problem.made(weights)[1] - product)
    error = _error(problem, product + shift)
    report = {"magnitude_error": least, "error": least, "rows": entering.shape[1]}
    if not (np.isfinite(weights).all() and error <= least):
        return None, None, None, report | {"note": "by magnitude, whose error is smaller"}
    bias = None if layer.bias is None else shift.reshape(-1)
    report["error"] = error
    return layer.to_kernel(weights), layer.to_kernel(mask), bias, report


def _error(problem: LayerProblem, made: np.ndarray) -> float:
    """The squared error of outputs, relative to how much the dense ones vary."""
    wanted, reference = problem.outputs, problem.outputs
    if problem.rectified:
        wanted, reference = rectified_targets(wanted, made), np.maximum(wanted, 0)
    size = float(np.square(reference - problem.centres(reference), dtype=np.float64).sum())
    return float(np.square(made - wanted, dtype=np.float64).sum()) / (size or 1.0)
