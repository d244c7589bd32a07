"""Pruning a model in memory by a specification, once or step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.models import ALL, paper_name, refuse_opaque
from compressor.pruning.channels import ChannelPlan, channel_masks, plan_channels
from compressor.pruning.criteria import Criterion, get_criterion, scores
from compressor.pruning.granularity import Channel, Granularity, parse_granularity
from compressor.pruning.kernels import Kernel, all_kernels, named_kernels, select_kernels
from compressor.pruning.magnitude import check_weights
from compressor.pruning.masks import apply_masks
from compressor.pruning.reconstruction import Reconstructed, Reconstruction, Solver
from compressor.pruning.reconstruction_inputs import Calibration
from compressor.pruning.selection import (
    KeptGroups,
    SparsityNow,
    choose_each,
    choose_global,
    choose_many,
    share_out,
)
from compressor.pruning.spec import PruningSpec

Gradients = Callable[[Sequence[Any]], list[np.ndarray]]
"""Variables -> mean gradients of the loss on calibration data, each of its variable's shape."""


@dataclasses.dataclass(frozen=True)
class Pruning:
    """The result of pruning: masks, and a report of every kernel."""

    masks: Mapping[str, np.ndarray]
    rows: list[dict[str, Any]]
    """a JSON object a kernel: layer, paper_name, shape, parameters, threshold, kept; for channels
    also units and units_kept"""
    left_alone: Mapping[str, str]
    """layers that this granularity cannot prune, and why"""
    warnings: tuple[str, ...]
    """about layers that lost all weights"""
    reconstruction: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """kernel -> how well it makes up for what went, a JSON object; see `Reconstructed`"""

    def describe(self) -> dict[str, Any]:
        """As a JSON object: layers (the rows), and all else that there is any of."""
        more = {
            "reconstruction": {name: dict(found) for name, found in self.reconstruction.items()},
            "left_alone": dict(self.left_alone),
            "warnings": list(self.warnings),
        }
        return {"layers": self.rows, **{name: value for name, value in more.items() if value}}


def density_of(rows: Sequence[Mapping[str, Any]]) -> float:
    """The fraction of the weights that `rows` of a Pruning keep, 0 to 1."""
    return sum(row["kept"] for row in rows) / sum(row["parameters"] for row in rows)


def weight_scores(
    criterion: Criterion, kernels: Mapping[str, Kernel], gradients: Gradients | None = None
) -> dict[str, np.ndarray]:
    """The criterion's scores of `kernels`, each in the shape of `Kernel.as_matrix`.

    Raises ModelError for NaN and infinite weights.
    """
    weights = {name: kernel.numpy() for name, kernel in kernels.items()}
    for values in weights.values():
        check_weights(values)
    found: Mapping[str, np.ndarray | None] = dict.fromkeys(kernels)
    if criterion.needs_gradients:
        assert gradients is not None, "the criterion needs calibration data"
        variables = [kernel.variable for kernel in kernels.values()]
        found = dict(zip(kernels, gradients(variables), strict=True))
    return {
        name: kernels[name].as_matrix(scores(criterion, values, found[name]))
        for name, values in weights.items()
    }


def kernel_row(
    name: str, kernel: Kernel, mask: np.ndarray, threshold: float | None
) -> dict[str, Any]:
    """What a report says of a pruned kernel."""
    return {
        "layer": name,
        "paper_name": paper_name(name),
        "shape": list(kernel.shape),
        "parameters": math.prod(kernel.shape),
        "threshold": threshold,
        "kept": int(np.count_nonzero(mask)),
    }


def masks_of(
    granularity: Granularity, kernels: Mapping[str, Kernel], choices: Mapping[str, KeptGroups]
) -> dict[str, np.ndarray]:
    """The mask of each kernel, bool of its shape, from the groups of its matrix that are kept."""
    return {
        name: kernels[name].from_matrix(granularity.spread(keep, kernels[name].matrix_shape))
        for name, (keep, _) in choices.items()
    }


def what_to_prune(
    model: Any, spec: PruningSpec
) -> tuple[dict[str, Kernel], dict[str, str], ChannelPlan | None]:
    """The kernels that `spec` means, the layers left alone and why, and for channels their plan.

    With channels, coupled layers are pruned too.
    """
    granularity = parse_granularity(spec.granularity)
    selection = select_kernels(model, spec.layers, granularity)
    if not isinstance(granularity, Channel):
        return dict(selection.kernels), dict(selection.left_alone), None
    refuse_opaque(model, "the removal of channels")
    plan = plan_channels(model, selection.kernels, named=ALL not in spec.layers)
    return plan.kernels(model), plan.left_alone(selection.left_alone), plan


