"""One scale for all channels of a weight, where a scale for each would cost more than it saves.

A FULLY_CONNECTED weight with a scale for each row takes 16 bytes a row more, with the scales of
its bias and the zero points: 12 % of a layer of 128 inputs. With one scale, its many small rows
round more coarsely; what that does to the mean of an output is taken off the bias.

Source of the correction: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias
Correction, ICCV 2019, section 4.2.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.foundation import quiet_tensorflow

ROW_BYTES = 16
"""of a row: a float32 scale of the weight, one of the bias, and an int64 zero point"""
WORTH = 0.05
"""which fraction of the bytes of a layer's non-zero weights the scales take at least"""
ROUNDING = 0.03
"""Root mean square of the rounding to one scale at most, as a fraction of that of the weights. The
rounding of the activations is as large."""
NEARLY_FREE = 0.02
NEARLY_EXACT = 0.01
"""The same for weights of convolutions, and for those that are decoded to float32: a scale for each
channel rounds by 0.4 %, so that nothing has to make up for this."""
EXAMPLES = 64
"""on which the means of activations are found"""


def one_scale_does(exact: np.ndarray, change: np.ndarray, axis: int, channel_bytes: int) -> bool:
    """Whether one scale for all channels is nearly as exact as one for each, and saves bytes.

    `exact` is a weight with its channels along `axis`, a scale of which takes so many bytes, and
    `change`, of the same shape, what rounding to one scale adds to it. It is judged channel by
    channel, since some may be small, and on average over them.
    """
    channels = exact.shape[axis]
    if channels < 2 or channel_bytes * channels < NEARLY_FREE * np.count_nonzero(exact):
        return False
    others = tuple(other for other in range(exact.ndim) if other != axis)
    power, error = (np.square(part, dtype=np.float64).sum(axis=others) for part in (exact, change))
    errors = error[power > 0] / power[power > 0]
    return errors.size > 0 and float(np.mean(errors)) <= NEARLY_EXACT**2


@dataclasses.dataclass(frozen=True)
class _Layer:
    """An operator of which the weight, int8 (rows, ..., columns), gets one scale."""

    source: int
    """tensor that is multiplied, as `weight` and `bias` are"""
    weight: int
    bias: int
    values: np.ndarray
    scale: np.float32
    change: np.ndarray
    """float64 (rows, columns): what the rounding adds to the weights, in all positions"""


def share_scales(graph: Any, calibration: Sequence[np.ndarray]) -> None:
    """Give the weights of FULLY_CONNECTED and CONV_2D one scale each where it pays.

    Changes `graph`. Requires: an int8 graph as `convert.convert_int8` makes it, and its calibration
    data. Ensures: of a weight whose scales took `WORTH` of its bytes, and which rounds by no more
    than `ROUNDING`, there is one scale, as there is of its bias; of a convolution by
    `one_scale_does`. Zeros stay zero, and on the calibration data the outputs of the layer have the
    means that they had, but for the margins of a convolution.
    """
    readers = graphs.users(graph)
    layers = []
    for operator in graphs.main(graph).operators:
        if graphs.operator_name(graph, operator) in ("FULLY_CONNECTED", "CONV_2D"):
            layer = _rounded(graph, operator)
            own = layer and all(len(readers[part]) == 1 for part in (layer.weight, layer.bias))
            if layer is not None and own:
                layers.append(layer)
    if layers:
        means = _means(graph, layers, calibration)
        for layer, mean in zip(layers, means, strict=True):
            _store(graph, layer, mean)


