"""Multiply-accumulates of one inference, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.layers import all_layers
from compressor.models.sparse_layers import sparse_layer_classes
from compressor.models.tracing import Call, Shape, Trace, trace

Uses = Mapping[str, int | None]
"""Variable name -> how often an inference multiplies with each of its weights; None if unknown."""


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one inference (batch 1) with the kernels of a layer.

    Biases, normalisation and pooling do not count; positions on padding count like others.
    """

    dense: int
    """with all weights"""
    nonzero: int
    """with the non-zero weights"""


def layer_macs(model: Any) -> dict[str, Macs | None]:
    """Layer path -> multiply-accumulates of one inference, for each layer that has kernels.

    Dense, convolutions (also depthwise, separable and transposed), LSTM, GRU and SimpleRNN, also
    in Bidirectional and TimeDistributed; an Embedding has 0. Each call of a shared layer counts.
    None for other layers, for sizes that are not fixed, and in a model that is no graph of layers.
    """
    layers = all_layers(model)
    return {path: _macs(layers[path], uses) for path, uses in kernel_uses(model).items()}


def kernel_uses(model: Any) -> dict[str, Uses]:
    """Layer path -> the uses of its kernels, as for `layer_macs`.

    Layers of a sparse predictor, whose kernels are not variables, have theirs as `kernel`.
    """
    layers = all_layers(model)
    found = {path: _unknown(layer) for path, layer in layers.items()}
    try:
        traced = trace(model)
    except ModelError:
        return {path: uses for path, uses in found.items() if uses}
    totals: dict[str, Uses] = {}
    hidden: set[str] = set()
    shapes = _shapes(traced)
    for call in traced.calls:
        if call.path in layers and call.layer is layers[call.path]:
            inputs = [shapes[number] for number in call.inputs]
            outputs = [shapes[number] for number in call.outputs]
            totals[call.path] = _sum(totals.get(call.path), _uses(call.layer, inputs, outputs))
        elif hasattr(call.layer, "layers"):
            # A nested model with code of its own: which layers it calls is unknown.
            inside = {id(layer) for layer in all_layers(call.layer).values()}
            hidden |= {path for path, layer in layers.items() if id(layer) in inside}
    known = {path: uses for path, uses in totals.items() if path not in hidden}
    return {path: uses for path in layers if (uses := known.get(path, found[path]))}


def _macs(layer: Any, uses: Uses) -> Macs | None:
    # A layer of a sparse predictor keeps its kernel elsewhere.
    if not uses.keys() <= {variable.name for variable in layer.weights}:
        return None
    dense = nonzero = 0
    for variable in layer.weights:
        times = uses.get(variable.name, 0)
        if times is None:
            return None
        dense += times * math.prod(variable.shape)
        if times:
            nonzero += times * int(np.count_nonzero(variable.numpy()))
    return Macs(dense, nonzero)


def _sum(first: Uses | None, second: Uses) -> Uses:
    if first is None:
        return second
    pairs = {name: (first.get(name), second.get(name)) for name in {**first, **second}}
    return {n: None if a is None or b is None else a + b for n, (a, b) in pairs.items()}


def _shapes(traced: Trace) -> list[Shape | None]:
    """The shapes of all tensors for a batch of 1.

    With an open batch Keras loses what is folded into it: a `reshape(x, (-1, 8))` of (None, 4, 8)
    is (None, 8), but 4 rows for each example.
    """
    _, keras = quiet_tensorflow.load()
    shapes: list[Shape | None] = [None] * len(traced.shapes)
    for number in traced.inputs:
        shapes[number] = _alone(traced.shapes[number])
    for call in traced.calls:
        given = [shape for number in call.inputs if (shape := shapes[number]) is not None]
        if len(given) < len(call.inputs):
            continue
        if call.layer is not None:
            found = _output_shapes(keras, call, given)
        else:
            found = [_alone(shape) for shape in call.output_shapes if given[0][0] == 1]
        for number, shape in zip(call.outputs, found, strict=False):
            shapes[number] = shape
    return shapes