class Pruner:
    """Prunes one model by one specification; each call removes more than the one before.

    `gradients` and `calibration` are called only for a criterion that needs them. What `masks` of
    an earlier pruning removed stays removed, also from what is not pruned now. Raises UsageError
    for named layers that cannot be pruned so, ModelError when nothing can be.
    """

    def __init__(
        self,
        model: Any,
        spec: PruningSpec,
        gradients: Gradients | None = None,
        masks: Mapping[str, np.ndarray] | None = None,
        calibration: Callable[[], Calibration] | None = None,
    ) -> None:
        self._model, self._spec, self._gradients = model, spec, gradients
        self._calibration = calibration
        self._granularity = parse_granularity(spec.granularity)
        self._criterion = get_criterion(spec.criterion)
        self._kernels, self.left_alone, self._channels = what_to_prune(model, spec)
        self._held = dict(masks or {})
        self._gone: dict[str, np.ndarray] = {}
        self._thresholds: dict[str, float | None] = {}
        if masks:
            self._remember(masks)
        self._targets = self._find_targets()

    def prune(self, level: SparsityNow = lambda target: target) -> Pruning:
        """Prune to `level` of each target sparsity, and leave the masks on the model."""
        done: Mapping[str, Reconstructed] = {}
        if self._criterion.solve is not None:
            masks, choices, done = self._reconstruct(self._criterion.solve, level)
        else:
            judged = weight_scores(self._criterion, self._kernels, self._gradients)
            if self._channels is not None:
                scope = self._spec.scope
                masks, choices = channel_masks(self._channels, judged, self._targets, level, scope)
            else:
                masks, choices = self._choose(judged, level)
        masks = self._held | self._within_held(masks)
        apply_masks(self._model, masks)
        choices = {name: self._with_threshold(name, choice) for name, choice in choices.items()}
        kernels = self._kernels.items()
        rows = [self._row(name, kernel, masks[name], choices[name]) for name, kernel in kernels]
        lost = [row["layer"] for row in rows if not row["kept"]]
        warnings = tuple(f"all weights of layer {layer} were pruned away" for layer in lost)
        reports = {name: found.report for name, found in done.items()}
        return Pruning(masks, rows, self.left_alone, warnings, reports)

    @property
    def target_density(self) -> float:
        """The fraction of the weights to be kept in the end, 0 to 1."""
        sizes = {name: math.prod(kernel.shape) for name, kernel in self._kernels.items()}
        kept = sum((1 - self._targets[name]) * size for name, size in sizes.items())
        return kept / sum(sizes.values())

    def _find_targets(self) -> dict[str, float]:
        """Kernel -> target sparsity."""
        spec = self._spec
        if not isinstance(spec.sparsity, Mapping):
            return dict.fromkeys(self._kernels, spec.highest_sparsity)
        named = {name: named_kernels(self._model, name) for name in spec.sparsity}
        given: dict[str, float] = {}
        # A kernel's own sparsity takes precedence over that of its layer.
        for name in sorted(named, key=lambda name: -len(named[name])):
            given |= dict.fromkeys(named[name], spec.sparsity[name])
        if self._channels is not None:
            for part in self._channels.sets:
                sparsity = next(given[name] for name in part.layers if name in given)
                given = dict.fromkeys(part.layers, sparsity) | given
        return {name: given[name] for name in self._kernels}

    def _remember(self, masks: Mapping[str, np.ndarray]) -> None:
        kernels = self._kernels.items()
        known = {name: k.as_matrix(masks[name]) for name, k in kernels if name in masks}
        if self._channels is not None:
            self._channels.remember(known)
        else:
            self._gone = {
                name: self._granularity.pool(mask.astype(np.float32)) == 0
                for name, mask in known.items()
            }

    def _choose(
        self, judged: Mapping[str, np.ndarray], level: SparsityNow
    ) -> tuple[dict[str, np.ndarray], dict[str, KeptGroups]]:
        pooled = {name: self._pooled(name, score) for name, score in judged.items()}
        if self._spec.scope == "global":
            choices = choose_global(pooled, level(self._spec.highest_sparsity), self._granularity)
        else:
            targets = {name: level(target) for name, target in self._targets.items()}
            choices = choose_each(pooled, targets, self._granularity)
        for name, choice in choices.items():
            # What was removed before stays so also below the sparsity that it had.
            self._gone[name] = ~choice.keep | self._gone.get(name, False)
        return masks_of(self._granularity, self._kernels, choices), choices

    def _within_held(self, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`masks` without what an earlier pruning removed: a sparsity below that leaves room."""
        return {
            name: mask & self._held[name] if name in self._held else mask
            for name, mask in masks.items()
        }

    def _pooled(self, name: str, score: np.ndarray) -> np.ndarray:
        values = self._granularity.pool(score)
        if name not in self._gone:
            return values
        # What was pruned before stays pruned.
        return np.where(self._gone[name], np.array(-1, values.dtype), values)

    def _reconstruct(
        self, solver: Solver, level: SparsityNow
    ) -> tuple[dict[str, np.ndarray], dict[str, KeptGroups], Mapping[str, Reconstructed]]:
        assert self._calibration is not None, "the criterion needs calibration data"
        if self._channels is not None:
            return self._reconstruct_channels(self._channels, self._calibration(), solver, level)
        work = Reconstruction(self._model, self._kernels, self._calibration(), solver)
        counts: dict[str, int] = {}
        if self._spec.scope == "global":
            # How many stay of each kernel, not yet which.
            judged = work.sensitivities().items()
            pooled = {
                name: self._pooled(name, self._kernels[name].as_matrix(costs))
                for name, costs in judged
            }
            counts = share_out(pooled, level(self._spec.highest_sparsity), self._granularity)

        def keep(name: str, scores: np.ndarray, progress: float) -> np.ndarray:
            values = self._pooled(name, self._kernels[name].as_matrix(scores))
            if counts:
                choice = choose_many(values, counts[name], progress)
            else:
                target = level(self._targets[name]) * progress
                choice = choose_each({name: values}, {name: target}, self._granularity)[name]
            return self._within_held(masks_of(self._granularity, self._kernels, {name: choice}))[
                name
            ]

        done = work.refine(work.run(keep))
        masks = {name: done[name].mask for name in self._kernels}
        kept = {
            name: KeptGroups(self._granularity.pool(kernel.as_matrix(masks[name])) > 0, None)
            for name, kernel in self._kernels.items()
        }
        self._gone = {name: ~choice.keep for name, choice in kept.items()}
        return masks, kept, done

    def _reconstruct_channels(
        self, plan: ChannelPlan, calibration: Calibration, solver: Solver, level: SparsityNow
    ) -> tuple[dict[str, np.ndarray], dict[str, KeptGroups], Mapping[str, Reconstructed]]:
        kernels = all_kernels(self._model)
        work = Reconstruction(self._model, kernels, calibration, solver)
        scores: dict[str, np.ndarray] = {}
        done: dict[str, Reconstructed] = {}
        scope = self._spec.scope
        # Layer after layer, so that the units which those before it still serve well stay; a
        # threshold over all layers needs the scores of all.
        first, sets = 0, len(plan.sets)
        for last in [sets] if scope == "global" else range(1, sets + 1):
            now = dataclasses.replace(plan, sets=plan.sets[first:last])
            judged = work.channel_scores(now).items()
            scores |= {name: kernels[name].as_matrix(found) for name, found in judged}
            so_far = dataclasses.replace(plan, sets=plan.sets[:last])
            masks, choices = channel_masks(so_far, scores, self._targets, level, scope)
            masks = self._within_held(masks)
            gone = np.concatenate([part.gone for part in now.sets])
            narrowed = {
                id(axis.variable)
                for axis in plan.map.axes
                if axis.role == "consumer" and np.isin(axis.channels, gone).any()
            }
            names = [name for name, kernel in kernels.items() if id(kernel.variable) in narrowed]
            done |= work.run(lambda name, *_, masks=masks: masks[name], names, masks)
            first = last
        return masks, choices, work.refine(done)

    def _with_threshold(self, name: str, choice: KeptGroups) -> KeptGroups:
        """Keep the last threshold where only what was already gone was pruned (score -1)."""
        if choice.threshold is not None and choice.threshold < 0:
            return choice._replace(threshold=self._thresholds.get(name))
        self._thresholds[name] = choice.threshold
        return choice

    def _row(
        self, name: str, kernel: Kernel, mask: np.ndarray, choice: KeptGroups
    ) -> dict[str, Any]:
        row = kernel_row(name, kernel, mask, choice.threshold)
        if isinstance(self._granularity, Channel):
            row |= {"units": choice.keep.size, "units_kept": int(choice.keep.sum())}
        return row
