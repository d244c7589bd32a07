"""Masks: their files, and applying them to a model in training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import load_arrays, save_arrays
from compressor.errors import CheckpointError
from compressor.foundation import atomic_path, quiet_tensorflow
from compressor.pruning.kernels import all_kernels, weights_by_key

Masks = Mapping[str, np.ndarray]
"""Name -> bool array of the variable's shape; a weight under False stays zero.

PATH means a layer's kernel, PATH:VARIABLE another variable, such as the bias of a channel. A layer
inside another has a path, too: attention/query.
"""
_NOTABLE = 0.1
"""Of a kernel: so many zeros are no accident."""


def save_masks(path: Path, masks: Masks) -> None:
    """Write the masks as a compressed .npz of bool arrays, named by layer."""
    with atomic_path(path) as temporary:
        save_arrays(temporary, masks)


def load_masks(path: Path) -> dict[str, np.ndarray]:
    """Read masks. Raises CheckpointError for a file that holds anything else."""
    masks = load_arrays(path)
    for name, mask in masks.items():
        if mask.dtype != np.bool_:
            raise CheckpointError("a mask must be bool", value=f"{name}: {mask.dtype} ({path})")
    return masks


def apply_masks(model: Any, masks: Masks) -> None:
    """Zero the masked weights of `model`, and keep them zero through any `fit` that follows.

    The mask is a constraint on the variable, applied after the user's own. Keras does not save
    constraints of variables, and a traced train function ignores new ones: compile the model after
    the first call. Later calls with other masks take effect in a traced function, too. It holds
    under any Keras optimizer, also where the weights' moving average takes their place (`use_ema`),
    and for layers that are frozen now and trained later. Masks are bool, arrays or nested lists.
    Raises CheckpointError when a mask is of numbers, or does not fit the model.
    """
    tensorflow, _ = quiet_tensorflow.load()
    for variable, mask in masked_variables(model, masks):
        values = variable.numpy()
        variable.assign(np.where(mask, values, values.dtype.type(0)))
        if isinstance(variable.constraint, MaskConstraint):
            variable.constraint.mask.assign(mask)
        else:
            variable.constraint = MaskConstraint(tensorflow, mask, variable.constraint)


def masked_variables(model: Any, masks: Masks) -> list[tuple[Any, np.ndarray]]:
    """Each masked variable with its mask. Raises CheckpointError when a mask does not fit, or is
    of numbers."""
    found = []
    weights = weights_by_key(model) if masks else {}
    for name, given in masks.items():
        try:
            mask = np.asarray(given)
        except ValueError as error:  # lists of several lengths
            raise CheckpointError("a mask is no array", value=f"{name} ({error})") from error
        variable = weights.get(name)
        if mask.dtype != np.bool_:
            hint = "True is kept: mask.astype(bool)"
            raise CheckpointError("a mask must be bool", value=f"{name}: {mask.dtype}", hint=hint)
        if variable is None or tuple(variable.shape) != mask.shape:
            raise CheckpointError(
                "a mask does not fit the model",
                value=f"{name} {mask.shape}",
                hint="the masks belong to another model",
            )
        found.append((variable, mask))
    return found


def zeros_to_keep(model: Any, known: Masks | None = None) -> dict[str, np.ndarray]:
    """Masks of what was pruned from the trained weights of `model` before it came here.

    It is what the `known` masks say, those of the step that made it; of other kernels the zeros,
    where these are a tenth or more. But not of zeros alone, which no training has changed yet, nor
    where the kernel's own constraint makes them. Raises CheckpointError when `known` do not fit.
    """
    known = known or {}
    pairs = zip(known, masked_variables(model, known), strict=True)
    found = {name: mask for name, (variable, mask) in pairs if variable.trainable}
    for name, kernel in all_kernels(model).items():
        if name in known or not kernel.variable.trainable:
            continue
        mask = kernel.numpy() != 0
        if _has_notable_zeros(mask) and mask.any() and not _makes_zeros(kernel.variable):
            found[name] = mask
    return {name: mask for name, mask in found.items() if not mask.all()}


def _has_notable_zeros(values: np.ndarray) -> bool:
    return bool(np.count_nonzero(values) <= (1 - _NOTABLE) * values.size)


def _makes_zeros(variable: Any) -> bool:
    """Whether its own constraint makes zeros of what is none, as NonNeg does."""
    if variable.constraint is None:
        return False
    tensorflow, _ = quiet_tensorflow.load()
    drawn = np.random.default_rng(0).standard_normal(variable.shape)
    made = variable.constraint(tensorflow.cast(drawn, variable.dtype))
    return _has_notable_zeros(np.asarray(made))


def zeros_kept(model: Any, masks: Masks) -> list[dict[str, Any]]:
    """A row for each kernel that `masks` hold zeros of: layer, parameters, zeros."""
    kernels = all_kernels(model)
    return [
        {"layer": name, "parameters": mask.size, "zeros": int(mask.size - np.count_nonzero(mask))}
        for name, mask in masks.items()
        if name in kernels
    ]


def remove_masks(model: Any) -> None:
    """Restore the constraints from before `apply_masks`."""
    for variable in model.variables:
        if isinstance(variable.constraint, MaskConstraint):
            variable.constraint = variable.constraint.inner


class MaskConstraint:
    """A Keras constraint: the user's own first, then zero wherever the mask is False.

    Set on variables, never on layers, so that a saved model does not name it and stock Keras can
    load it. The mask takes one byte a weight.
    """

    def __init__(self, tensorflow: Any, mask: np.ndarray, inner: Any = None) -> None:
        self._tensorflow = tensorflow
        self.mask = tensorflow.Variable(mask, trainable=False, name="mask")
        self.inner = inner

    def __call__(self, weight: Any) -> Any:
        self._mask_average(weight, sys._getframe(1).f_locals.get("self"))
        return self._masked(weight if self.inner is None else self.inner(weight))

    def _mask_average(self, weight: Any, caller: Any) -> None:
        """Mask the average that an optimizer keeps of the variable `weight` (`use_ema`).

        It is updated before constraints are applied, and takes the weights' place without them.
        A constraint is not told which optimizer calls it, and it may be one inside another, or
        that of an outer model; `caller` is the object whose method does.
        """
        if getattr(caller, "use_ema", False):
            place = caller._get_variable_index(weight)
            average = caller._model_variables_moving_average[place]
            average.assign(self._masked(average))

    def _masked(self, weight: Any) -> Any:
        tensor = self._tensorflow.convert_to_tensor(weight)
        return self._tensorflow.where(self.mask, tensor, self._tensorflow.zeros((), tensor.dtype))
