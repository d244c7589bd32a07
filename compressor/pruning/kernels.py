"""The prunable kernels of a model, and resolving the user's names for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.models import ALL, PAPER_NAMES, all_layers, refuse_name
from compressor.pruning.granularity import Granularity

# Layer class -> its prunable variables, and whether each is a matrix (..., inputs, outputs); only
# those have blocks and n:m groups.
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
    """the layer's path for its first kernel, else LAYER:VARIABLE"""
    layer_name: str
    layer: Any
    variable: Any
    is_matrix: bool
    """whether its last two axes are (inputs, outputs)"""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    def numpy(self) -> np.ndarray:
        """The values; bfloat16, which numpy does not know, as float32."""
        values = np.asarray(self.variable.numpy())
        return values if values.dtype.kind == "f" else values.astype(np.float32)


class Selection(NamedTuple):
    """The kernels to prune, and the layers that are left alone."""

    kernels: Mapping[str, Kernel]
    left_alone: Mapping[str, str]
    """layer -> why"""


def all_kernels(model: Any) -> dict[str, Kernel]:
    """Every prunable kernel of the model by `Kernel.name`, frozen ones too.

    Of Dense, Conv1D, Conv2D, their depthwise and separable variants, Embedding, LSTM and GRU.
    """
    found = {}
    for name, layer in all_layers(model).items():
        for number, (attribute, is_matrix) in enumerate(kernel_variables(layer)):
            key = f"{name}:{attribute}" if number else name
            found[key] = Kernel(key, name, layer, _variables(layer)[attribute], is_matrix)
    return found


def kernel_variables(layer: Any) -> tuple[tuple[str, bool], ...]:
    """The names of the prunable variables of `layer`, and whether each is a matrix."""
    module = type(layer).__module__ or ""
    return _KINDS.get(type(layer).__name__, ()) if module.startswith("keras.") else ()


def _variables(layer: Any) -> dict[str, Any]:
    """Name -> the first variable of that name, also those in the cell of a recurrent layer."""
    return {variable.name: variable for variable in reversed(layer.weights)}


def variable_at(model: Any, key: str) -> Any:
    """The variable that a mask's key means, LAYER or LAYER:VARIABLE; None if there is none."""
    path, _, attribute = key.partition(":")
    layer = all_layers(model).get(path)
    if layer is None:
        return None
    if not attribute:
        kinds = kernel_variables(layer)
        attribute = kinds[0][0] if kinds else ""
    return _variables(layer).get(attribute)


def select_kernels(model: Any, names: Sequence[str], granularity: Granularity) -> Selection:
    """The kernels that `names` mean: layers, kernels, the paper's names (`w_fc1`), or `all`.

    With `all`, layers that this granularity cannot prune are left alone, with the reason. Raises
    UsageError where such a layer is named, or an unknown one (with the nearest names); ModelError
    when nothing can be pruned.
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
    """The path of the layer that a name means. Raises UsageError with the nearest names."""
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
