"""The weights of a model by name, and which of them are kernels: what a layer multiplies with.

Wherever a kernel matters, in pruning, in counting MACs, in a report, it is found here: by the
variables of the layers, those inside other layers included, and by how a layer uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from compressor.foundation import quiet_tensorflow
from compressor.models.layers import all_layers, is_weight, numbered
from compressor.models.tracing import graph_of

_ADDED = re.compile(
    r"(?:^|_)(?:alpha|b|beta|bias|biases|factor|gamma|gain|mask|mean|norm|offset|pos|positions?"
    r"|positional|scales?|shift|slopes?|std|temperature|tokens?|variance)(?:_|\d|$)"
)
"""Names of what a layer of the user's adds or scales by, rather than multiplies matrices with."""
_LISTS = ("_layers", "_trainable_variables", "_non_trainable_variables")
"""Keras's own lists of all parts of a layer; TensorFlow's begin with _self_."""


class KernelAxes(NamedTuple):
    """The axes of a kernel; any other is a window's, or one that a layer keeps apart."""

    inputs: tuple[int, ...]
    """those that are summed over; empty for a table such as Embedding's, and where each input has
    an output of its own, as in depthwise convolutions"""
    outputs: tuple[int, ...]

    @property
    def is_matrix(self) -> bool:
        return bool(self.inputs and self.outputs)


@dataclass(frozen=True)
class LayerWeight:
    """A weight of a model."""

    outer: str
    """path of the layer, as `all_layers` names it"""
    path: str
    """of the layer that holds it, which may lie inside the other: attention/query"""
    layer: Any
    """the layer of that path"""
    name: str
    variable: Any
    axes: KernelAxes | None
    """None where it is no kernel"""


def layer_weights(model: Any) -> list[LayerWeight]:
    """Every weight of `model`, trainable or not, in the order of its layers; a shared one once.

    A cell is taken for the recurrent layer that runs it, and a wrapped layer for its wrapper.
    Layers and variables have the names that they were given; one that Keras made up is replaced by
    that of the attribute that holds it, since it is another one when the model is loaded again.
    """
    found = []
    seen: set[int] = set()
    for outer, layer in all_layers(model).items():
        names: set[tuple[str, str]] = set()
        for path, shown, holder in _holders(layer, outer, set()):
            for variable in (*holder._trainable_variables, *holder._non_trainable_variables):
                if id(variable) in seen or not is_weight(variable):
                    continue
                seen.add(id(variable))
                taken = [name for other, name in names if other == path]
                name = numbered(_label(holder, variable, "Variable"), taken)
                names.add((path, name))
                axes = _kernel_axes(holder, variable, name)
                found.append(LayerWeight(outer, path, shown, name, variable, axes))
    return found


def kernels_of(weights: list[LayerWeight]) -> dict[str, LayerWeight]:
    """The kernels by name: the path of the layer for its first one, else PATH:VARIABLE.

    Of a layer of several, matrices go first.
    """
    found: dict[str, LayerWeight] = {}
    by_path: dict[str, list[LayerWeight]] = {}
    for weight in weights:
        if weight.axes is not None:
            by_path.setdefault(weight.path, []).append(weight)
    for path, own in by_path.items():
        own.sort(key=lambda weight: not weight.axes.is_matrix)  # type: ignore[union-attr]
        for number, weight in enumerate(own):
            found[f"{path}:{weight.name}" if number else path] = weight
    return found


def _holders(
    layer: Any, path: str, seen: set[int], shown: Any = None
) -> Iterator[tuple[str, Any, Any]]:
    """The layer and those inside it: path, the layer that this names, and the one with variables.

    What is wrapped comes before its wrapper, which may name its variables, too.
    """
    if id(layer) in seen:
        return
    seen.add(id(layer))
    shown = layer if shown is None else shown
    inner = _inner(layer)
    if inner is not None:
        yield from _holders(inner, path, seen, shown)
    yield path, shown, layer
    taken: list[str] = []
    for part in layer._layers:
        if part is not inner:
            name = numbered(_label(layer, part, type(part).__name__), taken)
            taken.append(name)
            yield from _holders(part, f"{path}/{name}", seen)


def _inner(layer: Any) -> Any:
    """The layer whose weights are those of `layer`: a cell, or what is wrapped; else None."""
    _, keras = quiet_tensorflow.load()
    if isinstance(layer, keras.layers.RNN):
        return layer.cell
    return layer.layer if isinstance(layer, keras.layers.Wrapper) else None


def _label(holder: Any, part: Any, kind: str) -> str:
    """The name of a layer or variable `part` of `holder`; its attribute's if Keras made it up."""
    name = str(part.name)
    plain = re.sub(r"_\d+$", "", name).replace("_", "")
    # The names in a graph are saved with it.
    if plain != kind.lower() or graph_of(holder) is not None:
        return name
    for attribute, value in vars(holder).items():
        if attribute in _LISTS or attribute.startswith("_self_"):
            continue
        values = list(value.values()) if isinstance(value, dict) else value
        entries = values if isinstance(values, (list, tuple)) else [value]
        for place, entry in enumerate(entries):
            if entry is part:
                label = attribute.lstrip("_")
                return label if entries is not values else f"{label}_{place}"
    return name


def _kernel_axes(layer: Any, variable: Any, name: str) -> KernelAxes | None:
    """How `layer` uses its weight `variable`; None where that is not as a kernel.

    Keras calls its own kernels `kernel`, `..._kernel` or `embeddings`. In a layer of the user's,
    other trainable weights of two axes or more count, unless they are named as added or scaled by.
    """
    _, keras = quiet_tensorflow.load()
    layers, rank = keras.layers, len(variable.shape)
    if rank < 2 or not any(variable is own for own in layer._trainable_variables):
        return None
    if isinstance(layer, layers.STFTSpectrogram):
        return None  # the waves of a Fourier transform, not learnt
    known = name in ("kernel", "embeddings") or name.endswith("_kernel")
    if not known and name != "reverse_embeddings":
        own = not type(layer).__module__.startswith("keras.")
        wide = sum(size > 1 for size in variable.shape) > 1
        if not own or not wide or _ADDED.search(name):
            return None
    apart = isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D))
    if apart or name in ("embeddings", "depthwise_kernel"):
        return KernelAxes((), ())
    if isinstance(layer, layers.EinsumDense):
        return _einsum_axes(layer.equation)
    if isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)):
        return KernelAxes((rank - 1,), (rank - 2,))
    if known or rank == 2:
        return KernelAxes((rank - 2,), (rank - 1,))
    return KernelAxes((), ())


def _einsum_axes(equation: str) -> KernelAxes:
    """abc,cde->abde: c is summed over, d and e are outputs of the kernel."""
    operands, _, result = equation.replace(" ", "").partition("->")
    source, _, kernel = operands.partition(",")
    return KernelAxes(
        tuple(axis for axis, label in enumerate(kernel) if label in source and label not in result),
        tuple(axis for axis, label in enumerate(kernel) if label not in source),
    )
