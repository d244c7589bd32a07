"""Pruning kernels that belong to no Keras model, by what they hold alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.models import KernelAxes
from compressor.pruning.criteria import get_criterion, scores
from compressor.pruning.granularity import Channel, Granularity, parse_granularity
from compressor.pruning.kernels import Kernel
from compressor.pruning.magnitude import check_weights
from compressor.pruning.pruner import Pruning, kernel_row, masks_of
from compressor.pruning.selection import choose_each, choose_global
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

    @classmethod
    def of(cls, kernels: GraphKernels, spec: PruningSpec) -> KernelMasks:
        """Raises UsageError for channels, ModelError where no kernel can be pruned so."""
        granularity = parse_granularity(spec.granularity)
        if isinstance(granularity, Channel):
            what = "channels are removed through the graph of layers"
            hint = f"{_KERAS}, or choose weight or 1x16"
            raise UsageError(what, value=granularity.name, hint=hint)
        whole = {
            name: Kernel(name, name, name, None, values, axes)
            for name, (values, axes) in kernels.items()
        }
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
        pooled = {name: self.granularity.pool(self.kernels[name].as_matrix(scores))}
        choices = choose_each(pooled, {name: progress * self.sparsity(name)}, self.granularity)
        return masks_of(self.granularity, self.kernels, choices)[name]

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

    Raises UsageError for channels and for a criterion that needs examples, ModelError where no
    kernel can be pruned so, and for NaN and infinite weights.
    """
    criterion, masks = get_criterion(spec.criterion), KernelMasks.of(kernels, spec)
    if criterion.calibrated:
        what = "this criterion needs gradients, or is of your own, which takes a Keras model"
        raise UsageError(what, value=spec.criterion, hint=f"{_KERAS}, or choose magnitude")
    pooled = {
        name: masks.granularity.pool(kernel.as_matrix(scores(criterion, kernels[name][0], None)))
        for name, kernel in masks.kernels.items()
    }
    if spec.scope == "global":
        choices = choose_global(pooled, spec.highest_sparsity, masks.granularity)
    else:
        wanted = {name: masks.sparsity(name) for name in pooled}
        choices = choose_each(pooled, wanted, masks.granularity)
    thresholds = {name: choice.threshold for name, choice in choices.items()}
    return masks.result(masks_of(masks.granularity, masks.kernels, choices), thresholds, {})
