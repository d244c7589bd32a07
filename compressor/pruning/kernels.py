"""The kernels of a model that can be pruned, and resolving the user's names for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.models import ALL, PAPER_NAMES, all_layers, refuse_name
from compressor.pruning.granularity import Granularity

# Layer class -> its prunable variables, and whether each is a matrix over the input's channels:
# (..., inputs, outputs). Only those have blocks and n:m groups along the input.
_KINDS: Mapping[str, tuple[tuple[str, bool], ...]] = {
    "Dense": (("kernel", True),),
    "Conv1D": (("kernel", True),),
    "Conv2D": (("kernel", True),),
    "DepthwiseConv1D": (("kernel", False),),
    "DepthwiseConv2D": (("kernel", False),),
    "SeparableConv1D": (("pointwise_kernel", True), ("depthwise_kernel", False)),
    "SeparableConv2D": (("pointwise_kernel", True), ("depthwise_kernel", False)),
    "Embedding": (("embeddings", False),),
    "LSTM": (("kernel", False), ("recurrent_kernel", False)),
    "GRU": (("kernel", False), ("recurrent_kernel", False)),
}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A variable that can be pruned."""

    name: str
    """the layer's path; a layer's further kernels are LAYER:VARIABLE"""
    layer_name: str
    layer: Any
    variable: Any
    is_matrix: bool
    """whether its last two axes are (inputs, outputs)"""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the variable."""
        return tuple(self.variable.shape)

    def numpy(self) -> np.ndarray:
        """The values, as the layer keeps them; bfloat16, which numpy does not know, as float32."""
        values = np.asarray(self.variable.numpy())
        return values if values.dtype.kind == "f" else values.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The kernels that will be pruned, and the layers that are left alone."""

    kernels: Mapping[str, Kernel]
    left_alone: Mapping[str, str]
    """layer -> why"""


def all_kernels(model: Any) -> dict[str, Kernel]:
    """Every kernel of the model that single weights can be pruned from, frozen ones too.

    Dense, Conv1D, Conv2D, their depthwise and separable forms, Embedding, LSTM and GRU. A layer
    with several kernels has its first under its own name, the others as LAYER:VARIABLE.
    """
    found = {}
    for name, layer in all_layers(model).items():
        for number, (attribute, is_matrix) in enumerate(kernel_variables(layer)):
            key = f"{name}:{attribute}" if number else name
            found[key] = Kernel(key, name, layer, variable_of(layer, attribute), is_matrix)
    return found


def kernel_variables(layer: Any) -> tuple[tuple[str, bool], ...]:
    """The names of the prunable variables of `layer`, and whether each is a matrix."""
    module = type(layer).__module__ or ""
    return _KINDS.get(type(layer).__name__, ()) if module.startswith("keras.") else ()


def variable_of(layer: Any, name: str) -> Any:
    """The variable `name` of a layer; raises KeyError. Recurrent layers keep theirs in a cell."""
    for variable in layer.weights:
        if variable.name == name:
            return variable
    raise KeyError(name)


def variable_at(model: Any, key: str) -> Any:
    """The variable that a mask's key means, LAYER or LAYER:VARIABLE; None if there is none."""
    path, _, attribute = key.partition(":")
    layer = all_layers(model).get(path)
    if layer is None:
        return None
    if not attribute:
        kinds = kernel_variables(layer)
        attribute = kinds[0][0] if kinds else ""
    try:
        return variable_of(layer, attribute)
    except KeyError:
        return None


def select_kernels(model: Any, names: Sequence[str], granularity: Granularity) -> Selection:
    """The kernels that `names` mean: layers, kernels, the paper's names (`w_fc1`), or `all`.

    With `all`, a layer that cannot be pruned in this granularity is left alone, with the reason.
    Raises UsageError where the user named such a layer, or an unknown one (with the nearest names);
    ModelError when nothing can be pruned.
    """
    if not names:
        raise UsageError("no layer named", hint="give layer names or 'all'")
    kernels = all_kernels(model)
    reasons = {kernel.name: _reason(kernel, granularity) for kernel in kernels.values()}
    able = {name: kernel for name, kernel in kernels.items() if reasons[name] is None}
    if not kernels:
        raise ModelError(
            "the model has no layer whose kernel can be pruned",
            value=model.name,
            hint="Dense, convolutions, Embedding, LSTM and GRU can be",
        )
    if not any(kernel.variable.trainable for kernel in kernels.values()):
        raise ModelError(
            "the model has no trainable kernel: all its layers are frozen",
            value=model.name,
            hint="set trainable = True on those to prune, and save it again",
        )
    for name in names:
        if name != ALL:
            _named(model, name, kernels)
    if ALL in names:
        if not able:
            name, reason = next((n, r) for n, r in reasons.items() if r is not None)
            raise ModelError(
                f"no layer of the model can be pruned as {granularity.name}",
                value=f"{name}: {reason}",
                hint="choose another granularity",
            )
        left = {name: reason for name, reason in reasons.items() if reason is not None}
        return Selection(able, left | _unknown_layers(model))
    wanted = set()
    for name in names:
        named = [kernel.name for kernel in _named(model, name, kernels)]
        if not any(kernel in able for kernel in named):
            raise UsageError(
                f"this layer cannot be pruned as {granularity.name}",
                value=f"{named[0]}: {reasons[named[0]]}",
                hint=f"choose from {', '.join(able)}" if able else "choose another granularity",
            )
        wanted |= {kernel for kernel in named if kernel in able}
    return Selection({name: k for name, k in kernels.items() if name in wanted}, {})


def layer_of_name(model: Any, name: str) -> str:
    """The path of the layer that a user's name means; raises UsageError with the nearest names."""
    return _named(model, name, all_kernels(model))[0].layer_name


def _named(model: Any, name: str, kernels: Mapping[str, Kernel]) -> list[Kernel]:
    if ":" in name and name in kernels:
        return [kernels[name]]
    layer = name if name in all_layers(model) else PAPER_NAMES.get(name, name)
    found = [kernel for kernel in kernels.values() if kernel.layer_name == layer]
    if not found:
        refuse_name(name, model, list(kernels))
    return found


def _reason(kernel: Kernel, granularity: Granularity) -> str | None:
    if not kernel.variable.trainable:
        return "it is frozen"
    return granularity.reason(kernel.shape, kernel.is_matrix)


def _unknown_layers(model: Any) -> dict[str, str]:
    """Layers with weights of two or more axes that no granularity handles."""
    return {
        name: f"{type(layer).__name__} layers are not pruned"
        for name, layer in all_layers(model).items()
        if not kernel_variables(layer)
        and type(layer).__name__ not in ("BatchNormalization", "Normalization")
        and any(len(variable.shape) > 1 for variable in layer.trainable_weights)
    }
