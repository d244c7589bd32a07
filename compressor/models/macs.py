"""Multiply-accumulates of one inference, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.layer_weights import layer_weights
from compressor.models.layers import all_layers
from compressor.models.sparse_layers import sparse_layer_classes
from compressor.models.tracing import Call, Shape, Trace, graph_of, trace

Uses = Mapping[str, int | None]
"""Variable name -> how often an inference multiplies with each of its weights; None if unknown."""
Times = dict[int, int | None]
"""The same by id of the variable; of a sparse layer, that of the layer."""


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

    Dense, EinsumDense, convolutions (also depthwise, separable and transposed), recurrent layers,
    the projections of MultiHeadAttention and GroupQueryAttention, also in Bidirectional,
    TimeDistributed and SpectralNormalization; an Embedding has 0. Each call of a shared layer
    counts. None for other layers, for sizes that are not fixed, and in a model that is no graph of
    layers.
    """
    uses = kernel_uses(model)
    kernels = [weight for weight in layer_weights(model) if weight.axes is not None]
    # A layer of a sparse predictor keeps its kernel elsewhere.
    others = uses.keys() - {kernel.path for kernel in kernels}
    found: dict[str, Macs | None] = dict.fromkeys(others)
    for weight in kernels:
        times, before = uses[weight.path][weight.name], found.get(weight.outer, Macs(0, 0))
        if times is None or before is None:
            found[weight.outer] = None
            continue
        nonzero = count_nonzeros(weight.variable) if times else 0
        found[weight.outer] = Macs(
            before.dense + times * math.prod(weight.variable.shape),
            before.nonzero + times * nonzero,
        )
    return found


def count_nonzeros(variable: Any) -> int:
    """How many values of a Keras variable are not zero; they are not copied for it."""
    tensor = quiet_tensorflow.load()[0].convert_to_tensor(variable)
    try:
        values = np.asarray(memoryview(tensor))
    except ValueError:  # a type that Python has no letter for, as bfloat16
        values = np.asarray(tensor)
    return int(np.count_nonzero(values))


def kernel_uses(model: Any) -> dict[str, Uses]:
    """Layer path, as `layer_weights` names it -> the uses of its kernels, as for `layer_macs`.

    Layers of a sparse predictor, whose kernels are not variables, have theirs as `kernel`.
    """
    times = _uses_in(model)
    found: dict[str, dict[str, int | None]] = {}
    for path, layer in all_layers(model).items():
        if type(layer) in sparse_layer_classes().values():
            found[path] = {"kernel": times.get(id(layer))}
    for weight in layer_weights(model):
        if weight.axes is not None:
            found.setdefault(weight.path, {})[weight.name] = times.get(id(weight.variable))
    return dict(found)


def _uses_in(model: Any) -> Times:
    """The uses of the kernels in all calls of `model`."""
    layers = all_layers(model)
    try:
        traced = trace(model)
    except ModelError:
        return {}
    totals: Times = {}
    hidden: set[int] = set()
    shapes = _shapes(traced)
    for call in traced.calls:
        if call.path in layers and call.layer is layers[call.path]:
            inputs = [shapes[number] for number in _operands(call)]
            uses = _uses(call.layer, inputs, [shapes[number] for number in call.outputs])
            own = {id(variable) for variable in call.layer.weights} | {id(call.layer)}
            for key in own if uses is None else uses:
                before, new = totals.get(key, 0), None if uses is None else uses[key]
                totals[key] = None if before is None or new is None else before + new
        elif hasattr(call.layer, "layers"):
            # A nested model with code of its own: which layers it calls is unknown.
            hidden |= {id(variable) for variable in call.layer.weights}
    return {key: uses for key, uses in totals.items() if key not in hidden}


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


def _operands(call: Call) -> list[int]:
    """The tensors that a call takes; of attention the query first, then the value."""
    arguments, kwargs = call.node.arguments.args, call.node.arguments.kwargs
    if type(call.layer).__name__ not in _ATTENTION:
        return list(call.inputs)
    given = dict(zip(("query", "value"), arguments, strict=False)) | kwargs
    numbers = dict(zip(map(id, call.node.input_tensors), call.inputs, strict=True))
    return [numbers[id(given[name])] for name in ("query", "value")]


