"""Which weights of a model go, and how they stay away."""

from compressor.pruning.layers import paper_name, prunable_layers, resolve_layers
from compressor.pruning.magnitude import (
    PrunedKernel,
    check_sparsity,
    kept_weights,
    magnitude_prune,
)
from compressor.pruning.masks import Masks, apply_masks, load_masks, save_masks

__all__ = [
    "Masks",
    "PrunedKernel",
    "apply_masks",
    "check_sparsity",
    "kept_weights",
    "load_masks",
    "magnitude_prune",
    "paper_name",
    "prunable_layers",
    "resolve_layers",
    "save_masks",
]