def _output_shapes(keras: Any, call: Call, given: Sequence[Shape]) -> list[Shape]:
    tensors = {
        id(old): keras.KerasTensor(shape, dtype=old.dtype, sparse=old.sparse)
        for old, shape in zip(call.node.input_tensors, given, strict=True)
    }
    arguments = call.node.arguments
    args, kwargs = keras.tree.map_structure(
        lambda value: tensors.get(id(value), value), (arguments.args, arguments.kwargs)
    )
    try:
        outputs = call.layer.compute_output_spec(*args, **kwargs)
    except Exception:  # it does not take a batch of 1: the shapes behind it stay unknown
        return []
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(outputs)]


def _uses(layer: Any, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> Uses:
    if any(shape is None for shape in (*inputs[:1], *outputs[:1])) or not (inputs and outputs):
        return _unknown(layer)
    source, result = inputs[0], outputs[0]
    assert source is not None and result is not None
    if type(layer) in sparse_layer_classes().values():
        return {"kernel": _product(result[:-1])}
    name = type(layer).__name__ if type(layer).__module__.startswith("keras.") else ""
    if name == "Bidirectional":
        # Both directions use the same names, and their kernels once a time step.
        backward = _uses(layer.backward_layer, [source], [result])
        forward = _uses(layer.forward_layer, [source], [result])
        return _unknown(layer) if None in backward.values() else {**backward, **forward}
    if name == "TimeDistributed":
        return _uses(layer.layer, [_fold(source)], [_fold(result)])
    if name not in _KINDS or _is_changed(layer):
        return _unknown(layer)
    variables, places = _KINDS[name]
    return dict.fromkeys(variables, _times(places, layer, source, result))


def _unknown(layer: Any) -> Uses:
    """None for each variable that may be a kernel: two axes or more, and no other known use."""
    if type(layer).__name__ in _WITHOUT_KERNELS:
        return {}
    return {variable.name: None for variable in layer.weights if len(variable.shape) > 1}


def _is_changed(layer: Any) -> bool:
    """Whether the kernel is quantised, or has LoRA's beside it."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))


def _alone(shape: Shape) -> Shape:
    return (1, *shape[1:])


def _fold(shape: Shape) -> Shape:
    """The time steps of TimeDistributed as more examples: (1, 5, 8) -> (5, 8)."""
    return (_product(shape[:2]), *shape[2:])


def _product(sizes: Sequence[int | None]) -> int | None:
    product = 1
    for size in sizes:
        if size is None:
            return None
        product *= size
    return product


def _spatial(layer: Any, shape: Shape) -> int | None:
    first = getattr(layer, "data_format", "") == "channels_first"
    return _product([shape[0], *(shape[2:] if first else shape[1:-1])])


def _times(places: str, layer: Any, source: Shape, result: Shape) -> int | None:
    """How often a call with these shapes of input and output uses each weight of a kernel."""
    counts = {
        "rows of the output": lambda: _product(result[:-1]),
        "places of the output": lambda: _spatial(layer, result),
        "places of the input": lambda: _spatial(layer, source),
        "time steps": lambda: _product(source[:2]),
        "none": lambda: 0,
    }
    return counts[places]()


# Layer class -> its kernels, and where each of their weights is used. A separable convolution
# strides in its depthwise part, so both parts work on places of the output; a transposed one
# spreads each place of its input.
_KINDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Dense": (("kernel",), "rows of the output"),
    **{f"Conv{n}D": (("kernel",), "places of the output") for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": (("kernel",), "places of the output") for n in (1, 2)},
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"),
        (("depthwise_kernel", "pointwise_kernel"), "places of the output"),
    ),
    **{f"Conv{n}DTranspose": (("kernel",), "places of the input") for n in (1, 2, 3)},
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), (("kernel", "recurrent_kernel"), "time steps")),
    "Embedding": (("embeddings",), "none"),
}
_WITHOUT_KERNELS = frozenset(
    [
        *("BatchNormalization", "GroupNormalization", "LayerNormalization", "Normalization"),
        *("PReLU", "RMSNormalization"),
    ]
)
