"""Pruning kernels that belong to no Keras model, by what they hold alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.models import KernelAxes
from compressor.pruning.channels import ChannelPlan, channel_masks
from compressor.pruning.criteria import get_criterion, scores
from compressor.pruning.granularity import Channel, Granularity, parse_granularity
from compressor.pruning.kernels import Kernel
from compressor.pruning.magnitude import check_weights
from compressor.pruning.pruner import Pruning, kernel_row, masks_of
from compressor.pruning.selection import (
    KeptGroups,
    choose_each,
    choose_global,
    choose_many,
    share_out,
)
from compressor.pruning.spec import PruningSpec

GraphKernels = Mapping[str, tuple[np.ndarray, KernelAxes]]
"""Name -> float32 values, and which of their axes are inputs and outputs."""

_KERAS = "give the Keras model"


@dataclasses.dataclass(frozen=True)
class KernelMasks:
    """Which weights of bare kernels stay, by their scores."""

    kernels: Mapping[str, Kernel]
    """those that the granularity can prune"""
    left_alone: Mapping[str, str]
    """the others, and why"""
    granularity: Granularity
    spec: PruningSpec
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """how many groups stay, where that is decided"""

    @classmethod
    def of(cls, kernels: GraphKernels, spec: PruningSpec) -> KernelMasks:
        """Raises ModelError where no kernel can be pruned so."""
        granularity = parse_granularity(spec.granularity)
        whole = wrapped(kernels)
        why = {name: granularity.reason(k.matrix_shape, k.is_matrix) for name, k in whole.items()}
        able = {name: kernel for name, kernel in whole.items() if why[name] is None}
        left = {name: reason for name, reason in why.items() if reason is not None}
        if not able:
            name, reason = next(iter(left.items()))
            what = f"no layer of the model can be pruned as {granularity.name}"
            raise ModelError(what, value=f"{name}: {reason}", hint="choose another granularity")
        for name in able:
            check_weights(kernels[name][0])
        return cls(able, left, granularity, spec)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.kernels)

    def sparsity(self, name: str) -> float:
        each = self.spec.sparsity if isinstance(self.spec.sparsity, Mapping) else {}
        return each.get(name, self.spec.highest_sparsity)

    def choose(self, name: str, scores: np.ndarray, progress: float) -> np.ndarray:
        """The mask of one kernel at a part of its sparsity, by scores of its shape."""
        pooled = self.granularity.pool(self.kernels[name].as_matrix(scores))
        if name in self.counts:
            choice = choose_many(pooled, self.counts[name], progress)
        else:
            wanted = {name: progress * self.sparsity(name)}
            choice = choose_each({name: pooled}, wanted, self.granularity)[name]
        return masks_of(self.granularity, self.kernels, {name: choice})[name]

    def shared_out(self, scores: Mapping[str, np.ndarray]) -> KernelMasks:
        """The same, but each kernel keeps as many as `share_out` leaves it."""
        pooled = {
            name: self.granularity.pool(kernel.as_matrix(scores[name]))
            for name, kernel in self.kernels.items()
        }
        counts = share_out(pooled, self.spec.highest_sparsity, self.granularity)
        return dataclasses.replace(self, counts=counts)

    def result(
        self,
        masks: Mapping[str, np.ndarray],
        thresholds: Mapping[str, float | None],
        reports: Mapping[str, Mapping[str, Any]],
    ) -> Pruning:
        rows = [
            kernel_row(name, kernel, masks[name], thresholds.get(name))
            for name, kernel in self.kernels.items()
        ]
        lost = [row["layer"] for row in rows if not row["kept"]]
        warnings = tuple(f"all weights of layer {layer} were pruned away" for layer in lost)
        return Pruning(masks, rows, self.left_alone, warnings, reports)


def prune_kernels(kernels: GraphKernels, spec: PruningSpec) -> Pruning:
    """Masks for these kernels, chosen at once; the kernels are not changed.

    Raises UsageError for channels, which `prune_channels` removes, and for a criterion that needs
    examples, ModelError where no kernel can be pruned so, and for NaN and infinite weights.
    """
    if isinstance(parse_granularity(spec.granularity), Channel):
        raise UsageError("channels are removed through a graph", value=spec.granularity)
    masks = KernelMasks.of(kernels, spec)
    judged = bare_scores(masks.kernels, spec)
    pooled = {name: masks.granularity.pool(found) for name, found in judged.items()}
    if spec.scope == "global":
        choices = choose_global(pooled, spec.highest_sparsity, masks.granularity)
    else:
        wanted = {name: masks.sparsity(name) for name in pooled}
        choices = choose_each(pooled, wanted, masks.granularity)
    thresholds = {name: choice.threshold for name, choice in choices.items()}
    return masks.result(masks_of(masks.granularity, masks.kernels, choices), thresholds, {})


def prune_channels(
    kernels: GraphKernels,
    plan: ChannelPlan,
    spec: PruningSpec,
    remove: Callable[[ChannelPlan, Mapping[str, Kernel], ChannelChooser], Mapping[str, Any]]
    | None = None,
) -> Pruning:
    """Choose channels of a plan, whose sets know what is `gone` then; the kernels stay unchanged.

    `remove` does that by what it sees of the layers, and returns a report of each; without it the
    scores of the criterion choose. Raises as `prune_kernels` does.
    """
    names = [name for part in plan.sets for name in part.layers]
    producers = wrapped({name: kernels[name] for name in names})
    for name in names:
        check_weights(kernels[name][0])
    chooser = ChannelChooser(spec)
    reports: Mapping[str, Any] = {}
    if remove is None:
        masks, choices = chooser(plan, bare_scores(producers, spec))
    else:
        reports = remove(plan, producers, chooser)
        masks, choices = chooser.last
    rows = []
    for name, kernel in producers.items():
        keep = choices[name].keep
        row = kernel_row(name, kernel, masks[name], choices[name].threshold)
        rows.append(row | {"units": keep.size, "units_kept": int(keep.sum())})
    others = {
        name: str(Channel().reason(kernel.matrix_shape, kernel.is_matrix))
        for name, kernel in wrapped(kernels).items()
        if not kernel.is_matrix
    }
    return Pruning(masks, rows, plan.left_alone(others), (), reports)


class ChannelChooser:
    """Chooses channels of a plan by scores of the weights that make them, as matrices."""

    def __init__(self, spec: PruningSpec) -> None:
        self._spec = spec
        self.last: tuple[dict[str, np.ndarray], dict[str, KeptGroups]]

    def __call__(
        self, plan: ChannelPlan, judged: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, KeptGroups]]:
        """The masks of all constants by name, and the choice in each kernel."""
        spec = self._spec
        each = spec.sparsity if isinstance(spec.sparsity, Mapping) else {}
        wanted = {
            name: each.get(name, spec.highest_sparsity)
            for part in plan.sets
            for name in part.layers
            if name in each or not each
        }
        self.last = channel_masks(plan, judged, wanted, lambda target: target, spec.scope)
        return self.last


def bare_scores(kernels: Mapping[str, Kernel], spec: PruningSpec) -> dict[str, np.ndarray]:
    """The criterion's scores, as matrices; UsageError for one that needs examples."""
    criterion = get_criterion(spec.criterion)
    if criterion.calibrated:
        what = "this criterion needs gradients, or is of your own, which takes a Keras model"
        raise UsageError(what, value=spec.criterion, hint=f"{_KERAS}, or choose magnitude")
    return {
        name: kernel.as_matrix(scores(criterion, kernel.variable, None))
        for name, kernel in kernels.items()
    }


def wrapped(kernels: GraphKernels) -> dict[str, Kernel]:
    """Bare kernels as those of a model."""
    return {
        name: Kernel(name, name, name, None, values, axes)
        for name, (values, axes) in kernels.items()
    }
