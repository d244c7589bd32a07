"""Layer-wise least squares on a graph file: what enters each layer is read from its runtime.

As `compressor.pruning.reconstruction` does it for Keras models, except that all outputs of a layer
count alike: nothing says how much the scores depend on each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from compressor.data import Inputs, rows, take
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters.graphs.inputs import draw
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.graphs.layers import GraphLayer
from compressor.exporters.made_inputs import CALIBRATED
from compressor.exporters.reference import Reference
from compressor.exporters.request import ExportedFile
from compressor.pruning import ChannelChooser, KernelMasks
from compressor.pruning.channels import ChannelPlan
from compressor.pruning.kernels import Kernel
from compressor.pruning.reconstruction import error_of, with_decided
from compressor.pruning.reconstruction_channels import Consumer, removal_costs
from compressor.pruning.reconstruction_inputs import most_rows
from compressor.pruning.reconstruction_solver import LayerProblem, solve
from compressor.shrinking import VariableAxis

_MOST_VALUES = 2**26
"""of what enters a layer, held at once"""
_UNSEEN = "by magnitude: what its kernel multiplies is not known"
_SCORED = 256
"""Examples on which it is measured how much the scores depend on a layer."""


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
        loaded = self.job.processes.loaded(
            self.job.own_runtime, self.job.graph.format, file, flat=False
        )
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
    if job.split is not None:
        return job.split.training_part(count, job.seed)[0]
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
    work = GraphReconstruction(job, kind, graph, count)
    if masks.spec.scope == "global":
        masks = masks.shared_out(work.sensitivities(masks))
    found: dict[str, np.ndarray] = {}
    reports: dict[str, dict[str, Any]] = {}
    for name in work.order(masks.names):

        def keep(scores: np.ndarray, progress: float, name: str = name) -> np.ndarray:
            return masks.choose(name, scores, progress)

        found[name], reports[name] = work.prune(name, keep)
    return found, reports


Keep = Callable[[np.ndarray, float], np.ndarray]
"""Scores of a kernel's shape, progress 0 to 1 -> bool mask of its shape."""


