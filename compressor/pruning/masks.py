"""Masks: kept beside the model, and applied to its kernels while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor import _tensorflow
from compressor._arrays import load_arrays, save_arrays
from compressor._files import atomic_path
from compressor.errors import CheckpointError
from compressor.pruning.layers import prunable_layers

Masks = Mapping[str, np.ndarray]
"""Layer name -> bool array of the kernel's shape; a weight under False stays zero."""


def save_masks(path: Path, masks: Masks) -> None:
    """Write the masks as a compressed .npz of bool arrays, named by layer."""
    with atomic_path(path) as temporary:
        save_arrays(temporary, masks)


def load_masks(path: Path) -> dict[str, np.ndarray]:
    """Read masks; raises CheckpointError, in one line, for a file that holds anything else."""
    masks = load_arrays(path)
    for name, mask in masks.items():
        if mask.dtype != np.bool_:
            raise CheckpointError("a mask must be bool", value=f"{name}: {mask.dtype} ({path})")
    return masks


def apply_masks(model: Any, masks: Masks) -> None:
    """Zero the masked weights of `model`, and keep them zero through any `fit` that follows.

    The mask is a constraint on the variable, after the one that the user had, which goes on
    working. Keras forgets constraints of variables on saving, and a train function that was
    already traced ignores them: compile the model after this call.
    Raises CheckpointError when a mask fits no layer of the model.
    """
    tensorflow, _ = _tensorflow.load()
    layers = prunable_layers(model)
    for name, mask in masks.items():
        kernel = layers[name].kernel if name in layers else None
        if kernel is None or tuple(kernel.shape) != mask.shape:
            raise CheckpointError(
                "a mask does not fit the model",
                value=f"{name} {mask.shape}",
                hint="the masks belong to another model",
            )
        kernel.assign(np.where(mask, kernel.numpy(), np.float32(0)))
        inner = kernel.constraint
        if isinstance(inner, MaskConstraint):
            inner = inner.inner
        kernel.constraint = MaskConstraint(tensorflow, mask, inner)


class MaskConstraint:
    """A Keras constraint: the user's own first, then zero wherever the mask is False.

    It is set on a variable only, never on a layer, so that a saved model does not name it
    and stock Keras can load the model. The mask takes one byte a weight.
    """

    def __init__(self, tensorflow: Any, mask: np.ndarray, inner: Any = None) -> None:
        self._tensorflow = tensorflow
        self.mask = tensorflow.constant(mask)
        self.inner = inner

    def __call__(self, weight: Any) -> Any:
        """Return `weight`, constrained and masked."""
        if self.inner is not None:
            weight = self.inner(weight)
        tensor = self._tensorflow.convert_to_tensor(weight)
        return self._tensorflow.where(self.mask, tensor, self._tensorflow.zeros((), tensor.dtype))
