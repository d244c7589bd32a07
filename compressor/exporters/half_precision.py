"""Exporting models of another float type as float32, in which the runtimes compute."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from compressor.data import listed
from compressor.foundation import quiet_tensorflow

_LARGEST_LOSS = 1e-5
"""of the energy of a tensor; rounding to 11 bits loses 1e-7, flushing a value to zero all of its"""


@contextlib.contextmanager
def computing_in_float32(model: Any) -> Iterator[None]:
    """Within, all layers of a built Keras model take and compute in float32.

    Variables keep their types and values, which the layers cast. Afterwards `model` is restored.
    """
    _, keras = quiet_tensorflow.load()
    with contextlib.ExitStack() as changes:
        for layer in model._flatten_layers():
            if is_other_float(layer.compute_dtype):
                policy = keras.dtype_policies.DTypePolicy("float32")
                # Keras casts variables where the two types of a policy differ.
                policy._variable_dtype = layer.variable_dtype
                changes.enter_context(changed(layer, "_dtype_policy", policy))
            casting = [layer] if isinstance(layer, keras.layers.InputLayer) else _own_inputs(layer)
            for owner in casting:
                if is_other_float(owner.dtype):
                    changes.enter_context(changed(owner, "_dtype", "float32"))
        yield


@contextlib.contextmanager
def changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within, an attribute of a Keras object is `value`, set without Keras's own hooks."""
    before = getattr(owner, name)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        object.__setattr__(owner, name, before)


def input_type(tensor: Any) -> str:
    """The type of an input of the model in a file: float32 for any float type."""
    dtype = str(tensor.dtype)
    return "float32" if "float" in dtype else dtype


def notes(model: Any) -> tuple[str, ...]:
    """A sentence for the user where the model computes in another float type, or nothing."""
    types = sorted({str(layer.compute_dtype) for layer in model._flatten_layers()})
    others = [name for name in types if is_other_float(name)]
    if not others:
        return ()
    return (f"The file computes in float32 what the model computes in {listed(others)}.",)


def fits_float16(values: np.ndarray, *, exact: bool = False) -> bool:
    """Whether float16 can hold a weight: no overflow, and little lost near zero.

    `values` are floats of any shape; rounding may lose 1e-5 of the sum of their squares, where it
    is to be `exact` nothing.
    """
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        return False
    full = values.astype(np.float64)
    lost = np.square(half.astype(np.float64) - full).sum()
    return bool(lost <= (0 if exact else _LARGEST_LOSS) * np.square(full).sum())


def is_other_float(dtype: Any) -> bool:
    return "float" in str(dtype) and str(dtype) != "float32"


def _own_inputs(layer: Any) -> list[Any]:
    """The tensors to whose types a model casts its inputs; a Sequential has them inside."""
    return [
        tensor
        for functional in (layer, getattr(layer, "_functional", None))
        for tensor in getattr(functional, "_inputs", None) or []
    ]