def _rounded(graph: Any, operator: Any) -> _Layer | None:
    """The layer with its weight rounded to one scale, or None where that does not pay."""
    tensors = graphs.main(graph).tensors
    inputs = graphs.indices(operator.inputs)
    if len(inputs) < 3 or graphs.type_name(tensors[inputs[0]]) != "INT8":
        return None
    source, weight, bias = inputs
    stored, added = graphs.constant(graph, weight), graphs.constant(graph, bias)
    if stored is None or stored.dtype != np.int8 or added is None or added.dtype != np.int32:
        return None
    scales = np.asarray(tensors[weight].quantization.scale, np.float32)
    columns, convolves = stored.shape[-1], stored.ndim > 2
    grouped = convolves and tensors[source].shape[-1] != columns
    if len(scales) < 2 or not stored.any() or grouped:
        return None
    rows = stored.reshape(len(scales), -1)
    scale = scales[rows.any(axis=1)].max()  # a row of zeros may have any scale
    exact = rows * scales.astype(np.float64)[:, None]
    values = np.clip(np.rint(exact / scale), -127, 127).astype(np.int8)
    change = values * np.float64(scale) - exact
    if convolves:
        does = one_scale_does(exact, change, 0, ROW_BYTES)
    else:
        worth = ROW_BYTES * len(rows) >= WORTH * np.count_nonzero(stored)
        does = bool(worth and np.linalg.norm(change) <= ROUNDING * np.linalg.norm(exact))
    if not does:
        return None
    change = change.reshape(len(rows), -1, columns).sum(axis=1)
    return _Layer(source, weight, bias, values.reshape(stored.shape), scale, change)


def _means(
    graph: Any, layers: Sequence[_Layer], calibration: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The mean of what each layer multiplies, float64 (columns,), over the calibration data."""
    tensorflow, _ = quiet_tensorflow.load()
    lite = tensorflow.lite
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and its successor not always there
        interpreter = lite.Interpreter(
            model_content=graphs.write_graph(_with_outputs(graph, [one.source for one in layers])),
            experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    inputs = interpreter.get_input_details()
    for detail, part in zip(inputs, calibration, strict=True):
        interpreter.resize_tensor_input(detail["index"], (1, *part.shape[1:]))
    interpreter.allocate_tensors()
    sources = interpreter.get_output_details()[-len(layers) :]
    count = min(len(calibration[0]), EXAMPLES)
    sums = [np.zeros(layer.values.shape[-1]) for layer in layers]
    for row in range(count):
        for detail, part in zip(inputs, calibration, strict=True):
            interpreter.set_tensor(detail["index"], part[row : row + 1].astype(detail["dtype"]))
        interpreter.invoke()
        for total, detail in zip(sums, sources, strict=True):
            scale, zero = detail["quantization"]
            found = interpreter.get_tensor(detail["index"]).reshape(-1, len(total))
            total += (found.mean(axis=0, dtype=np.float64) - zero) * scale
    return [total / count for total in sums]


def _with_outputs(graph: Any, tensors: list[int]) -> Any:
    """A copy of `graph` that gives these tensors, too, after its outputs."""
    found = graphs.copied(graph)
    main = graphs.main(found)
    main.outputs = np.asarray([*graphs.indices(main.outputs), *tensors], np.int32)
    found.signatureDefs = []
    return found


def _store(graph: Any, layer: _Layer, mean: np.ndarray) -> None:
    tensors = graphs.main(graph).tensors
    added = graphs.constant(graph, layer.bias)
    assert added is not None
    scales = np.asarray(tensors[layer.bias].quantization.scale, np.float64)
    step = np.float32(tensors[layer.source].quantization.scale[0] * layer.scale)
    bias = (added * scales - layer.change @ mean) / step
    bounds = np.iinfo(np.int32)
    whole = np.clip(np.rint(bias), bounds.min, bounds.max).astype(np.int32)
    for index, values, scale in (
        (layer.weight, layer.values, layer.scale),
        (layer.bias, whole, step),
    ):
        graphs.set_constant(graph, index, values)
        quantization = graphs.schema().QuantizationParametersT(
            scale=np.asarray([scale], np.float32), zeroPoint=np.zeros(1, np.int64)
        )
        tensors[index].quantization = quantization