class GraphReconstruction:
    """Prunes the kernels of `graph` one by one, on `count` calibration inputs."""

    def __init__(self, job: GraphJob, kind: Any, graph: Any, count: int) -> None:
        self._job, self._kind, self._graph = job, kind, graph
        self._seen = Activations(job, kind, calibration_inputs(job, count))
        self._dense = kind.open_model(job.graph.content)
        self._values = {name: values for name, (values, _) in kind.kernels_of(graph).items()}
        self._changed = False
        self.layers: dict[str, GraphLayer] = {layer.name: layer for layer in kind.layers_of(graph)}
        """those whose inputs are seen, in the order of the graph"""

    def order(self, names: Collection[str]) -> list[str]:
        others = [name for name in names if name not in self.layers]
        return [*(name for name in self.layers if name in names), *others]

    def sensitivities(self, masks: KernelMasks) -> dict[str, np.ndarray]:
        """What zeroing each weight alone costs, comparable between kernels; in their shapes.

        How much the scores depend on a layer is measured: by what they lose when half of its
        weights go, for what its own outputs lose.
        """
        job, found = self._job, {}
        examples = job.reference.only(job.drawn(_SCORED))
        for name in masks.names:
            values = self._values[name]
            layer = self.layers.get(name)
            given = None if layer is None else self._seen.of(self._dense, layer)
            costs = np.square(values.astype(np.float64))
            if layer is not None and given is not None:
                matrix = layer.to_matrix(costs)
                rows = layer.rows(given, most_rows(*matrix.shape), 0).astype(np.float64)
                if rows.shape[2] == matrix.shape[1] and np.isfinite(rows).all():
                    spread = rows.var(axis=1) if layer.bias is not None else (rows**2).mean(axis=1)
                    costs = layer.to_kernel(matrix * spread[..., None])
            small = np.abs(values) <= np.median(np.abs(values))
            self._kind.store(self._dense, {name: np.where(small, 0, values).astype(np.float32)})
            content = self._kind.write(self._dense)
            self._kind.store(self._dense, {name: values})
            file = ExportedFile(content, job.original.inputs, (), {})
            with job.processes.loaded(job.own_runtime, job.graph.format, file) as (_, run):
                lost = float(np.square(run(examples, job.batch) - examples.scores).mean())
            lost = lost if np.isfinite(lost) else float(np.finfo(np.float32).max)
            found[name] = costs * (lost / max(float(costs[small].sum()), 1e-30))
        return found

    def prune(
        self, name: str, keep: Keep, decided: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Prune a kernel; its mask, and a report. `decided` is a mask of whole channels."""
        values = self._values[name]
        mask = keep(np.abs(values), 1.0)
        made = np.where(mask, values, 0)
        problem = self.problem(name, keep)
        if problem is None:
            report: dict[str, Any] = {"note": _UNSEEN}
        else:
            layer = self.layers[name]
            if decided is not None:
                problem = with_decided(problem, layer.to_matrix(decided))
            weights, chosen, bias, report = _solved(problem, layer, values)
            if weights is not None and chosen is not None:
                mask, made = chosen, weights
                if bias is not None:
                    self._kind.store_bias(self._graph, layer, bias)
        self._kind.store(self._graph, {name: made.astype(np.float32)})
        self._changed = True
        return mask, report

    def problem(self, name: str, keep: Keep) -> LayerProblem | None:
        """What the kernel is to compute, of what enters it now; None where that is not seen."""
        layer = self.layers.get(name)
        if layer is None:
            return None
        now = self._seen.of(self._graph, layer)
        then = self._seen.of(self._dense, layer) if self._changed else now
        matrix = layer.to_matrix(self._values[name])
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
        return LayerProblem(
            inputs=entering,
            outputs=goal,
            weights=matrix,
            importance=np.ones((groups, outputs), np.float32),
            has_bias=layer.bias is not None,
            rectified=layer.rectified,
            keep=lambda scores, progress: layer.to_matrix(keep(layer.to_kernel(scores), progress)),
        )


def _solved(problem: LayerProblem, layer: GraphLayer, values: np.ndarray) -> Any:
    """(weights or None, mask, bias or None, report)."""
    matrix, entering = problem.weights, problem.inputs
    groups, _, outputs = matrix.shape
    plain = problem.keep(np.abs(matrix), 1.0)
    product = entering @ np.where(plain, matrix, np.float32(0))
    if layer.bias is not None:
        product = product + layer.bias.reshape(groups, 1, outputs)
    least = error_of(problem, product)
    weights, mask = solve(problem)
    weights = np.where(mask, weights, np.float32(0))
    product = entering @ weights
    shift = problem.centres(problem.made(weights)[1] - product)
    error = error_of(problem, product + shift)
    report = {"magnitude_error": least, "error": least, "rows": entering.shape[1]}
    if not (np.isfinite(weights).all() and error <= least):
        return None, None, None, report | {"note": "by magnitude, whose error is smaller"}
    bias = None if layer.bias is None else shift.reshape(-1)
    report["error"] = error
    return layer.to_kernel(weights), layer.to_kernel(mask), bias, report


def remove_channels(
    work: GraphReconstruction,
    plan: ChannelPlan,
    kernels: Mapping[str, Kernel],
    choose: ChannelChooser,
    *,
    at_once: bool,
) -> dict[str, dict[str, Any]]:
    """Choose channels by what their absence costs the kernels that take them, and refit these.

    Set after set in the order of the graph, so that the channels which those before it still serve
    well stay; or all `at_once`, for one threshold. Returns a report of each kernel that was refit,
    and of each whose units are taken by kernels that could not be: `not_refit` names these.
    """
    judged: dict[str, np.ndarray] = {}
    reports: dict[str, dict[str, Any]] = {}
    unfit: dict[str, list[str]] = {}
    first, sets = 0, len(plan.sets)
    for last in [sets] if at_once else range(1, sets + 1):
        for part in plan.sets[first:last]:
            consumers = list(_consumers(work, plan, part.channels))
            costs = removal_costs(consumers, part.channels, part.gone) if consumers else None
            for name, ids in part.layers.items():
                found = kernels[name].as_matrix(np.abs(kernels[name].variable))
                if costs is not None:
                    line = costs[np.searchsorted(part.channels, ids)]
                    found = np.broadcast_to(line, kernels[name].matrix_shape)
                judged[name] = found
        now = plan.sets[first:last]
        masks, _ = choose(dataclasses.replace(plan, sets=plan.sets[:last]), judged)
        gone = np.concatenate([part.gone for part in now])
        taken = {axis.layer for axis in plan.map.axes if _takes(axis, gone)}
        for name in work.order(taken):
            mask = masks[name]
            _, reports[name] = work.prune(name, lambda *_, mask=mask: mask, mask)
        for part in now:
            takers = {axis.layer for axis in plan.map.axes if _takes(axis, part.channels)}
            unseen = sorted(n for n in takers if reports.get(n, {}).get("note") == _UNSEEN)
            unfit |= dict.fromkeys(part.layers, unseen) if unseen else {}
        first = last
    for name, unseen in unfit.items():
        reports.setdefault(name, {})["not_refit"] = unseen
    return reports


def _takes(axis: VariableAxis, channels: np.ndarray) -> bool:
    return axis.role == "consumer" and bool(np.isin(axis.channels, channels).any())


def _consumers(
    work: GraphReconstruction, plan: ChannelPlan, channels: np.ndarray
) -> Iterator[Consumer]:
    for axis in plan.map.axes:
        taken = _takes(axis, channels)
        problem = work.problem(axis.layer, lambda scores, _: scores > 0) if taken else None
        if problem is None or len(problem.weights) > 1:
            continue
        lines = work.layers[axis.layer].to_matrix(axis.spread(axis.channels))
        rows, outputs = (
            (values - problem.centres(values))[0] for values in (problem.inputs, problem.outputs)
        )
        yield Consumer(rows, problem.weights[0], problem.importance[0], lines[0, :, 0], outputs)
