"""The prunable weights of a model, and resolving the user's names for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.models import (
    ALL,
    PAPER_NAMES,
    KernelAxes,
    LayerWeight,
    all_layers,
    count_nonzeros,
    kernels_of,
    layer_weights,
    refuse_name,
)
from compressor.pruning.granularity import Channel, Granularity

FROZEN = "it is frozen"
_ON_REQUEST = "pruned only where it is named"
_NO_KERNEL = KernelAxes((), ())


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A variable that can be pruned."""

    name: str
    """the path of its layer for its first kernel, else PATH:VARIABLE"""
    layer_name: str
    """path of the layer that it belongs to, which may lie inside another: attention/query"""
    outer: str
    """path of the outermost layer: attention"""
    layer: Any
    variable: Any
    axes: KernelAxes

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it has inputs that are summed over, and outputs: blocks and n:m groups need it"""
        return self.axes.is_matrix

    @property
    def nonzeros(self) -> int:
        """How many of its values are not zero."""
        return count_nonzeros(self.variable)

    def numpy(self) -> np.ndarray:
        """The values; bfloat16, which numpy does not know, as float32."""
        values = np.asarray(self.variable.numpy())
        return values if values.dtype.kind == "f" else values.astype(np.float32)

    def as_matrix(self, values: np.ndarray) -> np.ndarray:
        """An array of the kernel's shape -> (*others, inputs, outputs); as it is if no matrix.

        Several axes of inputs, or outputs, become one: the kernel (heads, size, units) of an
        attention's output is (heads * size, units).
        """
        if not self.is_matrix:
            return values
        return np.ascontiguousarray(values.transpose(self._order).reshape(self.matrix_shape))

    def from_matrix(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `as_matrix`."""
        if not self.is_matrix:
            return values
        apart = values.reshape([self.shape[axis] for axis in self._order])
        return np.ascontiguousarray(apart.transpose(np.argsort(self._order)))

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """That of `as_matrix`."""
        if not self.is_matrix:
            return self.shape
        others = self._order[: len(self.shape) - len(self.axes.inputs) - len(self.axes.outputs)]
        parts = (*((axis,) for axis in others), self.axes.inputs, self.axes.outputs)
        return tuple(math.prod(self.shape[axis] for axis in part) for part in parts)

    @property
    def _order(self) -> list[int]:
        inputs, outputs = self.axes
        others = [axis for axis in range(len(self.shape)) if axis not in (*inputs, *outputs)]
        return [*others, *inputs, *outputs]


class Selection(NamedTuple):
    """The kernels to prune, and what is left alone."""

    kernels: Mapping[str, Kernel]
    left_alone: Mapping[str, str]
    """kernel -> why"""


def all_kernels(model: Any) -> dict[str, Kernel]:
    """Every kernel of the model by `Kernel.name`, frozen ones too: see `kernels_of`."""
    return {name: _kernel(name, w) for name, w in kernels_of(layer_weights(model)).items()}


def _on_request(model: Any) -> dict[str, Kernel]:
    """Weights that are no kernels but may be pruned by name, as PATH:VARIABLE.

    The slopes of PReLU, the waves of STFTSpectrogram, and what a layer of the user's adds or scales
    by, if it has two axes.
    """
    found = {}
    for weight in layer_weights(model):
        kind = type(weight.layer)
        known = kind.__name__ in ("PReLU", "STFTSpectrogram")
        own = not kind.__module__.startswith("keras.") and len(weight.variable.shape) > 1
        if weight.axes is None and (known or own) and _is_trained(weight):
            name = f"{weight.path}:{weight.name}"
            found[name] = _kernel(name, weight)
    return found


def _is_trained(weight: LayerWeight) -> bool:
    return any(weight.variable is own for own in weight.layer.trainable_weights)


def _kernel(name: str, weight: LayerWeight) -> Kernel:
    axes = weight.axes or _NO_KERNEL
    return Kernel(name, weight.path, weight.outer, weight.layer, weight.variable, axes)


