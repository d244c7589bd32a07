"""Pruning kernels that belong to no Keras model, by what they hold alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.models import KernelAxes
from compressor.pruning.criteria import get_criterion, scores
from compressor.pruning.granularity import Channel, parse_granularity
from compressor.pruning.kernels import Kernel
from compressor.pruning.magnitude import check_weights
from compressor.pruning.pruner import Pruning, kernel_row, masks_of
from compressor.pruning.selection import choose_each, choose_global
from compressor.pruning.spec import PruningSpec

GraphKernels = Mapping[str, tuple[np.ndarray, KernelAxes]]
"""Name -> float32 values, and which of their axes are inputs and outputs."""

_KERAS = "give the Keras model"


def prune_kernels(kernels: GraphKernels, spec: PruningSpec) -> Pruning:
    """Masks for these kernels, chosen at once; the kernels are not changed.

    Raises UsageError for channels and for a criterion that needs examples, ModelError where no
    kernel can be pruned so, and for NaN and infinite weights.
    """
    granularity, criterion = parse_granularity(spec.granularity), get_criterion(spec.criterion)
    if isinstance(granularity, Channel):
        what = "channels are removed through the graph of layers"
        raise UsageError(what, value=granularity.name, hint=f"{_KERAS}, or choose weight or 1x16")
    if criterion.calibrated:
        what = "this criterion looks at what layers compute, which takes a Keras model"
        raise UsageError(what, value=spec.criterion, hint=f"{_KERAS}, or choose magnitude")
    whole: dict[str, Any] = {
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
    pooled = {}
    for name, kernel in able.items():
        values = kernels[name][0]
        check_weights(values)
        pooled[name] = granularity.pool(kernel.as_matrix(scores(criterion, values, None)))
    if spec.scope == "global":
        choices = choose_global(pooled, spec.highest_sparsity, granularity)
    else:
        each = spec.sparsity if isinstance(spec.sparsity, Mapping) else {}
        wanted = {name: each.get(name, spec.highest_sparsity) for name in pooled}
        choices = choose_each(pooled, wanted, granularity)
    masks = masks_of(granularity, able, choices)
    rows = [kernel_row(name, able[name], masks[name], choices[name]) for name in able]
    lost = [row["layer"] for row in rows if not row["kept"]]
    warnings = tuple(f"all weights of layer {layer} were pruned away" for layer in lost)
    return Pruning(masks, rows, left, warnings)