def _uses(
    layer: Any, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]
) -> Times | None:
    """The uses of the kernels of one call with these shapes; None if they are not known."""
    if not (inputs and outputs) or inputs[0] is None or outputs[0] is None:
        return None
    source, result = inputs[0], outputs[0]
    if type(layer) in sparse_layer_classes().values():
        return {id(layer): _product(result[:-1])}
    name = type(layer).__name__
    parts = layer._flatten_layers()
    if any(_is_changed(part) or not _is_known(part) for part in parts):
        return None
    if name == "Bidirectional":
        forward = _uses(layer.forward_layer, [source], [result])
        backward = _uses(layer.backward_layer, [source], [result])
        return None if forward is None or backward is None else {**forward, **backward}
    if name == "SpectralNormalization":
        return _uses(layer.layer, inputs, outputs)
    if name == "TimeDistributed":
        if graph_of(layer.layer) is None:
            return _uses(layer.layer, [_fold(source)], [_fold(result)])
        steps = _product(source[:2])
        return {key: _times(steps, uses) for key, uses in _uses_in(layer.layer).items()}
    if hasattr(layer, "cell"):
        # Of a convolutional one at each place, too; its output may have the steps as an axis.
        image = (1, *result[len(result) - len(source) + 2 :])
        places = _spatial(layer.cell, image) if name.startswith("Conv") else 1
        return _each(_kernels_in(layer), _times(_product(source[:2]), places))
    if name in _ATTENTION and len(inputs) > 1 and inputs[1] is not None:
        rows = {part: _product(inputs[1][:-1]) for part in ("key", "value")}
        return {
            id(part.kernel): rows.get(part.name, _product(source[:-1]))
            for part in layer._layers
            if hasattr(part, "kernel")
        }
    if name == "EinsumDense":
        given, _, labels = layer.equation.partition("->")[0].replace(" ", "").partition(",")
        pairs = zip(labels, layer.kernel.shape, strict=True)
        own, total = math.prod(size for label, size in pairs if label in given), _product(source)
        return _each([layer.kernel], None if total is None else total // own)
    if name not in _PLACES:
        return None
    return _each(_kernels_in(layer), _PLACES[name](layer, source, result))


def _kernels_in(layer: Any) -> list[Any]:
    return [v for v in layer.weights if v.name in ("kernel", "embeddings") or "_kernel" in v.name]


def _each(variables: Sequence[Any], times: int | None) -> Times:
    return {id(variable): times for variable in variables}


def _times(first: int | None, second: int | None) -> int | None:
    return _product([first, second])


def _is_known(layer: Any) -> bool:
    return type(layer).__module__.startswith("keras.")


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
    """The number of places, with the batch."""
    first = getattr(layer, "data_format", "") == "channels_first"
    return _product([shape[0], *(shape[2:] if first else shape[1:-1])])


def _rows_of_output(layer: Any, source: Shape, result: Shape) -> int | None:
    return _product(result[:-1])


def _places_of_output(layer: Any, source: Shape, result: Shape) -> int | None:
    return _spatial(layer, result)


def _places_of_input(layer: Any, source: Shape, result: Shape) -> int | None:
    return _spatial(layer, source)


# Layer class -> how often a call with these shapes of input and output uses each weight of its
# kernels. A separable convolution strides in its depthwise part, so both parts work on places of
# the output; a transposed one spreads each place of its input.
_PLACES: Mapping[str, Callable[[Any, Shape, Shape], int | None]] = {
    "Dense": _rows_of_output,
    **{f"Conv{n}D": _places_of_output for n in (1, 2, 3)},
    **{f"{kind}Conv{n}D": _places_of_output for n in (1, 2) for kind in ("Depthwise", "Separable")},
    **{f"Conv{n}DTranspose": _places_of_input for n in (1, 2, 3)},
    "Embedding": lambda layer, source, result: 0,
}
_ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention")