def weights_by_key(model: Any) -> dict[str, Any]:
    """Every key of a mask -> its variable: PATH the first kernel, PATH:VARIABLE any weight."""
    weights = layer_weights(model)
    first = {name: weight.variable for name, weight in kernels_of(weights).items()}
    return {f"{weight.path}:{weight.name}": weight.variable for weight in weights} | first


def select_kernels(model: Any, names: Sequence[str], granularity: Granularity) -> Selection:
    """The kernels that `names` mean: layers, kernels, the paper's names (`w_fc1`), or `all`.

    A layer means all kernels in it. With `all`, those that this granularity cannot prune are left
    alone, with the reason, and weights that are no kernels. Raises UsageError where such a layer is
    named, or an unknown one (with the nearest names); ModelError when nothing can be pruned.
    """
    if not names:
        raise UsageError("no layer named", hint="give layer names or 'all'")
    kernels, others = all_kernels(model), _on_request(model)
    reasons = {k.name: _reason(k, granularity) for k in (*kernels.values(), *others.values())}
    able = {name: kernel for name, kernel in kernels.items() if reasons[name] is None}
    if not kernels:
        raise ModelError(
            "the model has no layer whose kernel can be pruned",
            value=model.name,
            hint="Dense, convolutions, attention, recurrent layers and Embedding can be",
        )
    if not any(kernel.variable.trainable for kernel in kernels.values()):
        raise ModelError(
            "the model has no trainable kernel: all its layers are frozen",
            value=model.name,
            hint="set trainable = True on those to prune, and save it again",
        )
    for name in names:
        if name != ALL:
            _named(model, name, kernels, others)
    if ALL in names:
        if not able:
            name, reason = next((n, reasons[n]) for n in kernels)
            raise ModelError(
                f"no layer of the model can be pruned as {granularity.name}",
                value=f"{name}: {reason}",
                hint="choose another granularity",
            )
        left = {name: why for name in kernels if (why := reasons[name]) is not None}
        left |= dict.fromkeys(others, _ON_REQUEST)
    else:
        left = {}
    wanted: dict[str, Kernel] = {} if ALL not in names else dict(able)
    for name in names:
        if name == ALL:
            continue
        named = _named(model, name, kernels, others)
        fitting = {kernel.name: kernel for kernel in named if reasons[kernel.name] is None}
        if not fitting and ALL not in names:
            raise UsageError(
                f"this layer cannot be pruned as {granularity.name}",
                value=f"{named[0].name}: {reasons[named[0].name]}",
                hint=f"choose from {', '.join(able)}" if able else "choose another granularity",
            )
        wanted |= fitting
        # Others of the layer's kernels may not fit.
        left |= {kernel.name: why for kernel in named if (why := reasons[kernel.name]) is not None}
    order = {name: k for name, k in (kernels | others).items() if name in wanted}
    return Selection(order, {name: why for name, why in left.items() if name not in wanted})


def named_kernels(model: Any, name: str) -> list[str]:
    """The names of the kernels that a name means. Raises UsageError with the nearest names."""
    return [k.name for k in _named(model, name, all_kernels(model), _on_request(model))]


def _named(
    model: Any, name: str, kernels: Mapping[str, Kernel], others: Mapping[str, Kernel]
) -> list[Kernel]:
    """A kernel by its own name, or all that lie in a layer; its other weights if none does."""
    for found in (kernels, others):
        if ":" in name and name in found:
            return [found[name]]
    layer = name if name in all_layers(model) else PAPER_NAMES.get(name, name)
    for found in (kernels, others):
        inside = [kernel for kernel in found.values() if _lies_in(kernel, layer)]
        if inside:
            return inside
    refuse_name(name, model, list(kernels))


def _lies_in(kernel: Kernel, layer: str) -> bool:
    outer, inner = f"{kernel.outer}/", f"{kernel.layer_name}/"
    return inner.startswith(f"{layer}/") and f"{layer}/".startswith(outer)


def _reason(kernel: Kernel, granularity: Granularity) -> str | None:
    if not kernel.variable.trainable:
        return FROZEN
    # The outputs of a recurrent layer's kernel are gates.
    gated = isinstance(granularity, Channel) and hasattr(kernel.layer, "state_size")
    return granularity.reason(kernel.matrix_shape, kernel.is_matrix and not gated)
